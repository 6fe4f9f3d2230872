"""What can go wrong between the recorder and the OpenID provider; no text of these names a person or a token."""

from __future__ import annotations


class ProviderUnavailable(Exception):
    """The provider cannot be asked, or does not answer as it should; later it may."""


class LoginRefused(Exception):
    """The provider's answer does not prove who the patient is; the text says which check failed, for the log."""
