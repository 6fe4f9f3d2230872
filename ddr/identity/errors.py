"""What can go wrong between the recorder and the OpenID provider; no text here identifies a person or has a token."""

from __future__ import annotations


class ProviderUnavailable(Exception):
    """The provider cannot be asked, or does not answer as it should; a later attempt may succeed."""


class LoginRefused(Exception):
    """The provider's answer does not prove who the patient is; the text says which check failed, for the log."""
