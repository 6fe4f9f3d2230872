"""The apps that send readings, on the page with the patient's devices."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Apps, die Messwerte senden", "Apps that send readings"),
    "intro": Words(
        "Diese Apps senden Messwerte Ihrer Geräte hierher.", "These apps send readings from your devices to us."
    ),
    "none": Words(
        "Mit einem Code verbundene Apps gibt es zurzeit nicht.", "At the moment no app is connected by a code."
    ),
    "at_provider": Words(
        "Auch Apps, in denen Sie mit Ihrem Konto beim Hersteller angemeldet sind, können Messwerte senden. "
        "Um so eine App zu trennen, melden Sie sich bitte dort ab.",
        "Apps in which you are signed in with your account at the manufacturer can send readings, too. "
        "To disconnect such an app, please sign out there.",
    ),
    "unnamed": Words("App ohne Namen", "App without a name"),
    "since": Words("Verbunden seit", "Connected since"),
    "by": Words("Verbunden hat sie", "Connected by"),
    "used": Words("Zuletzt benutzt (volle Stunde)", "Last used (full hour)"),
    "never": Words("noch nie", "never"),
    "until": Words("Verbunden bis", "Connected until"),
    "disconnect": Words("App trennen", "Disconnect app"),
    "disconnect_of": Words("„{app}“", "“{app}”"),
    "disconnect_text": Words(
        "Die App kann dann sofort nichts mehr senden. Gespeicherte Messwerte bleiben. Trennen Sie die App, wenn Sie "
        "ein Telefon verloren haben oder die App nicht mehr benutzen.",
        "The app will then be unable to send anything, at once. Stored readings stay. Disconnect the app if you lost a "
        "phone or no longer use the app.",
    ),
    "disconnect_yes": Words("Ja, trennen", "Yes, disconnect"),
    "disconnected": Words(
        "Die App ist getrennt. Sie kann nichts mehr senden.", "The app is disconnected. It can no longer send anything."
    ),
    "connect": Words("App verbinden", "Connect an app"),
    "code_title": Words("Ihr Code zum Verbinden", "Your code for connecting"),
    "code_text": Words(
        "Geben Sie diesen Code in der App ein, die Ihre Messwerte senden soll. Er gilt einmal, {minutes} Minuten lang.",
        "Enter this code in the app that is to send your readings. It works once, for {minutes} minutes.",
    ),
    "code_warning": Words(
        "Geben Sie ihn niemandem weiter: Wer ihn hat, kann Messwerte in Ihrem Namen senden.",
        "Do not pass it on: anyone who has it can send readings in your name.",
    ),
    "back": Words("Zurück zu meinen Geräten", "Back to my devices"),
}
