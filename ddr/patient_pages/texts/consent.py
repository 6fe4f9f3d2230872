"""The consent page."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Darf {diga} Ihre Daten lesen?", "May {diga} read your data?"),
    "title_for": Words("Darf {diga} die Daten von {person} lesen?", "May {diga} read the data of {person}?"),
    "for": Words(
        "Sie entscheiden als {role} für {person}. Wo hier „Ihre Daten“ steht, sind die Daten von {person} gemeint.",
        "You decide as a {role} for {person}. Where it says “your data” here, the data of {person} is meant.",
    ),
    "who": Words(
        "Die App {diga} von {manufacturer} bittet um Ihre Zustimmung. "
        "Sie steht im Verzeichnis der digitalen Gesundheitsanwendungen (DiGA) des Bundesinstituts für Arzneimittel "
        "und Medizinprodukte.",
        "The app {diga} by {manufacturer} asks for your consent. It is listed in the register of digital health "
        "applications (DiGA) of the German Federal Institute for Drugs and Medical Devices.",
    ),
    "by_when": Words(
        "Lesen Sie in Ruhe. Entscheiden können Sie hier bis {time} Uhr (deutsche Zeit). "
        "Danach beginnen Sie bitte in {diga} noch einmal.",
        "Take your time to read. You can decide here until {time} (German time). "
        "After that, please start again in {diga}.",
    ),
    "nothing_chosen_error": Words(
        "Sie haben nichts ausgewählt. Wählen Sie mindestens eine Art von Daten aus, oder lehnen Sie ab.",
        "You have not selected anything. Select at least one kind of data, or refuse.",
    ),
    "changed_error": Words(
        "Diese Seite hat sich inzwischen geändert. Es wurde nichts erlaubt. Bitte lesen und wählen Sie neu.",
        "This page changed while it was open. Nothing was allowed. Please read and select again.",
    ),
    "choose": Words("Welche Daten darf {diga} lesen?", "Which data may {diga} read?"),
    "choose_hint": Words(
        "Sie können jede Art einzeln auswählen. Was Sie nicht auswählen, wird nicht weitergegeben.",
        "You can select each kind on its own. What you do not select is not passed on.",
    ),
    "choose_hint_again": Words(
        "{diga} ist schon mit Ihren Daten verbunden. Wählen Sie aus, was Sie neu erlauben oder verlängern möchten. "
        "Für das Ausgewählte gilt dann die Dauer, die Sie unten wählen. "
        "Was Sie nicht auswählen, bleibt wie bisher erlaubt.",
        "{diga} is already connected to your data. Select what you want to allow anew or to extend. "
        "For what you select, the period that you choose below then applies. What you do not select stays as it is.",
    ),
    "granted_until": Words("Schon erlaubt bis {day}", "Already allowed until {day}"),
    "device": Words("Gerät", "Device"),
    "device_text": Words(
        "{devices}, samt Art, Name, Hersteller, Modell, Seriennummer, Ablaufdatum, Kalibrierung und ob noch gesendet "
        "wird",
        "{devices}, with kind, name, manufacturer, model, serial number, expiry date, calibration and whether data is "
        "still sent",
    ),
    "no_device": Words(
        "Noch keines verbunden. Später verbundene samt Art, Name, Hersteller, Modell, Seriennummer, Ablaufdatum, "
        "Kalibrierung und ob sie noch senden",
        "None connected yet. Those connected later with kind, name, manufacturer, model, serial number, expiry date, "
        "calibration and whether they still send",
    ),
    "period": Words("Zeitraum", "Period"),
    "period_text": Words(
        "Messwerte seit dem {since} und alle neuen, solange Ihre Zustimmung gilt",
        "Readings since {since} and all new ones as long as your consent is valid",
    ),
    "period_text_reference": Words(
        "Messwerte seit dem {since} und alle neuen, solange Ihre Zustimmung gilt; dazu Ihr Referenzwert und ältere "
        "Messwerte, auf die sich diese beziehen",
        "Readings since {since} and all new ones as long as your consent is valid; also your reference value and older "
        "readings that these refer to",
    ),
    "periods": Words("Wie lange darf {diga} lesen?", "How long may {diga} read?"),
    "periods_hint": Words(
        "Eine App wird meist für 90 Tage verordnet. Danach kann {diga} Sie noch einmal fragen.",
        "An app is usually prescribed for 90 days. After that, {diga} can ask you again.",
    ),
    "period_longest": Words("so lange wie möglich (bis {until})", "as long as possible (until {until})"),
    "period_days": Words("{days} Tage (bis {until})", "{days} days (until {until})"),
    "longest": Words("so lange wie möglich", "as long as possible"),
    "days": Words("{days} Tage", "{days} days"),
    "instead": Words("{until} statt {former}", "{until} instead of {former}"),
    "or": Words(" oder ", " or "),
    "know": Words("Gut zu wissen", "Good to know"),
    "know_who": Words(
        "Lesen können die Daten nur {diga} und der Hersteller {manufacturer}, soweit die App sie braucht. "
        "Ihr Name und Ihre Kontodaten werden nicht weitergegeben; {diga} erhält nur ein Pseudonym, "
        "eine zufällige Kennung an Stelle Ihres Namens.",
        "Only {diga} and its manufacturer {manufacturer} can read the data, as far as the app needs it. "
        "Your name and account details are not passed on; {diga} only receives a pseudonym, a "
        "random code in place of your name.",
    ),
    "know_until": Words(
        "Endet die Verordnung der App früher als gewählt, muss {diga} die Verbindung beenden.",
        "If the prescription of the app ends earlier than selected, {diga} has to end the connection.",
    ),
    "know_withdraw": Words(
        "Sie können Ihre Zustimmung jederzeit hier unter „Verbindungen“ oder in {diga} widerrufen. Das wirkt sofort.",
        "You can withdraw your consent at any time, here under “Connections” or in {diga}. This takes effect at once.",
    ),
    "know_audit": Words(
        "Unter „Zugriffe“ sehen Sie, wer wann was gelesen hat.",
        "Under “Accesses” you can see who read what and when.",
    ),
    "nothing_left": Words("{diga} darf diese Daten nicht mehr lesen", "{diga} may no longer read this data"),
    "nothing_left_why": Words(
        "Die App hat um Daten gebeten, die sie zu dieser Zeit lesen durfte. Inzwischen ist ihr hier keine dieser Arten "
        "von Daten mehr erlaubt, auch nicht mit Ihrer Zustimmung. Es wurden keine Daten weitergegeben, und Sie müssen "
        "nichts entscheiden. Bei Fragen wenden Sie sich bitte an {diga}.",
        "The app asked for data that it was permitted to read at that time. It is no longer permitted to read any of "
        "these kinds of data here, even with your consent. No data was passed on, and there is nothing for you to "
        "decide. If you have questions, please contact {diga}.",
    ),
    "back_to": Words("Zurück zu {diga}", "Back to {diga}"),
    "approve": Words("Auswahl erlauben", "Allow selection"),
    "deny": Words("Ablehnen", "Refuse"),
    "other_account": Words("Nicht Ihr Konto? Abmelden", "Not your account? Sign out"),
}
