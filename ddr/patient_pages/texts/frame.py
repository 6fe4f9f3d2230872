"""The texts around the content of every page."""

from ddr.http.language import Words

TEXTS = {
    "site": Words("Meine Gerätedaten", "My device data"),
    "skip": Words("Zum Inhalt springen", "Skip to content"),
    "navigation": Words("Hauptmenü", "Main menu"),
    "connections": Words("Verbindungen", "Connections"),
    "access": Words("Zugriffe", "Accesses"),
    "devices": Words("Geräte", "Devices"),
    "data": Words("Messwerte", "Readings"),
    "logged_in": Words("Angemeldet als {username}", "Signed in as {username}"),
    "logged_in_unnamed": Words("Sie sind angemeldet", "You are signed in"),
    "logout": Words("Abmelden", "Sign out"),
    "error": Words("Fehler", "Error"),
    "and": Words(" und ", " and "),
    "former_kind": Words("Frühere Art von Daten", "Former kind of data"),
    "zone": Words("Alle Zeiten in deutscher Zeit.", "All times are German time."),
}
