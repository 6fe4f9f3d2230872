"""Checks that settings make sense and keep the limits of the specification; a fault is reported in one clear line."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ddr.fhir.device_types import DEVICE_TYPES
from ddr.proxies import is_loopback
from ddr.reasons import in_words, no_ciphers
from ddr.settings import DAY, OVERLAPS, Settings, SettingsError, overlaps

PROOF_DAYS = 1096
REFRESH_TOKEN_SECONDS = 30 * DAY
CODE_SECONDS = PAR_SECONDS = 600
_SCHEMA = re.compile(r"(?!pg_|information_schema)[a-z_][a-z0-9_]{0,62}|")
# With 0, nobody would be served, BfArM would be asked without a pause, or no end would be kept, so that a restore would
# undo it.
_AT_LEAST_ONE = (
    "workers", "search_default_count", "search_max_count", "par_max_open", "gateway_token_days",
    "maintenance_retry_seconds", "majority_years", "journal_days", "access_token_seconds", "refresh_token_seconds",
    "code_seconds", "session_seconds", "consent_days", "page_link_seconds", "gateway_max_items",
    "gateway_max_body_bytes", "fhir_max_body_bytes", "registry_refresh_seconds", "zts_refresh_seconds",
)  # fmt: skip
_LEAST = {"database_pool_size": 2, "chunk_span_seconds": 3600, **dict.fromkeys(_AT_LEAST_ONE, 1)}
# Beyond this, instants have years that no FHIR dateTime and no calendar has, wherever they are shown.
LONGEST_DAYS, LONGEST_YEARS, LARGEST = 36_500, 100, 2**31 - 1
_MOST = {"_days": LONGEST_DAYS, "_years": LONGEST_YEARS}
_REGISTRIES = ("diga_vz_base", "hiis_vz_base", "zts_base")
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")  # a token (RFC 9110 section 5.6.2), or none
_NOT_OF_ADDRESSES = re.compile(r"[^\x21-\x7e]|[@\\]")


def check(settings: Settings) -> Settings:
    """`settings` unchanged, or SettingsError when a value makes no sense or breaks a limit of the specification."""
    for faults in (
        _at_least, _addresses, _registries, _schema, _overlap, _proxies, _limits, _login, _operator,
        _at_most,  # after limits that say more
    ):  # fmt: skip
        for fault in faults(settings):  # the first one; later ones may make no sense
            raise SettingsError(f"setting {fault}")
    return settings


def _at_least(settings: Settings) -> Iterator[str]:
    for name, value in vars(settings).items():
        if isinstance(value, int) and value < _LEAST.get(name, 0):
            yield f"{name}: must be at least {_LEAST.get(name, 0)}"
        if name.endswith("_port") and value > 65_535:
            yield f"{name}: is not a port number"


def _addresses(settings: Settings) -> Iterator[str]:
    for name in ("diga_base_url", "public_base_url", "gateway_base_url"):
        if not _is_origin(getattr(settings, name)):
            yield f"{name}: must be https://host or https://host:port, without a slash at the end"
    for name in _REGISTRIES:
        if not _is_base(getattr(settings, name)):
            yield f"{name}: must be https://host, with or without a path"
    for name in ("registry_ca", "oidc_ca"):
        yield from _authority(name, getattr(settings, name))


def _authority(name: str, file: str) -> Iterator[str]:
    """Without this check, a mistake would only show when the registries are too old, so that all DiGA are refused, or
    in a worker that cannot start."""
    if not file:
        return  # the system's authorities, of which not all must be read at the start
    if fault := authority_fault(file):
        yield f"{name}: {file}: {fault}"


def _registries(settings: Settings) -> Iterator[str]:
    if not all(token.isascii() and token.isprintable() for token in settings.registry_token.split()):
        yield "registry_token: contains a character that is not allowed in tokens (RFC 6750 section 2.1)"
    for registry in ("registry", "zts"):
        if getattr(settings, f"{registry}_refresh_seconds") >= getattr(settings, f"{registry}_max_age_seconds"):
            yield f"{registry}_refresh_seconds: must be below {registry}_max_age_seconds"


def _schema(settings: Settings) -> Iterator[str]:
    if not _SCHEMA.fullmatch(settings.database_schema):
        yield (
            "database_schema: must consist of at most 63 lower-case letters, digits and _, and must not"
            " begin with a digit, pg_ or information_schema"
        )


def _overlap(settings: Settings) -> Iterator[str]:
    if settings.device_overlap not in OVERLAPS:
        yield f"device_overlap: must be one of {', '.join(OVERLAPS)}"
    try:
        by_type = overlaps(settings.device_overlap_types)
    except ValueError:
        by_type = {"": ""}
    if not (by_type.keys() <= DEVICE_TYPES.keys() and set(by_type.values()) <= set(OVERLAPS)):
        yield "device_overlap_types: must be pairs like 700585005=end, with known device types"


def _proxies(settings: Settings) -> Iterator[str]:
    for name in ("trusted_proxies", "proxy_protocol_from"):
        try:
            for part in getattr(settings, name).split():
                ip_network(part)
        except ValueError as error:
            yield f"{name}: {error}"
    for name in ("client_cert_header", "client_address_header"):
        if not _HEADER.fullmatch(getattr(settings, name)):
            yield f"{name}: must be the name of a header, such as X-Forwarded-For"
    for name, what in (("client_cert_header", "certificate"), ("client_address_header", "address")):
        if getattr(settings, name) and not settings.trusted_proxies.split():
            yield f"{name}: needs trusted_proxies; otherwise anybody could claim any {what}"


def _limits(settings: Settings) -> Iterator[str]:
    """The limits of HDDT, of OAuth 2.0 and of the law."""
    if settings.registry_max_age_seconds > 4 * 3600:
        yield "registry_max_age_seconds: DiGA-VZ data must not be trusted longer than 14400 s (HDDT caching)"
    if settings.zts_max_age_seconds > DAY:
        yield "zts_max_age_seconds: MIV ValueSets must not be relied on longer than 86400 s (HDDT caching)"
    if settings.refresh_token_seconds != REFRESH_TOKEN_SECONDS and not settings.allow_builtin_accounts:
        yield (
            f"refresh_token_seconds: must be {REFRESH_TOKEN_SECONDS} (HDDT pairing: 30 days); other values"
            " are for demonstration and tests only"
        )
    if not _is_time_zone(settings.time_zone):
        yield f"time_zone: {settings.time_zone!r} is not in the IANA time zone database"
    if settings.consent_days > 365:
        yield "consent_days: consent must not exceed one year"
    if not 5 <= settings.par_seconds < PAR_SECONDS:
        yield f"par_seconds: must be from 5 to {PAR_SECONDS - 1} (RFC 9126 section 2.2, FAPI 2.0 section 5.3.2.2)"
    if settings.code_seconds > CODE_SECONDS:
        yield f"code_seconds: must be at most {CODE_SECONDS} (RFC 6749 section 4.1.2)"
    if settings.audit_days < 30:
        yield "audit_days: the audit trail must be kept for at least 30 days (HDDT transparency)"
    if settings.ended_pairings_days and settings.ended_pairings_days < max(PROOF_DAYS, settings.audit_days):
        yield (
            f"ended_pairings_days: must be 0, or at least {PROOF_DAYS} (§ 195 BGB) and audit_days: the proof of"
            " a consent is needed for as long as somebody may ask for it"
        )
    if settings.research_least < 5:
        yield "research_least: must be at least 5; otherwise people could be recognised (docs/research.md)"
    if settings.request_log_days < 30:
        yield "request_log_days: the request log must be kept for at least 30 days (HDDT operation)"


def _login(settings: Settings) -> Iterator[str]:
    match settings.patient_login:
        case "builtin" if not settings.allow_builtin_accounts:
            yield (
                "patient_login: built-in accounts are for demonstration only; set allow_builtin_accounts or use oidc"
            )
        case "builtin":
            return
        case "oidc" if not (settings.oidc_issuer.startswith("https://") and settings.oidc_client_id):
            yield "patient_login: oidc needs oidc_issuer (https://…) and oidc_client_id"
        case "oidc" if not _is_base(settings.oidc_issuer):
            yield "oidc_issuer: must be https://host, with or without a path"
        case "oidc" if settings.oidc_audience == settings.oidc_client_id:
            yield "oidc_audience: must differ from oidc_client_id, which is the audience of ID tokens"
        case "oidc":
            return
        case other:
            yield f"patient_login: {other!r} is neither builtin nor oidc"


def _operator(settings: Settings) -> Iterator[str]:
    for name in ("operator_imprint_url", "operator_privacy_url", "otlp_endpoint"):
        if getattr(settings, name) and not re.fullmatch(r"https?://[^\s/?#@]+([/?#]\S*)?", getattr(settings, name)):
            yield f"{name}: must be a web address, https://…, without user and password"
    contact = settings.operator_contact
    if contact and not re.fullmatch(r"https://\S+|[^\s@:/]+@[^\s@:/]+", contact):
        yield "operator_contact: must be a mail address or a web address, https://…"
    if settings.operator_colour and not _is_dark(settings.operator_colour):
        yield (
            "operator_colour: must be #rrggbb, and dark enough that white text on it, and text of this"
            " colour on its own tint, have a contrast of 4.5 (WCAG)"
        )
    logo = Path(settings.operator_logo)
    if settings.operator_logo:
        if logo.suffix not in (".svg", ".png"):
            yield "operator_logo: must be an .svg or .png file"
        if not logo.is_file() or not 0 < logo.stat().st_size <= 200_000 or not os.access(logo, os.R_OK):
            yield "operator_logo: the file is missing, unreadable, empty or larger than 200 kB"


def _at_most(settings: Settings) -> Iterator[str]:
    terms = {f"miv.{miv}.{name}": value for miv, own in settings.miv.items() for name, value in vars(own).items()}
    for name, value in {**vars(settings), **terms}.items():
        most = next((most for ending, most in _MOST.items() if name.endswith(ending)), LARGEST)
        if isinstance(value, int) and value > most:
            yield f"{name}: must be at most {most}"


def authority_fault(file: str) -> str | None:
    """Why a file contains no certificates of authorities, or None. The text does not name it, like Python's errors."""
    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:
        unread = isinstance(error, ssl.SSLError) and not no_ciphers(error)
        return "contains no PEM certificate" if unread else in_words(error)
    return None


def tint(colour: str) -> str:
    """A background of this colour (#rrggbb) for notices: a tenth of it, the rest is white."""
    return "#" + "".join(f"{round(0.9 * 255 + 0.1 * part):02x}" for part in _parts(colour))


def _is_dark(colour: str) -> bool:
    """Whether text in this colour is readable wherever the pages use it, and white text on it (WCAG 2.2, 1.4.3)."""
    return bool(re.fullmatch(r"#[0-9a-fA-F]{6}", colour)) and (
        (luminance(tint(colour)) + 0.05) / (luminance(colour) + 0.05) >= 4.5
    )


def _parts(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    shares = (part / 255 for part in _parts(colour))
    linear = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return sum(weight * share for weight, share in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def missing_operator(settings: Settings) -> list[str]:
    """Settings without which patients are not told who operates the recorder (Art. 13 GDPR, § 5 DDG)."""
    wanted = ("operator_imprint_url", "operator_privacy_url", "operator_contact")
    named = settings.operator_name or settings.manufacturer
    return [*([] if named else ["operator_name"]), *(name for name in wanted if not getattr(settings, name))]


def _is_origin(url: str) -> bool:
    """True when our paths can simply be appended, because such URLs are compared and published as written."""
    try:
        parts = urlsplit(url)
        return (
            bool(parts.hostname)
            and not _NOT_OF_ADDRESSES.search(url)
            and url == f"https://{parts.netloc}"
            and parts.port != 0
        )
    except ValueError:
        return False


def _is_base(url: str) -> bool:
    """True when paths can be appended, and nobody on the way can read the token or alter what is trusted."""
    try:
        parts = urlsplit(url)
        plain = parts.scheme == "http" and is_loopback(url)  # a stand-in on this machine
        return (
            bool(parts.hostname)
            and (parts.scheme == "https" or plain)
            and not (_NOT_OF_ADDRESSES.search(url) or "?" in url or "#" in url)
            and parts.port != 0
        )
    except ValueError:
        return False


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown; a path instead of a name; the name of a folder
        return False
    return True
