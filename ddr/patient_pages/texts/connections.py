"""The page with the patient's connections."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Meine Verbindungen", "My connections"),
    "intro": Words(
        "Diese Apps dürfen mit Ihrer Zustimmung Daten Ihrer Messgeräte lesen.",
        "These apps may read data of your measuring devices with your consent.",
    ),
    "none": Words(
        "Zurzeit darf keine App Ihre Daten lesen. Eine Verbindung beginnen Sie in Ihrer App.",
        "At the moment no app may read your data. You start a connection in your app.",
    ),
    "by": Words("von {manufacturer}", "by {manufacturer}"),
    "reads": Words("Darf lesen", "May read"),
    "until": Words("bis {day}", "until {day}"),
    "since": Words("Verbunden seit", "Connected since"),
    "last_access": Words("Zuletzt gelesen", "Last read"),
    "never": Words("noch nie", "never"),
    "withdraw": Words("Zustimmung widerrufen", "Withdraw consent"),
    "withdraw_of": Words("für {diga}", "for {diga}"),
    "withdraw_text": Words(
        "{diga} kann dann sofort nichts mehr lesen. Daten, die {diga} schon gelesen hat, werden dort nicht gelöscht; "
        "dafür wenden Sie sich bitte an {manufacturer}.",
        "{diga} will then be unable to read anything, at once. Data that {diga} has already read is not deleted there; "
        "please contact {manufacturer} for that.",
    ),
    "withdraw_text_kinds": Words(
        "Wählen Sie, was {diga} ab sofort nicht mehr lesen darf. Daten, die {diga} schon gelesen hat, werden dort "
        "nicht gelöscht; dafür wenden Sie sich bitte an {manufacturer}.",
        "Choose what {diga} may no longer read from now on. Data that {diga} has already read is not deleted there; "
        "please contact {manufacturer} for that.",
    ),
    "withdraw_kind": Words("Nur {kind} widerrufen", "Withdraw only {kind}"),
    "withdraw_yes": Words("Alles widerrufen", "Withdraw everything"),
    "withdraw_all": Words("Alle Zustimmungen widerrufen", "Withdraw all consents"),
    "withdraw_all_text": Words(
        "Keine App kann dann noch etwas lesen. Sie können Ihre Apps später neu verbinden.",
        "No app will be able to read anything then. You can connect your apps again later.",
    ),
    "withdraw_all_yes": Words("Ja, alle widerrufen", "Yes, withdraw all"),
    "withdrawn": Words(
        "Ihre Zustimmung ist widerrufen. Es werden keine Daten mehr weitergegeben.",
        "Your consent is withdrawn. No more data is passed on.",
    ),
    "withdrawn_part": Words(
        "Ihre Zustimmung ist widerrufen, wie Sie es gewählt haben. Was Apps weiterhin lesen dürfen, sehen Sie hier.",
        "Your consent is withdrawn as you chose. What apps may still read is shown here.",
    ),
    "ended": Words("Beendete Verbindungen", "Ended connections"),
    "ended_on": Words("Beendet am {day}.", "Ended on {day}."),
}
