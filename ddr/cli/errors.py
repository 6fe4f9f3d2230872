"""The error of a command."""


class CommandError(Exception):
    """A command cannot do what it was asked; the text is one clear line for the operator."""
