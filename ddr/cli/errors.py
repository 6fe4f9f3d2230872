"""The error of a command."""

from __future__ import annotations

import ssl


class CommandError(Exception):
    """A command cannot do what it was asked; the text is one clear line for the operator."""


def of_files(error: ssl.SSLError) -> CommandError:
    """That of a command whose certificate, key or CA the TLS library does not take."""
    pem = "PEM lib" in str(error)  # of which it says no more
    return CommandError(
        f"certificate, key or CA: {'no valid PEM, or a key with a password' if pem else error.reason or error}"
    )
