"""The URL of the database: its form, its hosts, and what may be shown. No message contains a user or password."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, unquote, urlsplit

from ddr.store.database.errors import StoreError

Host = tuple[str, int | None]

_ONE = r"(?:\[[0-9A-Fa-f:.%a-z]+\]|[A-Za-z0-9._~%-]+)?(?::\d{1,5})?"
_FORM = re.compile(
    rf"postgres(?:ql)?://(?:(?P<user>[^@/?#\s]*)@)?(?P<hosts>{_ONE}(?:,{_ONE})*)(?P<path>/[^@?#\s]*)?(?:\?[^@#\s]*)?"
)
_PARTS = "a URL like postgresql://user:password@host/database"


def check_url(url: str, setting: str = "database_url") -> None:
    """Raises StoreError with one line that names the setting and repeats no part of `url`."""
    if re.match(r"\s*\w+\s*=", url):
        raise StoreError(f"{setting}: must be {_PARTS}, not a list like host=… user=…")
    if not re.match(r"postgres(ql)?://", url):
        raise StoreError(f"{setting}: must be {_PARTS}")
    try:
        good = bool(_FORM.fullmatch(url)) and all(port is None or 0 < port < 65_536 for _, port in hosts(url))
    except ValueError:
        good = False
    if not good:
        raise StoreError(
            f"{setting}: must be {_PARTS}; write characters like @ / ? # % in user and password as %40 %2F …"
        )


def hosts(url: str) -> list[Host]:
    """The servers that `url` names, in order; empty when it names none, and the environment or a socket decides."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    if named := query.get("host"):
        ports = query.get("port", "").split(",")
        names = named.split(",")
        every = ports * len(names) if len(ports) == 1 else ports
        return [(name, int(port) if port else None) for name, port in zip(names, every, strict=True)]
    found = [_host(one) for one in parts.netloc.rpartition("@")[2].split(",") if one]
    return found if all(name for name, _ in found) else []


def _host(text: str) -> Host:
    name, port = text, ""
    if match := re.fullmatch(r"(.*?)(?::(\d+))?", text):
        name, port = match[1], match[2] or ""
    return unquote(name.removeprefix("[").removesuffix("]")), int(port) if port else None


def names_parameter(url: str, name: str) -> bool:
    """True when the query of `url` sets `name`."""
    return any(key == name for key, _ in parse_qsl(urlsplit(url).query, keep_blank_values=True))


def shown(url: str) -> str:
    """Hosts and database of `url`, fit for a message; no part of a malformed one."""
    match = _FORM.fullmatch(url)
    if match is None:
        return "(malformed URL)"
    return (match["hosts"] or "local socket") + (match["path"] or "")


def repeats_secret(url: str, text: str) -> bool:
    """True when `text` repeats the user, the password or a parameter of `url`."""
    parts = urlsplit(url)
    user, _, password = parts.netloc.rpartition("@")[0].partition(":")
    values = [value for name, value in parse_qsl(parts.query) if name not in ("host", "port")]
    users = {user, unquote(user)} - {""}  # as words: "address" does not name ddr
    if any(re.search(rf"(?<!\w){re.escape(one)}(?!\w)", text) for one in users):
        return True
    return any(part and part in text for part in {password, unquote(password), *values})
