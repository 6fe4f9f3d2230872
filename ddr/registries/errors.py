"""What can go wrong with a registry."""


class RegistryFault(Exception):
    """The registry's answer cannot be used; the text is one line for the operator, without secrets and patient data.

    `status` is the HTTP status where it was that; 0 otherwise.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
