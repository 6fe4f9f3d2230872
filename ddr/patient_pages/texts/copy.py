"""What the patient's copy says about consents and pairings."""

from ddr.http.language import Words

TEXTS = {
    "connected": Words("Mit {app} verbunden seit {day}.", "Connected to {app} since {day}."),
    "given": Words(
        "Am {day} haben Sie {app} bis {until} erlaubt zu lesen: {kind}.",
        "On {day} you allowed {app} to read until {until}: {kind}.",
    ),
    "given_by": Words(
        "Am {day} hat {who} {app} für Sie bis {until} erlaubt zu lesen: {kind}.",
        "On {day} {who} allowed {app} for you to read until {until}: {kind}.",
    ),
    "shortened_by": Words(
        "Am {day} hat {who} für Sie ein früheres Ende gewählt: {until}.",
        "On {day} {who} chose an earlier end for you: {until}.",
    ),
    "shortened": Words(
        "Am {day} haben Sie ein früheres Ende gewählt: {until}.", "On {day} you chose an earlier end: {until}."
    ),
    "ended": Words("Beendet am {day}. {reason}", "Ended on {day}. {reason}"),
    "disconnected": Words(
        "Die Verbindung mit {app} endete am {day}. {reason}", "The connection to {app} ended on {day}. {reason}"
    ),
}
