"""What can go wrong with a registry."""


class RegistryFault(Exception):
    """The registry's answer cannot be used; the text is one line for the operator, without secrets and patient data."""
