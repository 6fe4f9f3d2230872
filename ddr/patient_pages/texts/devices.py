"""The page with the patient's devices."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Meine Geräte", "My devices"),
    "intro": Words(
        "Von diesen Geräten sind Messwerte gespeichert. Wenn Sie einer App erlauben, Messwerte eines Geräts zu lesen, "
        "sieht sie auch diese Angaben.",
        "Readings of these devices are stored. If you allow an app to read the readings of a device, "
        "it also sees these details.",
    ),
    "none": Words("Es ist noch kein Gerät verbunden.", "No device is connected yet."),
    "in_use": Words("In Benutzung", "In use"),
    "expired": Words("Abgelaufen", "Expired"),
    "ended": Words("Benutzt bis {day}", "Used until {day}"),
    "manufacturer": Words("Hersteller", "Manufacturer"),
    "model": Words("Modell", "Model"),
    "serial": Words("Seriennummer", "Serial number"),
    "measures": Words("Misst", "Measures"),
    "since": Words("Benutzt seit", "Used since"),
    "expires": Words("Ablaufdatum", "Expiry date"),
    "heard": Words("Letzte Übertragung", "Last transfer"),
    "not_given": Words("nicht angegeben", "not given"),
}

# What an import stores for a device whose name or manufacturer its file lacks (ddr/imports).
IMPORTED = {
    "Glucose sensor": Words("Glukosesensor", "Glucose sensor"),
    "Blood glucose meter": Words("Blutzuckermessgerät", "Blood glucose meter"),
    "Blood pressure monitor": Words("Blutdruckmessgerät", "Blood pressure monitor"),
    "Peak flow meter": Words("Peak-Flow-Messgerät", "Peak flow meter"),
    "Spirometer": Words("Spirometer", "Spirometer"),
    "not stated in the export": Words("in der Datei nicht angegeben", "not stated in the file"),
}


def called(lang: str, given: str) -> str:
    """Name or manufacturer of a device in the patient's words: as given, unless an import has filled it in."""
    return IMPORTED[given].said(lang) if given in IMPORTED else given
