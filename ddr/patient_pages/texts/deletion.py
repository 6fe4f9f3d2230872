"""The page on which patients delete their data."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Meine Daten löschen", "Delete my data"),
    "what": Words("Das wird gelöscht", "This will be deleted"),
    "values": Words("alle Messwerte und Angaben zu Ihren Geräten", "all readings and details of your devices"),
    "connections": Words(
        "alle Verbindungen: keine App kann dann noch etwas lesen", "all connections: no app can read anything then"
    ),
    "account": Words("Ihr Konto hier, auf allen Geräten", "your account here, on all devices"),
    "people": Words(
        "Ihr Zugang zu den Daten der Personen, die Sie vertreten",
        "your access to the data of the people whom you represent",
    ),
    "stays": Words("Das bleibt", "This stays"),
    "stays_apps": Words(
        "Was Apps schon gelesen haben, wird dort nicht gelöscht. Dafür wenden Sie sich bitte an deren Hersteller.",
        "What apps have already read is not deleted there. Please contact their manufacturers for that.",
    ),
    "stays_people": Words(
        "Die Daten der Personen, die Sie vertreten, und deren Verbindungen mit Apps. "
        "Was davon enden soll, beenden Sie bitte vorher.",
        "The data of the people whom you represent, and their connections with apps. "
        "Please end first whatever of this should end.",
    ),
    "stays_provider": Words(
        "Ihr Konto beim Hersteller, mit dem Sie sich hier anmelden.",
        "Your account with the manufacturer, with which you sign in here.",
    ),
    "stays_audit": Words(
        "Das Protokoll der Zugriffe muss aufbewahrt werden, ist aber niemandem mehr zuzuordnen.",
        "The record of accesses has to be kept, but can no longer be traced to anybody.",
    ),
    "stays_backups": Words(
        "Was der Betreiber gesichert hat, bis er die Sicherung löscht. Spielt er eine zurück, werden Ihre Daten wieder "
        "gelöscht.",
        "What the operator has backed up, until the backup is deleted. When one is restored, your data is deleted "
        "again.",
    ),
    "stays_gateway": Words(
        "Sendet die App Ihres Messgeräts weiter Daten, werden diese neu gespeichert. "
        "Möchten Sie das nicht, trennen Sie dort die Verbindung.",
        "If the app of your measuring device goes on sending data, this is stored anew. "
        "If you do not want that, disconnect it there.",
    ),
    "download": Words("Zuerst meine Daten herunterladen", "Download my data first"),
    "not_you": Words(
        "Als Betreuungsperson können Sie hier nicht alles löschen. Dafür wenden Sie sich bitte schriftlich an uns.",
        "As a carer you cannot delete everything here. Please write to us for that.",
    ),
    "final": Words("Das kann nicht rückgängig gemacht werden.", "This cannot be undone."),
    "password": Words("Zur Bestätigung: Ihr Passwort", "To confirm: your password"),
    "title_for": Words("Die Daten von {person} löschen", "Delete the data of {person}"),
    "password_for": Words(
        "Zur Bestätigung: Ihr eigenes Passwort, nicht das von {person}",
        "To confirm: your own password, not that of {person}",
    ),
    "confirm_for": Words(
        "Bitte melden Sie sich zur Sicherheit noch einmal an: mit Ihrem eigenen Konto, nicht mit dem von {person}.",
        "To be safe, please sign in once more: with your own account, not with that of {person}.",
    ),
    "confirm": Words("Bitte melden Sie sich zur Sicherheit noch einmal an.", "To be safe, please sign in once more."),
    "confirm_link": Words("Weiter zur Anmeldung", "Continue to sign-in"),
    "confirm_first": Words(
        "Ihre Anmeldung liegt zu lange zurück. Bitte melden Sie sich noch einmal an.",
        "You signed in too long ago. Please sign in again.",
    ),
    "submit": Words("Endgültig löschen", "Delete for good"),
    "wrong": Words(
        "Das Passwort stimmt nicht. Es wurde nichts gelöscht.", "The password is wrong. Nothing was deleted."
    ),
    "wait": Words(
        "Zu viele Versuche. Bitte warten Sie einige Minuten. Es wurde nichts gelöscht.",
        "Too many attempts. Please wait a few minutes. Nothing was deleted.",
    ),
    "done_title": Words("Ihre Daten sind gelöscht", "Your data is deleted"),
    "done_title_for": Words("Die Daten sind gelöscht", "The data is deleted"),
    "done_for": Words(
        "Gelöscht sind die Daten der Person, für die Sie gehandelt haben, und alle ihre Verbindungen. Ihre eigenen "
        "Daten sind noch da. Sie sind abgemeldet und können dieses Fenster schließen.",
        "The data of the person for whom you acted is deleted, and all connections of that person. Your own data is "
        "still there. You are signed out and can close this window.",
    ),
    "done": Words(
        "Alle Verbindungen sind beendet, und Sie sind abgemeldet. Sie können dieses Fenster schließen.",
        "All connections are ended, and you are signed out. You can close this window.",
    ),
}
