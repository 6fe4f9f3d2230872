"""The store's error towards an operator."""


class StoreError(Exception):
    """The database cannot be used; the text is one clear line for the operator, without passwords."""
