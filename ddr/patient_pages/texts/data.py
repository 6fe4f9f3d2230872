"""The page with the patient's values."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Meine Messwerte", "My readings"),
    "none": Words("Es sind noch keine Messwerte gespeichert.", "No readings are stored yet."),
    "profile": Words("Glukoseprofil", "Glucose profile"),
    "profile_days": Words(
        "{first} bis {last}, Tage mit Messwerten: {days}", "{first} to {last}, days with readings: {days}"
    ),
    "profile_none": Words(
        "In diesem Zeitraum gibt es keine Messwerte, die für das Glukoseprofil zählen, zum Beispiel weil der Sensor "
        "nicht kalibriert ist.",
        "In this period there are no readings that count for the glucose profile, for instance because the sensor is "
        "not calibrated.",
    ),
    "profile_how": Words(
        "So verläuft Ihr Gewebezucker über den Tag. Die Linie ist der mittlere Wert; im dunklen Band liegt die Hälfte "
        "aller Werte, im hellen liegen neun von zehn. Der Zielbereich ist hinterlegt.",
        "This is how your glucose runs over the day. The line is the middle value; half of all values lie in the dark "
        "band, nine out of ten in the light one. The target range is shaded.",
    ),
    "profile_words": Words(
        "Mittlerer Wert über den Tag {overall} {unit}, am niedrigsten um {lowest_at} Uhr ({lowest}), am höchsten um "
        "{highest_at} Uhr ({highest}).",
        "Middle value over the day {overall} {unit}, lowest at {lowest_at} ({lowest}), highest at {highest_at} "
        "({highest}).",
    ),
    "profile_table": Words("Profil als Tabelle", "Profile as a table"),
    "from_hour": Words("Ab", "From"),
    "of_values": Words("{percent} % der Werte bis", "{percent} % of values up to"),
    "mean": Words("Durchschnitt", "Average"),
    "gmi": Words("Glukose-Management-Indikator", "Glucose management indicator"),
    "figures_how": Words(
        "Der Glukose-Management-Indikator schätzt aus diesen Messwerten den Langzeitwert (HbA1c). Standardabweichung "
        "und Schwankung sagen, wie weit die Werte um den Durchschnitt streuen.",
        "The glucose management indicator estimates the long-term value (HbA1c) from these readings. Standard "
        "deviation and variation say how far the values scatter around the average.",
    ),
    "cv": Words("Schwankung (Variationskoeffizient)", "Variation (coefficient of variation)"),
    "active": Words("Zeit mit Messwerten", "Time with readings"),
    "ranges": Words("Zeit in den Bereichen", "Time in ranges"),
    "range": Words("Bereich", "Range"),
    "share": Words("Anteil", "Share"),
    "per_day": Words("am Tag", "per day"),
    "target": Words("Ziel", "Target"),
    "duration": Words("{hours} h {minutes} min", "{hours} h {minutes} min"),
    "range_4": Words("sehr hoch", "very high"),
    "range_3": Words("hoch", "high"),
    "range_2": Words("im Zielbereich", "in the target range"),
    "range_1": Words("niedrig", "low"),
    "range_0": Words("sehr niedrig", "very low"),
    "target_3": Words("mit sehr hoch", "with very high"),
    "target_1": Words("mit sehr niedrig", "with very low"),
    "targets_whose": Words(
        "Ziele für die meisten Menschen mit Diabetes Typ 1 oder 2 (internationaler Konsens 2019). Für Schwangere, "
        "Ältere und bei anderen Erkrankungen gelten andere; Ihre vereinbaren Sie mit Ihrer Praxis.",
        "Targets for most people with diabetes of type 1 or 2 (international consensus 2019). Others hold in "
        "pregnancy, at an older age and with other illnesses; agree on yours with your doctor.",
    ),
    "not_enough": Words(
        "In dieser Zeit gibt es nur zu {active} % Messwerte. Profil, Zeit in den Bereichen und der "
        "Glukose-Management-Indikator sind erst ab 70 % aussagekräftig.",
        "There are readings for only {active} % of this time. Profile, time in ranges and the glucose management "
        "indicator are meaningful from 70 % on.",
    ),
    "unsure": Words("bei zu wenigen Messwerten unsicher", "uncertain with so few readings"),
    "deviation": Words("Standardabweichung", "Standard deviation"),
    "period": Words("Zeitraum", "Period"),
    "period_days": Words("{days} Tage", "{days} days"),
    "period_none": Words(
        "In diesem Zeitraum gibt es zu wenige Messwerte für eine Kurve.",
        "There are too few readings in this period for a curve.",
    ),
    "changes": Words("Sensorwechsel und Kalibrierungen", "Sensor changes and calibrations"),
    "event_sensor": Words("neuer Sensor ▼", "new sensor ▼"),
    "event_calibration": Words("Kalibrierung ●", "calibration ●"),
    "trend_days": Words("{first} bis {last}, Messungen: {count}", "{first} to {last}, measurements: {count}"),
    "trend_words_of_one": Words("{course}1 Wert, {lowest} {unit}.", "{course}1 reading, {lowest} {unit}."),
    "trend_words": Words(
        "{course}{count} Werte, {lowest} bis {highest} {unit}.",
        "{course}{count} readings, {lowest} to {highest} {unit}.",
    ),
    "all_singles": Words("Alle Einzelmessungen", "All single measurements"),
    "pages": Words("Seiten", "Pages"),
    "newest": Words("Neueste", "Newest"),
    "older": Words("Ältere", "Older"),
    "sheet_who": Words("Name", "Name"),
    "sheet_when": Words("Gedruckt am", "Printed on"),
    "sheet_source": Words("Quelle", "Source"),
    "download_excel": Words("Für Excel (deutsche Zahlen und Zeiten)", "For Excel (German numbers and times)"),
    "advice": Words("Diese Seite ersetzt keine ärztliche Beratung.", "This page is no substitute for medical advice."),
    "curve": Words("Tageskurve", "Curve of the day"),
    "curve_words_of_one": Words(
        "1 Wert in {unit}: {lowest} um {lowest_at}.", "1 reading in {unit}: {lowest} at {lowest_at}."
    ),
    "curve_words": Words(
        "{count} Werte in {unit}, niedrigster {lowest} um {lowest_at}, höchster {highest} um {highest_at}.",
        "{count} readings in {unit}, lowest {lowest} at {lowest_at}, highest {highest} at {highest_at}.",
    ),
    "curve_none": Words("An diesem Tag wurde nichts gemessen.", "Nothing was measured on this day."),
    "curve_table": Words("Tag als Tabelle", "Day as a table"),
    "hour": Words("Stunde ab", "Hour from"),
    "count": Words("Werte", "Readings"),
    "lowest": Words("niedrigster", "lowest"),
    "middle": Words("mittlerer", "middle"),
    "highest": Words("höchster", "highest"),
    "before": Words("Tag davor", "Day before"),
    "after": Words("Tag danach", "Day after"),
    "days": Words("Andere Tage", "Other days"),
    "choose": Words("Anderer Tag", "Another day"),
    "day_error": Words(
        "Diesen Tag können wir nicht lesen. Bitte schreiben Sie ihn so: 24.12.2026.",
        "We cannot read this day. Please write it like this: 2026-12-24.",
    ),
    "go": Words("Anzeigen", "Show"),
    "singles": Words("Letzte Einzelmessungen", "Latest single measurements"),
    "when": Words("Zeit", "Time"),
    "what": Words("Messung", "Measurement"),
    "value": Words("Wert", "Value"),
    "no_value": Words("kein Wert", "no value"),
    "download": Words("Herunterladen", "Download"),
    "download_text": Words(
        "Messwerte, Geräte, Verbindungen, Zustimmungen und Zugriffe, zum Aufheben oder Weitergeben. Ein Wert, der "
        "berichtigt wurde, steht so darin, wie er jetzt ist.",
        "Readings, devices, connections, consents and accesses, to keep or pass on. A value that was corrected is in "
        "it as it is now.",
    ),
    "download_csv": Words("Als Tabelle (CSV), mit der genauen Zeit", "As a table (CSV), with the exact time"),
    "download_fhir": Words(
        "Für medizinische Programme (FHIR), mit Zustimmungen und Zugriffen",
        "For medical software (FHIR), with consents and accesses",
    ),
    "download_consents": Words(
        "Zustimmungen mit dem Text, dem Sie zugestimmt haben, und Verbindungen",
        "Consents with the text that you agreed to, and connections",
    ),
    "download_consents_representation": Words(
        "Zustimmungen mit dem Text, dem Sie zugestimmt haben, Verbindungen und wer wen vertritt",
        "Consents with the text that you agreed to, connections, and who represents whom",
    ),
    "download_accesses": Words("Wer wann was gelesen hat", "Who read what and when"),
    "excel": Words("für Excel", "for Excel"),
    "consents_excel": Words("Zustimmungen, für Excel", "Consents, for Excel"),
    "consents_csv": Words("Zustimmungen, CSV", "Consents, CSV"),
    "accesses_excel": Words("Zugriffe, für Excel", "Accesses, for Excel"),
    "accesses_csv": Words("Zugriffe, CSV", "Accesses, CSV"),
    "delete": Words("Alle meine Daten löschen", "Delete all my data"),
}
