"""The words of the status page."""

from __future__ import annotations

from ddr.http.language import Words

DATA_OF = Words("Gerätedaten lesen", "Reading device data")
TEXTS = {
    "site": Words("Meine Gerätedaten", "My device data"),
    "skip": Words("Zum Inhalt springen", "Skip to content"),
    "title": Words("Betriebszustand", "Status"),
    "operational": Words("in Betrieb", "operational"),
    "demoted": Words("eingeschränkt", "demoted"),
    "unavailable": Words("nicht verfügbar", "unavailable"),
    "all-operational": Words("Alles funktioniert.", "Everything works."),
    "all-demoted": Words("Der Dienst arbeitet eingeschränkt.", "The service is running with restrictions."),
    "all-unavailable": Words("Mindestens eine Funktion ist nicht verfügbar.", "At least one function is unavailable."),
    "functions": Words("Funktionen", "Functions"),
    "pairing": Words("Verbinden einer App", "Connecting an app"),
    "token": Words("Anmeldung verbundener Apps", "Sign-in of connected apps"),
    "data": DATA_OF,
    "summary": Words("Auswertung der Glukosewerte", "Summary of glucose values"),
    "ingestion": Words("Aufnahme neuer Messwerte", "Receiving new readings"),
    "function": Words("Funktion", "Function"),
    "state": Words("Zustand", "State"),
    "span": Words("von {start} bis {end}", "from {start} until {end}"),
    "until": Words("bis {end}", "until {end}"),
    "since": Words("seit {start}, Ende nicht bekannt", "since {start}, end not known"),
    "from": Words("ab {start}, Ende nicht bekannt", "from {start}, end not known"),
    "timeless": Words("Beginn und Ende nicht bekannt", "beginning and end not known"),
    "now": Words("Gerade", "At present"),
    "planned": Words("Angekündigt", "Announced"),
    "cancelled": Words("Abgesagt", "Cancelled"),
    "past": Words("Vorbei", "Past"),
    "nothing": Words("Nichts.", "Nothing."),
    "maintenance": Words("Wartung", "Maintenance"),
    "disruption": Words("Störung", "Disruption"),
    "impact": Words("Auswirkung", "Impact"),
    "affected": Words("Betroffen", "Affected"),
    "none": Words("noch keine Funktion", "no function yet"),
    "contact": Words("Kontakt", "Contact"),
    "updated": Words("Stand", "As of"),
    "machines": Words("Für Programme", "For programs"),
    "switch": Words("English", "Deutsch"),
}
