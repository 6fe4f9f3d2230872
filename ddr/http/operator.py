"""Who operates this recorder: what every page says about it (Art. 13 GDPR, § 5 DDG), and /.well-known/security.txt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ddr.http.asgi import ASGIApp, Receive, Scope, Send
from ddr.settings import Settings

KEY = "ddr.operator"
_VALID = timedelta(days=180)  # RFC 9116: less than a year


@dataclass(frozen=True)
class Operator:
    """Name, addresses of imprint and privacy notice, mail or web address for questions, colour; "" when not set."""

    name: str = ""
    imprint_url: str = ""
    privacy_url: str = ""
    contact: str = ""
    has_logo: bool = False
    colour: str = ""

    @property
    def colours(self) -> str:
        """The address of the stylesheet with the colour; it differs for each colour."""
        return f"/static/operator.css?v={self.colour[1:]}" if self.colour else ""

    @property
    def contact_url(self) -> str:
        """`contact` as a URL."""
        return f"mailto:{self.contact}" if "@" in self.contact and "://" not in self.contact else self.contact

    @classmethod
    def of(cls, settings: Settings) -> Operator:
        """From the settings."""
        return cls(
            settings.operator_name or settings.manufacturer,
            settings.operator_imprint_url,
            settings.operator_privacy_url,
            settings.operator_contact,
            bool(settings.operator_logo),
            settings.operator_colour,
        )


def with_operator(app: ASGIApp, settings: Settings) -> ASGIApp:
    """`app`, whose pages of last resort find in the scope who operates the recorder."""
    operator = Operator.of(settings)

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        scope[KEY] = operator
        await app(scope, receive, send)

    return call


def operator_of(scope: Scope) -> Operator:
    """The operator of the recorder that got this request."""
    found: Operator = scope.get(KEY, Operator())
    return found


def security_txt(settings: Settings, now_ms: int) -> str | None:
    """The text of /.well-known/security.txt (RFC 9116), None without a contact."""
    contact = Operator.of(settings).contact_url
    if not contact:
        return None
    expires = datetime.fromtimestamp(now_ms / 1000, UTC).replace(microsecond=0) + _VALID
    lines = [
        f"Contact: {contact}",
        f"Expires: {expires.isoformat().replace('+00:00', 'Z')}",
        "Preferred-Languages: de, en",
        f"Canonical: {settings.public_base_url}/.well-known/security.txt",
    ]
    return "\n".join(lines) + "\n"
