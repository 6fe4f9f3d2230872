"""The pages about a file with values from elsewhere."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Datei einlesen", "Read a file"),
    "intro": Words(
        "Haben Sie Messwerte aus einer anderen App heruntergeladen, können Sie die Datei hier einlesen, zum Beispiel "
        "aus Dexcom Clarity, LibreView, CareLink, Glooko, Tidepool oder aus einem Blutdruck-Tagebuch. Vorher sehen "
        "Sie, was darin ist.",
        "If you have downloaded readings from another app, you can read the file in here, for example from Dexcom "
        "Clarity, LibreView, CareLink, Glooko, Tidepool or from a blood pressure diary. You first see what is in it.",
    ),
    "choose": Words("Datei (höchstens 5 MB)", "File (5 MB at most)"),
    "look": Words("Ansehen", "Look at it"),
    "found": Words("Das ist in der Datei", "This is in the file"),
    "form": Words("Erkannt als: {title}.", "Recognised as: {title}."),
    "device": Words("Gerät", "Device"),
    "kind": Words("Messung", "Measurement"),
    "count": Words("Werte", "Readings"),
    "span": Words("von – bis", "from – to"),
    "skipped": Words("Zeilen ohne Messwert: {count}", "Rows without a reading: {count}"),
    "bad": Words("Nicht lesbare Zeilen", "Rows that cannot be read"),
    "line": Words("Zeile {line}: {reason}", "Line {line}: {reason}"),
    "more": Words("und {count} weitere", "and {count} more"),
    "mine": Words(
        "Lesen Sie nur Ihre eigenen Werte ein. Apps, denen Sie es erlaubt haben, sehen sie danach auch.",
        "Read in your own readings only. Apps that you have allowed to will see them, too.",
    ),
    "nothing": Words(
        "In dieser Datei ist nichts, was wir übernehmen können.", "There is nothing in this file that we can take."
    ),
    "take": Words("Diese Werte übernehmen", "Take these readings"),
    "cancel": Words("Nicht übernehmen", "Do not take them"),
    "done": Words("Das ist geschehen", "What was done"),
    "taken": Words("Übernommen: {count}", "Taken: {count}"),
    "there": Words("Schon vorhanden: {count}", "Already there: {count}"),
    "hidden": Words(
        "Gespeichert, aber ein anderer Wert zur selben Zeit wird gezeigt: {count}",
        "Stored, but another value of the same time is shown: {count}",
    ),
    "not_taken": Words("Nicht übernommen: {count}", "Not taken: {count}"),
    "back": Words("Wieder zurücknehmen", "Take it back"),
    "back_text": Words(
        "War es die falsche Datei? Einen Tag lang können Sie diese Werte wieder aus Ihren Daten entfernen, auch später "
        "unter „Geräte“, solange Sie keine andere Datei ansehen.",
        "Was it the wrong file? For one day you can remove these readings from your data again, also later under "
        "“Devices”, as long as you look at no other file.",
    ),
    "last": Words("Zuletzt übernommen: {moment}", "Taken last: {moment}"),
    "went_back": Words("Die Werte der Datei wurden wieder entfernt.", "The readings of the file were removed again."),
    "unreadable": Words(
        "Diese Datei hat keine Form, die wir kennen, oder es sind keine Messwerte darin. Bekannt sind: {known}.",
        "We do not know the format of this file, or there are no readings in it. Known formats: {known}.",
    ),
    "format_fhir": Words(
        "Kopie Ihrer Daten aus einem Dienst wie diesem (FHIR, JSON)",
        "copy of your data from a service like this (FHIR, JSON)",
    ),
    "format_nightscout": Words("Nightscout, Einträge (JSON)", "Nightscout entries (JSON)"),
    "format_table": Words(
        "einfache Tabelle mit Zeit, Code, Wert, Einheit, Gerät, Seriennummer (CSV)",
        "simple table with time, code, value, unit, device, serial (CSV)",
    ),
    "format_pressure": Words(
        "Blutdruck-Tagebuch, OMRON, Withings (CSV)", "diary of blood pressure, OMRON, Withings (CSV)"
    ),
    "format_spirometry": Words("Peak-Flow und FEV1 (CSV)", "peak flow and FEV1 (CSV)"),
    "other_pdf": Words(
        "Das ist ein PDF, daraus können wir keine Messwerte lesen. Bitte laden Sie die Messwerte in der anderen App "
        "als CSV herunter, nicht als Bericht.",
        "This is a PDF; we cannot read readings from it. Please download the readings in the other app as CSV, not "
        "as a report.",
    ),
    "other_workbook_or_zip": Words(
        "Das ist eine Excel-Mappe oder ein ZIP-Archiv. Bitte speichern Sie eine Excel-Mappe als CSV, entpacken Sie ein "
        "Archiv, und wählen Sie dann die Datei mit den Messwerten.",
        "This is an Excel workbook or a ZIP archive. Please save a workbook as CSV, unpack an archive, and then choose "
        "the file with the readings.",
    ),
    "other_workbook": Words(
        "Das ist eine Excel-Mappe. Bitte speichern Sie sie als CSV, und wählen Sie dann diese Datei.",
        "This is an Excel workbook. Please save it as CSV, and then choose that file.",
    ),
    "other_compressed": Words(
        "Diese Datei ist gepackt. Bitte entpacken Sie sie zuerst.", "This file is compressed. Please unpack it first."
    ),
    "other_web_page": Words(
        "Das ist eine Webseite, vielleicht weil die Anmeldung in der anderen App abgelaufen war. Bitte laden Sie die "
        "Datei dort noch einmal herunter.",
        "This is a web page, maybe because the sign-in in the other app had run out. Please download the file there "
        "once more.",
    ),
    "other_several_forms": Words(
        "In dieser Datei stehen Messwerte aus mehreren Apps oder von mehreren Arten. Bitte geben Sie jede in einer "
        "eigenen Datei.",
        "This file has readings of several apps, or of several kinds. Please give each of them in a file of its own.",
    ),
    "refused": Words(
        "Nicht alle Werte konnten übernommen werden. Bitte lesen Sie die Datei später noch einmal ein. War es die "
        "falsche, können Sie unter „Geräte“ zurücknehmen, was schon übernommen wurde.",
        "Not all readings could be taken. Please read the file in once more later. If it was the wrong one, you can "
        "take back under “Devices” what was taken already.",
    ),
    "several": Words(
        "In dieser Datei stehen Messwerte mehrerer Personen. Bitte geben Sie nur Ihre eigenen.",
        "This file has readings of several people. Please give only your own.",
    ),
    "mostly_bad": Words(
        "Die meisten Zeilen dieser Datei können wir nicht lesen. Deshalb wurde nichts daraus übernommen.",
        "We cannot read most of the rows of this file. So nothing of it was taken.",
    ),
    "not_back": Words(
        "Nicht alle Werte konnten zurückgenommen werden. Bitte versuchen Sie es später noch einmal.",
        "Not all readings could be taken back. Please try again later.",
    ),
    "reason_time": Words("keine Zeit, die wir lesen können", "no time that we can read"),
    "reason_value": Words("kein Wert, den wir lesen können", "no value that we can read"),
    "reason_measured": Words("dieser Wert kann nicht gemessen worden sein", "this value cannot have been measured"),
    "reason_unit": Words(
        "andere Einheit als die Ihrer App; bitte laden Sie die Datei in deren Einheit herunter",
        "another unit than your app's; please download the file in that unit",
    ),
    "reason_other_unit": Words(
        "sieht nach der anderen Einheit aus (mmol/L statt mg/dL oder umgekehrt); nichts davon wurde übernommen",
        "looks like the other unit (mmol/L instead of mg/dL, or the reverse); none of it was taken",
    ),
    "reason_future": Words(
        "liegt in der Zukunft; vielleicht ging die Uhr des Geräts falsch",
        "lies in the future; perhaps the device's clock was wrong",
    ),
    "reason_start": Words(
        "vor dem Beginn der Aufzeichnung dieses Sensors", "before the recording of this sensor began"
    ),
    "reason_old": Words("älter als das, was hier aufbewahrt wird", "older than what is kept here"),
    "reason_other": Words("passt nicht zu dem, was gespeichert ist", "does not fit what is stored"),
    "devices": Words("Zu meinen Geräten", "To my devices"),
}
