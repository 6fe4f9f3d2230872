"""What can go wrong with a registry."""


class RegistryFault(Exception):
    """The registry's response cannot be used; the message is one line for the operator, without secrets or patient
    data.

    `status` is the HTTP status if that was the fault; 0 otherwise.
    """

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status
