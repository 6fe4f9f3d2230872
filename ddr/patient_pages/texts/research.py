"""The page about research with readings, and the consent to it (docs/research.md)."""

from ddr.http.language import Words

TEXTS = {
    "link": Words("Forschung", "Research"),
    "title": Words("Forschung mit Ihren Messwerten", "Research with your readings"),
    "intro": Words(
        "Forschende lernen aus den Messwerten vieler Menschen, zum Beispiel, wie gut eine Behandlung im Alltag hilft. "
        "Sie entscheiden, ob Ihre Messwerte dabei sein dürfen, ohne Ihren Namen.",
        "Researchers learn from the readings of many people, for instance how well a treatment helps in everyday life. "
        "You decide whether your readings may be among them, without your name.",
    ),
    "voluntary": Words(
        "Das ist freiwillig. Solange Sie nicht zustimmen, wird nichts für Forschung weitergegeben. "
        "Auf Ihre Geräte, Apps und Ihre Behandlung hat es keinen Einfluss.",
        "This is voluntary. As long as you do not agree, nothing is passed on for research. "
        "It has no influence on your devices, apps and your treatment.",
    ),
    "passed": Words("Was weitergegeben wird", "What is passed on"),
    "passed_values": Words(
        "gerundete Messwerte, auch ältere, mit ungefährer Uhrzeit und Wochentag",
        "rounded readings, older ones too, with an approximate time and the day of the week",
    ),
    "passed_age": Words("eine Altersgruppe, falls wir sie kennen", "an age group, if we know it"),
    "kept": Words("Was nicht weitergegeben wird", "What is not passed on"),
    "kept_name": Words(
        "Name, Geburtstag, Konto, Seriennummern Ihrer Geräte und alles, was jemand geschrieben hat",
        "name, birthday, account, serial numbers of your devices and everything that somebody wrote",
    ),
    "kept_day": Words(
        "das Datum: alle Tage werden um eine geheime Zahl von Wochen verschoben",
        "the date: all days are moved by a secret number of weeks",
    ),
    "kept_rare": Words(
        "was auffällt: sehr seltene Werte werden gekürzt, Wochen mit Lücken weggelassen",
        "what stands out: very rare values are cut, weeks with gaps are left out",
    ),
    "who": Words("Wer die Daten bekommt", "Who gets the data"),
    "who_text": Words(
        "Nur Forschungsvorhaben mit einer Genehmigung, zum Beispiel einer Ethikkommission. "
        "Hier und unter „Zugriffe“ steht jedes Vorhaben, das auch Ihre Messwerte bekommen hat.",
        "Only research projects with an approval, for instance of an ethics committee. "
        "Each project that got your readings, too, is listed here and under “Accesses”.",
    ),
    "left": Words("Was Sie wissen sollten", "What you should know"),
    "left_risk": Words(
        "Ganz ausschließen lässt sich nicht, dass jemand Sie erkennt. Wer schon viele Ihrer Messwerte kennt, "
        "könnte sie in den Daten wiederfinden.",
        "It cannot be ruled out altogether that somebody recognises you. Whoever knows many of your readings already "
        "might find them in the data.",
    ),
    "left_withdraw": Words(
        "Sie können Ihre Zustimmung jederzeit auf dieser Seite widerrufen. Ab dann wird nichts mehr weitergegeben. "
        "Was schon weitergegeben ist, holen wir nicht zurück, weil dort weder Name noch Nummer sagt, was von Ihnen "
        "stammt.",
        "You can withdraw your consent on this page at any time. From then on nothing is passed on any more. "
        "What was passed on before is not taken back, because neither a name nor a number tells there which part is "
        "yours.",
    ),
    "left_representative": Words(
        "Hat jemand für Sie zugestimmt, endet diese Zustimmung mit der Vertretung. Danach entscheiden Sie selbst.",
        "If somebody agreed for you, this consent ends with the representation. After that you decide yourself.",
    ),
    "your": Words("Ihre Entscheidung", "Your decision"),
    "off": Words("Sie haben nicht zugestimmt.", "You have not agreed."),
    "on": Words("Zugestimmt am {day}.", "Agreed on {day}."),
    "on_by": Words("Am {day} hat {who} für Sie zugestimmt.", "On {day} {who} agreed for you."),
    "agree": Words(
        "Ja, meine Messwerte dürfen ohne meinen Namen für Forschung genutzt werden.",
        "Yes, my readings may be used for research without my name.",
    ),
    "agree_for": Words(
        "Ja, die Messwerte von {person} dürfen ohne Namen für Forschung genutzt werden.",
        "Yes, the readings of {person} may be used for research without a name.",
    ),
    "give": Words("Zustimmung speichern", "Save the consent"),
    "withdraw": Words("Zustimmung widerrufen", "Withdraw the consent"),
    "not_you": Words(
        "Als Betreuungsperson können Sie hier nicht zustimmen. Widerrufen können Sie jederzeit.",
        "As a carer you cannot agree here. You can withdraw at any time.",
    ),
    "given_notice": Words("Ihre Zustimmung ist gespeichert. Danke.", "Your consent is saved. Thank you."),
    "withdrawn_notice": Words("Die Zustimmung ist widerrufen.", "The consent is withdrawn."),
    "unticked_error": Words(
        "Setzen Sie den Haken, wenn Sie zustimmen möchten. Es wurde nichts gespeichert.",
        "Tick the box if you want to agree. Nothing was saved.",
    ),
    "exports": Words("Wer Messwerte von Ihnen bekommen hat", "Who got readings of yours"),
    "exports_none": Words("Bisher niemand.", "Nobody so far."),
    "export": Words(
        "{day}: {recipient}, für „{project}“. Genehmigung: {reference}, gültig bis {until}. Weitergegeben von "
        "{exported_by}: {kinds}.",
        "{day}: {recipient}, for “{project}”. Approval: {reference}, valid until {until}. Passed on by "
        "{exported_by}: {kinds}.",
    ),
    "before": Words("Frühere Zustimmungen", "Former consents"),
    "before_one": Words("{given} bis {ended}. {reason}", "{given} to {ended}. {reason}"),
    # in the patient's copy
    "copy_given": Words(
        "Am {day} wurde zugestimmt, dass die Messwerte ohne Namen für Forschung genutzt werden.",
        "On {day} it was agreed that the readings are used for research without a name.",
    ),
}
