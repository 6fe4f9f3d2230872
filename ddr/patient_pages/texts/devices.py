"""The page with the patient's devices."""

from ddr.http.pages import Words

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
