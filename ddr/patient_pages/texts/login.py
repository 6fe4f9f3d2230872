"""The login page."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Anmelden", "Sign in"),
    "intro": Words(
        "Melden Sie sich mit dem Konto an, das Sie für Ihr Messgerät benutzen.",
        "Sign in with the account that you use for your measuring device.",
    ),
    "intro_pairing": Words(
        "{diga} möchte Daten Ihrer Messgeräte lesen. Melden Sie sich an, um das zu erlauben oder abzulehnen.",
        "{diga} would like to read data of your measuring devices. Sign in to allow or refuse this.",
    ),
    "username": Words("Benutzername", "User name"),
    "password": Words("Passwort", "Password"),
    "submit": Words("Anmelden", "Sign in"),
    "wrong": Words(
        "Benutzername oder Passwort stimmt nicht. Bitte prüfen Sie beides.",
        "The user name or the password is not right. Please check both.",
    ),
    "wait": Words(
        "Zu viele Versuche. Bitte warten Sie {minutes} Minuten und versuchen Sie es dann noch einmal.",
        "Too many attempts. Please wait {minutes} minutes and then try again.",
    ),
    "wait_a_minute": Words(
        "Zu viele Versuche. Bitte warten Sie eine Minute und versuchen Sie es dann noch einmal.",
        "Too many attempts. Please wait a minute and then try again.",
    ),
    "other_tab": Words(
        "Bitte noch einmal: Diese Seite war zu lange offen, oder die Anmeldung war inzwischen auch in einem anderen "
        "Fenster geöffnet. Bitte melden Sie sich hier noch einmal an.",
        "Please try again: this page was open for too long, or the sign-in was open in another window, too. "
        "Please sign in here again.",
    ),
    "lost": Words(
        "Diese Anmeldung gilt nicht mehr. Bitte melden Sie sich noch einmal an.",
        "This sign-in is no longer valid. Please sign in again.",
    ),
    "no_cookie": Words(
        "Diese Anmeldung gilt hier nicht, denn Ihr Browser hat kein Cookie von uns mitgeschickt. Bitte melden Sie sich "
        "noch einmal an. Hilft das nicht, erlauben Sie im Browser Cookies für diese Seite.",
        "This sign-in is not valid here, because your browser sent no cookie of ours. Please sign in again. "
        "If that does not help, allow cookies for this page in your browser.",
    ),
    "unavailable": Words(
        "Die Anmeldung ist gerade nicht möglich. Bitte versuchen Sie es in einigen Minuten noch einmal.",
        "Signing in is not possible right now. Please try again in a few minutes.",
    ),
    "refused": Words(
        "Die Anmeldung hat nicht geklappt. Bitte versuchen Sie es noch einmal.",
        "Signing in did not work. Please try again.",
    ),
    "logged_out": Words("Sie sind abgemeldet.", "You are signed out."),
}
