"""What may be shown of an exchange: secrets are replaced, long bodies are shortened."""

from __future__ import annotations

import re
from urllib.parse import quote

from ddr.conform.exchange import Exchange, Json

MOST = 4000  # characters of a body that are shown
MASK = "***"

_FIELDS = "access_token|refresh_token|code_verifier|password|client_secret|token|id_token"
# Values of `code` in searches for Observations, which are not secret: codes of LOINC and HDDT, with or without their
# system.
_SYSTEM, _CODE, _COMMA = r"(?:http[^&\s|,]*?)?(?:\||%7C)", r"(?:\d{1,7}-\d|PEF-measured(?:/|%2F)predicted)", "(?:,|%2C)"
_SEARCHED = rf"(?:{_SYSTEM})?{_CODE}(?:{_COMMA}(?:{_SYSTEM})?{_CODE})*(?=[&\s]|$)"
_JSON = re.compile(r'("(?:access_token|refresh_token|id_token)"\s*:\s*")[^"]*(")')
_FORM = re.compile(rf"((?:^|[?&\s])(?:(?:{_FIELDS})=|code=(?!{_SEARCHED})))[^&\s]+", re.MULTILINE | re.IGNORECASE)
_HEADERS = frozenset({"authorization", "cookie", "set-cookie", "proxy-authorization"})


class Secrets:
    """The secrets of a run, recognised by their text wherever it occurs."""

    def __init__(self) -> None:
        self._texts: set[str] = set()

    def learn(self, *texts: str) -> None:
        """Hide these from now on, also in the forms that URLs and JSON give them."""
        for text in texts:
            if len(text) >= 8:
                self._texts |= {text, quote(text, safe=""), text.replace("/", "\\/")}

    def mask(self, text: str) -> str:
        """`text` without secrets."""
        for secret in sorted(self._texts, key=len, reverse=True):
            text = text.replace(secret, MASK)
        return _FORM.sub(rf"\1{MASK}", _JSON.sub(rf"\1{MASK}\2", text))

    def shown(self, exchange: Exchange) -> Json:
        """Request and response as a report may contain them."""
        return {
            "method": exchange.method,
            "url": self.mask(exchange.url),
            "certificate": exchange.identity,
            "requestHeaders": self._headers(exchange.sent),
            "requestBody": self._cut(exchange.body),
            "status": exchange.status,
            "responseHeaders": self._headers(exchange.headers),
            "responseBody": self._cut(exchange.text),
            "error": exchange.error,
        }

    def _headers(self, headers: object) -> Json:
        assert hasattr(headers, "items")
        return {
            name: _scheme(value) if name.lower() in _HEADERS else self.mask(value) for name, value in headers.items()
        }

    def _cut(self, text: str) -> str:
        masked = self.mask(text)
        return masked if len(masked) <= MOST else f"{masked[:MOST]}… ({len(masked)} characters)"


def _scheme(value: str) -> str:
    scheme, _, rest = value.partition(" ")
    return f"{scheme} {MASK}" if rest and "=" not in scheme else MASK
