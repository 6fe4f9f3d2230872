"""The error of a command."""

from __future__ import annotations

import ssl


class CommandError(Exception):
    """A command cannot do what was requested; the message is one clear line for the operator."""


def of_files(error: ssl.SSLError) -> CommandError:
    """The error of a command whose certificate, key or CA the TLS library rejects."""
    pem = "PEM lib" in str(error)  # OpenSSL gives no details
    return CommandError(
        f"certificate, key or CA: {'not valid PEM, or a key with a password' if pem else error.reason or error}"
    )
