"""Pages for those who represent others, and for those who are represented."""

from ddr.http.language import Words

ROLES = {
    "parent": Words("Elternteil", "parent"),
    "guardian": Words("Vormund", "guardian"),
    "carer": Words("Betreuungsperson", "carer"),
}
WHO = {
    "parent": Words("ein Elternteil", "a parent"),
    "guardian": Words("ein Vormund", "a guardian"),
    "carer": Words("eine Betreuungsperson", "a carer"),
}


def role_name(lang: str, role: str) -> str:
    """The name of a relation, after "als" or "as a"."""
    return ROLES[role].said(lang)


def somebody(lang: str, role: str | None) -> str:
    """A person who acts in this role, as others call them; "" for patients themselves."""
    return WHO.get(role or "", Words("", "")).said(lang)


TEXTS = {
    "title": Words("Vertretung", "Representation"),
    "acting": Words("Sie handeln für {person}, als {role}.", "You act for {person}, as a {role}."),
    "means": Words(
        "Wo „Sie“ und „Ihre Daten“ steht, sind {person} und die Daten von {person} gemeint.",
        "Where it says “you” and “your data”, {person} and the data of {person} are meant.",
    ),
    "for_whom_now": Words("Für wen Sie handeln", "For whom you act"),
    "own": Words("Es geht um Ihre eigenen Daten.", "This is about your own data."),
    "other_person": Words("Andere Person wählen", "Choose another person"),
    # whose data it is about
    "choose_title": Words("Um wessen Daten geht es?", "Whose data is this about?"),
    "choose": Words("Wählen Sie, für wen Sie handeln.", "Choose for whom you act."),
    "choose_pairing": Words(
        "{diga} möchte Daten von Messgeräten lesen. Wählen Sie, um wessen Daten es geht. "
        "{diga} erfährt weder Ihren Namen noch einen der Namen hier.",
        "{diga} would like to read data of measuring devices. Choose whose data this is about. "
        "{diga} learns neither your name nor one of the names here.",
    ),
    "myself": Words("Ich selbst", "Myself"),
    "as_role": Words("Sie handeln als {role}", "You act as a {role}"),
    "chosen": Words("zurzeit gewählt", "chosen at the moment"),
    # what representation is
    "what": Words("Was heißt Vertretung?", "What does representation mean?"),
    "what_text": Words(
        "Eltern, ein Vormund oder eine Betreuungsperson melden sich mit dem eigenen Konto an und handeln hier für "
        "jemand anderen: Messwerte ansehen, Apps verbinden, Verbindungen beenden. "
        "Wer wen vertritt, trägt der Hersteller des Messgeräts ein.",
        "Parents, a guardian or a carer sign in with their own account and act here for somebody else: look at "
        "readings, connect apps, end connections. The manufacturer of the measuring device enters who represents whom.",
    ),
    "what_apps": Words(
        "Apps erfahren nie, wer gehandelt hat, und keinen Namen.",
        "Apps never learn who acted, and they learn no name.",
    ),
    "what_trail": Words(
        "Was eine vertretende Person tut, steht unter „Zugriffe“, zum Beispiel: „Ein Elternteil hat Ihre Seiten "
        "geöffnet.“ Auch eine Zustimmung hält fest, in welcher Rolle sie gegeben wurde.",
        "What a representative does is listed under “Accesses”, for instance: “A parent opened your pages.” "
        "A consent, too, keeps the role in which it was given.",
    ),
    "what_end": Words(
        "Eltern und Vormund vertreten nur bis zum {years}. Geburtstag. Jede Vertretung endet außerdem, wenn der "
        "Hersteller das einträgt. Die vertretende Person kommt dann sofort nicht mehr an die Daten.",
        "Parents and guardians represent until the age of {years} only. Each representation also ends when the "
        "manufacturer says so. The representative then cannot reach the data any more, at once.",
    ),
    "what_stays": Words(
        "Verbindungen mit Apps bleiben danach bestehen, bis die vertretene Person selbst entscheidet: mit Apps, die "
        "Daten lesen, und mit Apps, die Messwerte senden. Sie wird bei ihrer nächsten Anmeldung gefragt.",
        "Connections with apps then stay until the person who was represented decides: with apps that read data, and "
        "with apps that send readings. They are asked the next time they sign in.",
    ),
    "what_wrong": Words(
        "Stimmt eine Vertretung nicht, wenden Sie sich bitte an uns.",
        "If a representation is not right, please contact us.",
    ),
    "by_whom": Words("Wer vertritt", "Who represents"),
    "nobody": Words("Zurzeit vertritt hier niemand.", "At the moment nobody represents here."),
    "for_whom": Words("Wen dieses Konto vertritt", "Whom this account represents"),
    "born": Words("geboren am {day}", "born on {day}"),
    "since": Words("seit {day}", "since {day}"),
    "until": Words("bis {day}", "until {day}"),
    "ended_on": Words("beendet am {day}", "ended on {day}"),
    # what a representative had allowed
    "review_title": Words("Möchten Sie diese Verbindungen behalten?", "Do you want to keep these connections?"),
    "review": Words(
        "Diese Apps hat jemand für Sie verbunden, der Sie nicht mehr vertritt. Die Apps lesen Ihre Daten weiter. "
        "Jetzt entscheiden Sie selbst.",
        "Somebody who no longer represents you connected these apps for you. The apps go on reading your data. "
        "Now you decide yourself.",
    ),
    "review_keep": Words("Behalten: {app} darf weiter lesen", "Keep: {app} may go on reading"),
    "review_withdraw": Words("Beenden: {app} liest ab sofort nichts mehr", "End: {app} reads nothing from now on"),
    "review_senders": Words(
        "Diese Apps senden Messwerte für Sie. Verbunden hat sie jemand, der Sie nicht mehr vertritt. Wer eine davon "
        "auf dem Telefon hat, kann dort auch sehen, welche Messgeräte Sie benutzen und wann Messwerte ankommen. "
        "Beenden Sie keine App, die auf Ihrem eigenen Telefon für Sie sendet: Von dort kommt dann nichts mehr an.",
        "These apps send readings for you. Somebody who no longer represents you connected them. Whoever has one of "
        "them on a phone can also see there which measuring devices you use and when readings arrive. "
        "Do not end an app that sends for you from your own phone: nothing would arrive from there any more.",
    ),
    "review_keep_sender": Words("Behalten: {app} darf weiter senden", "Keep: {app} may go on sending"),
    "review_withdraw_sender": Words(
        "Beenden: {app} sendet ab sofort nichts mehr", "End: {app} sends nothing from now on"
    ),
    "review_submit": Words("So entscheiden", "Save these decisions"),
    "review_later": Words("Später entscheiden", "Decide later"),
    "review_missing": Words(
        "Bitte entscheiden Sie über jede Verbindung.", "Please decide about each of the connections."
    ),
}
