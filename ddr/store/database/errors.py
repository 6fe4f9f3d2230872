"""The store's errors for operators."""


class StoreError(Exception):
    """The database cannot be used; the text is one clear line for the operator, without passwords."""


class DatabaseAway(StoreError):
    """No server answers at present, or only one that is starting or stopping: it may be available in a moment."""


class DatabaseLost(DatabaseAway):
    """The same for a database that had answered before: it went away in the middle of some work."""
