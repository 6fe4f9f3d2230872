"""The store's error towards an operator."""


class StoreError(Exception):
    """The database cannot be used; the text is one clear line for the operator, without passwords."""


class DatabaseAway(StoreError):
    """Nobody answers there at present, or a server that is just starting or stopping: it may be back in a moment."""


class DatabaseLost(DatabaseAway):
    """The same of one that had answered: it went away in the middle of what was to be done."""
