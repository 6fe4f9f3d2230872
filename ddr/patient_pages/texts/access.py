"""The page with the audit trail; its keys are the tags of the events (ddr/store/audit/trail.py)."""

from ddr.http.language import Words

TEXTS = {
    "title": Words("Zugriffe auf meine Daten", "Accesses to my data"),
    "intro": Words(
        "Hier steht, welche App wann was gelesen hat und was an Ihren Verbindungen geändert wurde.",
        "This shows which app read what and when, and what was changed about your connections.",
    ),
    "none": Words("Bisher hat niemand auf Ihre Daten zugegriffen.", "Nobody has accessed your data so far."),
    "times": Words("{count}-mal, zuletzt um {last}", "{count} times, last at {last}"),
    "older": Words("Ältere Einträge", "Older entries"),
    "choose": Words("Einträge bis zu einem Tag", "Entries up to a day"),
    "nothing_so_early": Words(
        "Bis zu diesem Tag gibt es keine Einträge. Hier stehen die neuesten.",
        "There are no entries up to this day. These are the newest ones.",
    ),
    "newest": Words("Zu den neuesten Einträgen", "To the newest entries"),
    "app": Words("Eine App", "An app"),
    "patient:pairing:granted": Words(
        "Sie haben {app} erlaubt, Daten zu lesen: {kinds}.", "You allowed {app} to read data: {kinds}."
    ),
    "patient:pairing:denied": Words("Sie haben eine Anfrage von {app} abgelehnt.", "You refused a request of {app}."),
    "diga:pairing:refused": Words(
        "Eine Anfrage von {app}, sich zu verbinden, wurde abgewiesen.", "A request of {app} to connect was turned away."
    ),
    "system:pairing:failed": Words(
        "Eine Verbindung mit {app} kam nicht zustande.", "A connection with {app} could not be made."
    ),
    "diga:pairing:ended": Words("{app} hat die Verbindung beendet.", "{app} ended the connection."),
    "patient:pairing:ended": Words(
        "Sie haben Ihre Zustimmung für {app} widerrufen.", "You withdrew your consent for {app}."
    ),
    "system:pairing:ended": Words(
        "Die Verbindung mit {app} wurde beendet. {reason}", "The connection with {app} was ended. {reason}"
    ),
    "patient:consent:withdrawn": Words(
        "Sie haben Ihre Zustimmung für {app} teilweise widerrufen: {kinds}.",
        "You withdrew part of your consent for {app}: {kinds}.",
    ),
    "system:consent:ended": Words(
        "{app} darf nicht mehr lesen: {kinds}. {reason}", "{app} may no longer read: {kinds}. {reason}"
    ),
    "system:miv:narrowed": Words(
        "Werte, die nicht mehr zu {kinds} gehören, werden nicht mehr weitergegeben.",
        "Values that no longer belong to {kinds} are not passed on any more.",
    ),
    "patient:data:downloaded": Words("Sie haben Ihre Daten heruntergeladen.", "You downloaded your data."),
    "patient:file:taken": Words("Sie haben eine Datei mit Messwerten eingelesen.", "You read in a file with readings."),
    "patient:file:taken-back": Words(
        "Sie haben die Messwerte einer Datei wieder entfernt.", "You removed the readings of a file again."
    ),
    "patient:data:deleted": Words("Sie haben Ihre Daten gelöscht.", "You deleted your data."),
    "diga:unpairing:refused": Words(
        "{app} wollte eine Verbindung beenden; das wurde abgewiesen.",
        "{app} wanted to end a connection; this was turned away.",
    ),
    "diga:token:refused": Words(
        "{app} wurde kein neuer Zugangsschlüssel gegeben.", "{app} was not given a new access key."
    ),
    "diga:code:replayed": Words(
        "Ein Zugangsschlüssel von {app} wurde zweimal vorgelegt und gesperrt.",
        "An access key of {app} was presented twice and was blocked.",
    ),
    "diga:refresh:reused": Words(
        "Ein alter Zugangsschlüssel von {app} wurde noch einmal vorgelegt. Er und seine Nachfolger wurden gesperrt.",
        "An old access key of {app} was presented again. It and its successors were blocked.",
    ),
    "diga:data:read": Words("{app} hat gelesen: {kinds}.", "{app} read: {kinds}."),
    "diga:data:read:nothing": Words(
        "{app} hat nach Daten gefragt, die es hier nicht gibt oder die nicht freigegeben sind, und nichts gelesen.",
        "{app} asked for data that does not exist here or is not shared with it, and read nothing.",
    ),
    "diga:data:refused": Words(
        "{app} wollte Daten lesen; das wurde abgewiesen.", "{app} wanted to read data; this was turned away."
    ),
    "diga:data:refused:because": Words(
        "{app} wollte Daten lesen; das wurde abgewiesen. {because}",
        "{app} wanted to read data; this was turned away. {because}",
    ),
    "patient:gateway:connected": Words(
        "Sie haben eine App verbunden, die Messwerte sendet.", "You connected an app that sends readings."
    ),
    "patient:gateway:disconnected": Words(
        "Sie haben eine App getrennt, die Messwerte gesendet hat.", "You disconnected an app that sent readings."
    ),
    "gateway:token:renewed": Words(
        "Eine App, die Messwerte sendet, hat ihren Zugangsschlüssel erneuert.",
        "An app that sends readings renewed its access key.",
    ),
    "gateway:calibration:taken-back": Words(
        "Eine App, die Messwerte sendet, hat eine Kalibrierung zurückgenommen.",
        "An app that sends readings took back a calibration.",
    ),
    "operator:gateway-token:issued": Words(
        "Der Betreiber hat einen Zugangsschlüssel für eine App ausgestellt, die Messwerte sendet.",
        "The operator issued an access key for an app that sends readings.",
    ),
    "operator:gateway-token:renewed": Words(
        "Der Betreiber hat den Zugangsschlüssel einer App erneuert, die Messwerte sendet.",
        "The operator renewed the access key of an app that sends readings.",
    ),
    "operator:gateway-token:revoked": Words(
        "Der Betreiber hat eine App getrennt, die Messwerte gesendet hat.",
        "The operator disconnected an app that sent readings.",
    ),
    "operator:account:disabled": Words("Der Betreiber hat Ihr Konto gesperrt.", "The operator disabled your account."),
    "operator:account:enabled": Words(
        "Der Betreiber hat Ihr Konto wieder freigegeben.", "The operator enabled your account again."
    ),
    "operator:pairing:ended": Words(
        "Der Betreiber hat die Verbindung mit {app} beendet. {reason}",
        "The operator ended the connection with {app}. {reason}",
    ),
    "operator:data:exported": Words(
        "Der Betreiber hat eine Kopie Ihrer Daten erstellt, um Ihre Anfrage zu beantworten.",
        "The operator made a copy of your data to answer your request.",
    ),
    "operator:data:deleted": Words("Der Betreiber hat Ihre Daten gelöscht.", "The operator deleted your data."),
    "diga:refresh:restored": Words(
        "Nach der Wiederherstellung dieses Dienstes aus einer Sicherung bekam {app} einen neuen Zugangsschlüssel.",
        "After this service was restored from a backup, {app} was given a new access key.",
    ),
    "patient:research:given": Words(
        "Sie haben zugestimmt, dass Ihre Messwerte ohne Namen für Forschung genutzt werden.",
        "You agreed that your readings are used for research without your name.",
    ),
    "patient:research:withdrawn": Words(
        "Sie haben Ihre Zustimmung zur Forschung widerrufen.", "You withdrew your consent to research."
    ),
    "system:research:ended": Words(
        "Die Zustimmung zur Forschung, die jemand für Sie gegeben hatte, ist beendet. {reason}",
        "The consent to research that somebody had given for you has ended. {reason}",
    ),
    "operator:research:exported": Words(
        "Der Betreiber hat Messwerte von Ihnen ohne Namen für Forschung weitergegeben "
        "(Genehmigung {approval}): {kinds}.",
        "The operator passed readings of yours on for research without your name (approval {approval}): {kinds}.",
    ),
    # what representatives did, and that representatives exist
    "patient:pairing:granted:by": Words(
        "{who_first} hat für Sie {app} erlaubt, Daten zu lesen: {kinds}.",
        "{who_first} allowed {app} for you to read data: {kinds}.",
    ),
    "patient:pairing:denied:by": Words(
        "{who_first} hat für Sie eine Anfrage von {app} abgelehnt.", "{who_first} refused a request of {app} for you."
    ),
    "patient:pairing:ended:by": Words(
        "{who_first} hat für Sie die Zustimmung für {app} widerrufen.",
        "{who_first} withdrew the consent for {app} for you.",
    ),
    "patient:consent:withdrawn:by": Words(
        "{who_first} hat für Sie die Zustimmung für {app} teilweise widerrufen: {kinds}.",
        "{who_first} withdrew part of the consent for {app} for you: {kinds}.",
    ),
    "patient:data:downloaded:by": Words(
        "{who_first} hat Ihre Daten heruntergeladen.", "{who_first} downloaded your data."
    ),
    "patient:file:taken:by": Words(
        "{who_first} hat für Sie eine Datei mit Messwerten eingelesen.",
        "{who_first} read in a file with readings for you.",
    ),
    "patient:file:taken-back:by": Words(
        "{who_first} hat für Sie die Messwerte einer Datei wieder entfernt.",
        "{who_first} removed the readings of a file again for you.",
    ),
    "patient:data:deleted:by": Words("{who_first} hat Ihre Daten gelöscht.", "{who_first} deleted your data."),
    "patient:gateway:connected:by": Words(
        "{who_first} hat für Sie eine App verbunden, die Messwerte sendet.",
        "{who_first} connected an app that sends readings for you.",
    ),
    "patient:gateway:disconnected:by": Words(
        "{who_first} hat für Sie eine App getrennt, die Messwerte gesendet hat.",
        "{who_first} disconnected an app that sent readings for you.",
    ),
    "patient:research:given:by": Words(
        "{who_first} hat für Sie zugestimmt, dass Ihre Messwerte ohne Namen für Forschung genutzt werden.",
        "{who_first} agreed for you that your readings are used for research without your name.",
    ),
    "patient:research:withdrawn:by": Words(
        "{who_first} hat für Sie die Zustimmung zur Forschung widerrufen.",
        "{who_first} withdrew the consent to research for you.",
    ),
    "patient:pairing:kept": Words(
        "Sie haben die Verbindung mit {app} behalten, die jemand für Sie erlaubt hatte.",
        "You kept the connection with {app} that somebody had allowed for you.",
    ),
    "representative:pages:opened": Words("{who_first} hat Ihre Seiten geöffnet.", "{who_first} opened your pages."),
    "operator:representation:set": Words(
        "Der Betreiber hat eingetragen: {who_first} vertritt Sie.", "The operator entered: {who_first} represents you."
    ),
    "provider:representation:set": Words(
        "Das Konto beim Hersteller sagt: {who_first} vertritt Sie.",
        "The account with the manufacturer says: {who_first} represents you.",
    ),
    "operator:representation:ended": Words(
        "Der Betreiber hat eingetragen: {who_first} vertritt Sie nicht mehr.",
        "The operator entered: {who_first} no longer represents you.",
    ),
    "provider:representation:ended": Words(
        "Das Konto beim Hersteller sagt: {who_first} vertritt Sie nicht mehr.",
        "The account with the manufacturer says: {who_first} no longer represents you.",
    ),
    "system:representation:ended": Words(
        "{who_first} vertritt Sie nicht mehr. {reason}", "{who_first} no longer represents you. {reason}"
    ),
    "other": Words("Ereignis zu {app}.", "Event about {app}."),
    "device_details": Words("Angaben zu Geräten", "details of devices"),
}
