"""Names of single values where the kind of data alone does not say enough."""

from ddr.http.language import Words

CODES = {
    "8480-6": Words("Systolisch", "Systolic"),
    "8462-4": Words("Diastolisch", "Diastolic"),
    "8478-0": Words("Mittlerer Druck", "Mean pressure"),
    "19935-6": Words("Spitzenfluss (PEF)", "Peak flow (PEF)"),
    "20150-9": Words("Einsekundenkapazität (FEV1)", "One-second volume (FEV1)"),
    "83368-1": Words("Persönlicher Bestwert (PEF)", "Personal best (PEF)"),
    "20149-1": Words("Sollwert (FEV1)", "Predicted (FEV1)"),
    "PEF-measured/predicted": Words("PEF im Vergleich zum Bestwert", "PEF compared with the best"),
    "20152-5": Words("FEV1 im Vergleich zum Sollwert", "FEV1 compared with predicted"),
}


def name_of(lang: str, code: str) -> str:
    """The name of a value, or "" when the kind of data says enough."""
    words = CODES.get(code)
    return words.said(lang) if words else ""
