"""All settings of the recorder: one frozen dataclass, every field described, read from DDR_* variables and a TOML file.

`docs/settings.md` is generated from the field metadata (`ddr settings --markdown`), a test compares the two.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from ipaddress import ip_network
from pathlib import Path
from typing import Any, get_type_hints
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from ddr.fhir.device_types import DEVICE_TYPES
from ddr.reasons import in_words

DAY = 86_400
PROOF_DAYS = 1096
OTHER_VARIABLES = frozenset(
    {
        "DDR_SETTINGS",
        "DDR_GATEWAY_TOKEN",  # ddr import
        # of the project's own tests
        "DDR_CGM_TRACE",
        "DDR_HDDT_ARTIFACTS",
        "DDR_MACHINE_EXAMPLES",
        "DDR_SCREENSHOTS",
        "DDR_TEST_DATABASE_URL",
    }
)
# What Kubernetes puts into every container for a service whose name begins with "ddr".
_FOREIGN = re.compile(
    r"DDR_(\w+_)?(SERVICE_(HOST|PORT(_\w+)?)=.*|PORT(_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*|=(tcp|udp|sctp)://.*))"
)
OVERLAPS = ("keep", "end", "end-when-calibrated")
_LEAST = {
    "workers": 1,
    "database_pool_size": 2,
    "chunk_span_seconds": 3600,
    "search_max_count": 1,
    "par_max_open": 1,
    "gateway_token_days": 1,
    "maintenance_retry_seconds": 1,
}


FILE = "file:"
# Each may also stand in a file of its own: `file:` and its path, so that no environment and no settings file has it.
SECRETS = frozenset(
    {
        "database_url",
        "database_migration_url",
        "registry_token",
        "key_encryption_key",
        "key_encryption_key_old",
        "oidc_client_secret",
    }
)


class SettingsError(Exception):
    """A setting is missing, malformed or outside its limits; the text is one clear line for the operator."""


def described(text: str, default: Any) -> Any:
    """A dataclass field with its documentation."""
    return field(default=default, metadata={"doc": text})


def _miv_packages() -> Path:
    """Where the MIV packages are: inside an installed wheel, beside the package in a checkout."""
    inside = Path(__file__).parent / "miv_packages"
    return inside if inside.is_dir() else inside.parent.parent / "miv_packages"


@dataclass(frozen=True)
class MivSettings:
    """The operator's own values for one MIV, as registered with BfArM (HDDT information-model.md)."""

    grace_seconds: int
    historic_days: int
    delay_seconds: int


@dataclass(frozen=True)
class Settings:
    """The whole configuration. Times in seconds unless the name says otherwise."""

    # where things are
    state_dir: Path = described("Directory for the embedded database and generated development files.", Path(".ddr"))
    database_url: str = described("The PostgreSQL database (postgresql://…).", "")
    embedded: bool = described(
        "Without database_url: run a private PostgreSQL in state_dir (demonstrations, tests, small installations).",
        False,
    )
    database_wait_seconds: int = described("How long `ddr serve` waits for a database that does not answer yet.", 20)
    database_pool_size: int = described("Connections for requests per worker process; five more do other work.", 8)
    database_statement_cache: int = described(
        "Prepared statements that a connection keeps; 0 behind a pooler in transaction mode (PgBouncer).", 100
    )
    database_migration_url: str = described(
        "Another way to the same database for migrations, around a pooler; empty: database_url.", ""
    )
    miv_packages: Path = described("Directory of the MIV packages; by default those that come along.", _miv_packages())
    # listeners
    host: str = described("Address that the three outside listeners bind to.", "127.0.0.1")
    diga_port: int = described("Port of the DiGA listener (mTLS).", 8443)
    public_port: int = described("Port of the public listener (TLS).", 8444)
    gateway_port: int = described("Port of the gateway listener (TLS).", 8445)
    admin_port: int = described("Port of the admin listener (plain HTTP, loopback only).", 8446)
    workers: int = described("Worker processes.", 1)
    diga_base_url: str = described("Outside base URL of the DiGA listener.", "https://localhost:8443")
    public_base_url: str = described(
        "Outside base URL of the public listener; the OAuth issuer.", "https://localhost:8444"
    )
    gateway_base_url: str = described("Outside base URL of the gateway listener.", "https://localhost:8445")
    server_cert: Path = described("PEM chain of the server certificate.", Path(".ddr/certs/server.pem"))
    server_key: Path = described("PEM key of the server certificate.", Path(".ddr/certs/server.key"))
    client_cert_header: str = described(
        "Header in which a TLS-terminating proxy sends the client certificate (RFC 9440); empty: TLS ends here.",
        "",
    )
    trusted_proxies: str = described(
        "Addresses and networks of the proxies in front (10.0.0.7 fd00::/64): their headers are believed, those of"
        " everybody else are not.",
        "",
    )
    client_address_header: str = described(
        "Header in which the trusted proxies name the client's address: X-Forwarded-For, or Forwarded (RFC 7239);"
        " empty: the peer of the connection is the client.",
        "",
    )
    # registries
    diga_vz_base: str = described("Base URL of the DiGA-VZ.", "https://diga.bfarm.de/api/fhir/v3.0")
    hiis_vz_base: str = described("Base URL of the HIIS-VZ.", "https://hiis.bfarm.de/api/fhir/v3.0")
    zts_base: str = described("Base URL of the ZTS.", "https://terminologien.bfarm.de")
    registry_token: str = described("Bearer token for BfArM's FHIR interfaces.", "")
    registry_ca: str = described("PEM file of an extra CA for the registries (development).", "")
    registry_refresh_seconds: int = described("How often the DiGA-VZ is read.", 900)
    registry_max_age_seconds: int = described(
        "Age past which DiGA-VZ data is no longer trusted (4 hours at most).", 14_400
    )
    zts_refresh_seconds: int = described("How often the ZTS is asked for new versions of MIV ValueSets.", 3600)
    zts_max_age_seconds: int = described(
        "Age past which MIV ValueSets that the ZTS did not confirm are no longer relied on (24 hours at most).", DAY
    )
    # what is registered in the HIIS-VZ
    hiis_id: str = described("This recorder's number in the HIIS-VZ; empty: not registered yet.", "")
    product_name: str = described("Name of the recorder in the HIIS-VZ.", "Device Data Recorder")
    product_version: str = described("Version of the product in the HIIS-VZ.", "1.0")
    manufacturer: str = described("Name of the manufacturer in the HIIS-VZ.", "")
    # who runs it: shown on every page for patients (Art. 13 GDPR, § 5 DDG)
    operator_name: str = described("Name of the operator on the patients' pages; empty: the manufacturer's.", "")
    operator_imprint_url: str = described("Address of the operator's imprint (§ 5 DDG).", "")
    operator_privacy_url: str = described("Address of the operator's privacy notice (Art. 13 GDPR).", "")
    operator_contact: str = described("Where patients and finders of faults turn to: a mail or a web address.", "")
    operator_logo: str = described("Picture beside the name: path of an SVG or PNG file of 200 kB at most.", "")
    operator_colour: str = described("Colour of buttons and links, #rrggbb, dark enough for white text on it.", "")
    # authorization server
    access_token_seconds: int = described("Lifetime of an access token.", 600)
    refresh_token_seconds: int = described("Lifetime of a refresh token (HDDT: 30 days).", 30 * DAY)
    refresh_repeat_seconds: int = described("A repeated refresh within this time gets the same successor.", 10)
    key_encryption_key: str = described(
        "Key that seals signing keys and the server's other secrets in the database: 32 bytes in base64, further lines:"
        " keys that only open (docs/keys.md); empty: a file in state_dir (development).",
        "",
    )
    key_encryption_key_old: str = described(
        "While key_encryption_key is exchanged: the former one, which still opens (docs/keys.md).", ""
    )
    par_seconds: int = described(
        "Lifetime of a pushed authorization request, below 600 (FAPI 2.0); must cover login and consent.", 590
    )
    par_max_open: int = described("Most pushed requests of one DiGA that wait for a patient at once.", 1000)
    code_seconds: int = described("Lifetime of an authorization code.", 60)
    consent_days: int = described("Longest consent (one year at most).", 365)
    patient_login: str = described(
        "How patients log in: builtin (demonstration and tests only), or oidc (at the manufacturer's OpenID provider).",
        "builtin",
    )
    allow_builtin_accounts: bool = described("The built-in accounts may be used; never in production.", False)
    oidc_issuer: str = described("Issuer of the OpenID provider; it must publish its configuration.", "")
    oidc_client_id: str = described("This recorder's client id at the provider.", "")
    oidc_client_secret: str = described("Secret of this client; empty: a public client.", "")
    oidc_audience: str = described(
        "Audience of the provider's access tokens that gateways may present; empty: only the recorder's own tokens.", ""
    )
    oidc_access_token_type: str = described(
        "Header typ of the provider's access tokens (RFC 9068). With another one than at+jwt, for instance JWT, what"
        " looks like an ID token is still refused.",
        "at+jwt",
    )
    oidc_ca: str = described("PEM file of an extra CA for the provider (development).", "")
    session_seconds: int = described("Lifetime of a patient's browser session without activity.", 1800)
    # audit trail
    audit_days: int = described("How long the audit trail is kept (30 days at least).", 730)
    # request log
    request_log_days: int = described("How long the request log is kept (30 days at least).", 30)
    retired: bool = described(
        "The recorder has left the HIIS-VZ: all pairings end, and every DiGA is told that HDDT is no longer supported.",
        False,
    )
    maintenance: str = described(
        "Planned maintenance is under way: what DiGA and the status feed are told, with its end; empty: none.", ""
    )
    maintenance_retry_seconds: int = described("When DiGA may ask again during planned maintenance.", 600)
    # journal of ends
    journal_dir: str = described(
        "Directory for the journal of what was withdrawn, ended or deleted, apart from the database and its backups"
        " (docs/backup.md); empty: journal in state_dir.",
        "",
    )
    journal_days: int = described("How long the journal is kept: longer than the oldest backup.", 400)
    # how long what is over is kept (docs/retention.md)
    readings_days: int = described(
        "How long readings and measurements are kept; 0: as long as the patient. At least a day more than the longest"
        " Historic-Data-Period of miv.",
        0,
    )
    ended_pairings_days: int = described(
        "How long ended pairings and the proof of their consents are kept; 0: as long as the patient, else at least"
        " 1096 (three years, § 195 BGB) and audit_days.",
        0,
    )
    # series
    chunk_span_seconds: int = described("Chunk time span of newly registered continuous sensors.", DAY)
    buffering_seconds: int = described("How long a device keeps unsent readings, if it does not say so itself.", DAY)
    # summaries of glucose values (docs/cgm-summary.md)
    time_zone: str = described("Time zone whose calendar days and times of day summaries use.", "Europe/Berlin")
    summary_uncalibrated: bool = described("Readings of a sensor without calibration count in summaries, too.", False)
    device_overlap: str = described(
        "When a device is registered that replaces another one: keep both active until the gateway ends the old one"
        " (keep), end the old one when the new one starts (end), or when the new one's sensor is calibrated, and show"
        " nothing of that sensor before (end-when-calibrated).",
        "keep",
    )
    device_overlap_types: str = described(
        "Other choices than device_overlap for some device types, by SNOMED CT code:"
        " 700585005=end-when-calibrated 337414009=end.",
        "",
    )
    # gateway
    gateway_max_body_bytes: int = described(
        "Largest request body of the gateway API, after decompression.", 8 * 1024 * 1024
    )
    gateway_max_items: int = described("Most items in one upload.", 50_000)
    gateway_future_seconds: int = described("How far in the future a reading may lie (clock skew).", 120)
    gateway_token_days: int = described("How long a gateway's token lasts; its app renews it before.", 365)
    gateway_token_overlap_seconds: int = described(
        "How long the former token is good beside its successor (also while an answer was lost).", DAY
    )
    # FHIR
    search_default_count: int = described("Page size of a search without _count.", 200)
    search_max_count: int = described("Largest page size of a search.", 1000)
    page_link_seconds: int = described("Lifetime of a paging link.", 3600)
    fhir_max_body_bytes: int = described("Largest request body of the FHIR and OAuth endpoints.", 65_536)
    # registration with BfArM, per MIV name
    miv: Mapping[str, MivSettings] = field(
        default_factory=dict,
        metadata={
            "doc": "Per MIV package name: grace_seconds, historic_days, delay_seconds; unset: the package's limits."
        },
    )

    @property
    def journal_folder(self) -> Path:
        """Where the journal of ends is kept."""
        return Path(self.journal_dir) if self.journal_dir else self.state_dir / "journal"

    @property
    def request_log_folder(self) -> Path:
        """Where records of the request log wait while the database is away."""
        return self.state_dir / "request-log"

    @property
    def fhir_base(self) -> str:
        """Base URL of the FHIR interface, without trailing slash."""
        return self.diga_base_url + "/fhir"

    def readings_from_ms(self, now_ms: int) -> int:
        """The earliest instant of which readings are kept; 0: all are."""
        return now_ms - self.readings_days * DAY * 1000 if self.readings_days else 0

    def overlap_of(self, device_type: str | None) -> str:
        """What happens to a device that one of this type (a code of SNOMED CT) replaces: one of OVERLAPS."""
        return _overlaps(self.device_overlap_types).get(device_type or "", self.device_overlap)


def _convert(name: str, wanted: Any, raw: Any) -> Any:
    try:
        if wanted is bool:
            text = str(raw).lower()
            if text not in {"true", "false", "1", "0", "yes", "no"}:
                raise ValueError
            return text in {"true", "1", "yes"}
        return _whole(raw) if wanted is int else wanted(raw)
    except (TypeError, ValueError):
        raise SettingsError(f"setting {name}: {raw!r} is not a valid {wanted.__name__}") from None


def _whole(raw: Any) -> int:
    """A whole number from a text or a number; a part of one is never dropped silently. Raises TypeError, ValueError."""
    if isinstance(raw, (bool, float)):
        raise ValueError("is no whole number")
    return int(raw)


def _miv_settings(name: str, raw: Any) -> MivSettings:
    try:
        return MivSettings(**{key: _whole(value) for key, value in dict(raw).items()})
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"setting miv.{name}: needs whole numbers grace_seconds, historic_days and delay_seconds ({error})"
        ) from None


def load_settings(environ: Mapping[str, str] | None = None, **overrides: Any) -> Settings:
    """Settings from the TOML file named by DDR_SETTINGS, then DDR_* variables, then `overrides`; later ones win.

    Raises SettingsError for unknown names and malformed values.
    """
    environ = os.environ if environ is None else environ
    raw: dict[str, Any] = {}
    if path := environ.get("DDR_SETTINGS"):
        try:
            raw.update(tomllib.loads(Path(path).read_text("utf-8")))
        except (OSError, ValueError) as error:
            raise SettingsError(f"settings file {path}: {in_words(error)}") from None
    if not isinstance(raw.get("miv", {}), Mapping):
        raise SettingsError("setting miv: must be a table of MIV packages")
    known = {f.name for f in fields(Settings)}
    raw = {**raw, **_from_environment(environ, known - {"miv"}), **overrides}
    if unknown := sorted(set(raw) - known):
        raise SettingsError("; ".join(f"unknown setting {name}{_meant(name, known)}" for name in unknown))
    miv = {
        name: value if isinstance(value, MivSettings) else _miv_settings(name, value)
        for name, value in raw.pop("miv", {}).items()
    }
    hints = get_type_hints(Settings)
    values = {
        name: value if type(value) is hints[name] else _convert(name, hints[name], value) for name, value in raw.items()
    }
    values |= {name: _from_file(name, values[name]) for name in SECRETS & values.keys()}
    return check(replace(Settings(), miv=miv, **values))


def _from_file(name: str, value: str) -> str:
    """A secret as it stands, or the content of the file that `file:PATH` names. Raises SettingsError."""
    if not value.startswith(FILE):
        return value
    path = value.removeprefix(FILE)
    try:
        return Path(path).read_text("utf-8").strip()
    except OSError as error:
        raise SettingsError(f"setting {name}: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"setting {name}: {path}: is no text") from None


def _from_environment(environ: Mapping[str, str], known: Collection[str]) -> dict[str, str]:
    """The settings among the variables. Raises SettingsError for a DDR_* variable that is none: it is misspelt."""
    variables = {f"DDR_{name.upper()}": name for name in known}
    ours = {
        name for name, value in environ.items() if name.startswith("DDR_") and not _FOREIGN.fullmatch(f"{name}={value}")
    }
    if unknown := sorted(ours - variables.keys() - OTHER_VARIABLES):
        texts = [f"unknown variable {name}{_meant(name, {*variables, *OTHER_VARIABLES})}" for name in unknown]
        raise SettingsError("; ".join(texts))
    return {variables[name]: environ[name] for name in ours & variables.keys()}


def _meant(name: str, known: Collection[str]) -> str:
    closest = get_close_matches(name, sorted(known), 1)
    return f" (is {closest[0]} meant?)" if closest else ""


def check(settings: Settings) -> Settings:
    """`settings` unchanged, or SettingsError when a value makes no sense or breaks a limit of the specification."""
    for name, value in vars(settings).items():
        if isinstance(value, int) and value < _LEAST.get(name, 0):
            raise SettingsError(f"setting {name}: must be at least {_LEAST.get(name, 0)}")
        if name.endswith("_port") and value > 65_535:
            raise SettingsError(f"setting {name}: is no port number")
    for name in ("diga_base_url", "public_base_url", "gateway_base_url"):
        if not _is_origin(getattr(settings, name)):
            raise SettingsError(
                f"setting {name}: must be https://host or https://host:port, without a slash at its end"
            )
    for registry in ("registry", "zts"):
        if getattr(settings, f"{registry}_refresh_seconds") >= getattr(settings, f"{registry}_max_age_seconds"):
            raise SettingsError(f"setting {registry}_refresh_seconds: must be below {registry}_max_age_seconds")
    _check_overlap(settings)
    _check_proxies(settings)
    if settings.registry_max_age_seconds > 4 * 3600:
        raise SettingsError(
            "setting registry_max_age_seconds: DiGA-VZ data must not be trusted longer than 14400 s (HDDT caching)"
        )
    if settings.zts_max_age_seconds > DAY:
        raise SettingsError(
            "setting zts_max_age_seconds: MIV ValueSets must not be relied on longer than 86400 s (HDDT caching)"
        )
    if not _is_time_zone(settings.time_zone):
        raise SettingsError(f"setting time_zone: {settings.time_zone!r} is not in the IANA time zone database")
    if settings.consent_days > 365:
        raise SettingsError("setting consent_days: consent must not exceed one year")
    if not 5 <= settings.par_seconds < 600:
        raise SettingsError(
            "setting par_seconds: must be from 5 to 599 (RFC 9126 section 2.2, FAPI 2.0 section 5.3.2.2)"
        )
    if settings.audit_days < 30:
        raise SettingsError("setting audit_days: the audit trail must be kept 30 days at least (HDDT transparency)")
    if settings.ended_pairings_days and settings.ended_pairings_days < max(PROOF_DAYS, settings.audit_days):
        raise SettingsError(
            f"setting ended_pairings_days: must be 0, or at least {PROOF_DAYS} (§ 195 BGB) and audit_days: the proof of"
            " a consent is needed for as long as somebody may ask for it"
        )
    if settings.request_log_days < 30:
        raise SettingsError("setting request_log_days: the request log must be kept 30 days at least (HDDT operation)")
    _check_login(settings)
    _check_operator(settings)
    return settings


def _overlaps(text: str) -> dict[str, str]:
    """The choice per device type. Raises ValueError."""
    return dict(part.split("=") for part in text.split())


def _check_overlap(settings: Settings) -> None:
    if settings.device_overlap not in OVERLAPS:
        raise SettingsError(f"setting device_overlap: must be one of {', '.join(OVERLAPS)}")
    try:
        by_type = _overlaps(settings.device_overlap_types)
    except ValueError:
        by_type = {"": ""}
    if not (by_type.keys() <= DEVICE_TYPES.keys() and set(by_type.values()) <= set(OVERLAPS)):
        raise SettingsError("setting device_overlap_types: must be pairs like 700585005=end, of known device types")


def _check_proxies(settings: Settings) -> None:
    try:
        proxies = [ip_network(part) for part in settings.trusted_proxies.split()]
    except ValueError as error:
        raise SettingsError(f"setting trusted_proxies: {error}") from None
    if settings.client_address_header and not proxies:
        raise SettingsError("setting client_address_header: needs trusted_proxies, else anybody could name any address")


def _check_login(settings: Settings) -> None:
    match settings.patient_login:
        case "builtin" if not settings.allow_builtin_accounts:
            raise SettingsError(
                "setting patient_login: built-in accounts are for demonstration only;"
                " set allow_builtin_accounts or use oidc"
            )
        case "builtin":
            return
        case "oidc" if not (settings.oidc_issuer.startswith("https://") and settings.oidc_client_id):
            raise SettingsError("setting patient_login: oidc needs oidc_issuer (https://…) and oidc_client_id")
        case "oidc" if settings.oidc_audience == settings.oidc_client_id:
            raise SettingsError("setting oidc_audience: must differ from oidc_client_id, which is that of ID tokens")
        case "oidc":
            return
        case other:
            raise SettingsError(f"setting patient_login: {other!r} is neither builtin nor oidc")


def _check_operator(settings: Settings) -> None:
    for name in ("operator_imprint_url", "operator_privacy_url"):
        if getattr(settings, name) and not getattr(settings, name).startswith(("https://", "http://")):
            raise SettingsError(f"setting {name}: must be a web address, https://…")
    contact = settings.operator_contact
    if contact and not re.fullmatch(r"https://\S+|[^\s@:/]+@[^\s@:/]+", contact):
        raise SettingsError("setting operator_contact: must be a mail address or a web address, https://…")
    if settings.operator_colour and _contrast(settings.operator_colour) < 4.5:
        raise SettingsError(
            "setting operator_colour: must be #rrggbb and so dark that white text on it has a contrast of 4.5 (WCAG)"
        )
    logo = Path(settings.operator_logo)
    if settings.operator_logo:
        if logo.suffix not in (".svg", ".png"):
            raise SettingsError("setting operator_logo: must be a file .svg or .png")
        if not logo.is_file() or logo.stat().st_size > 200_000:
            raise SettingsError("setting operator_logo: there is no such file of 200 kB at most")


def _contrast(colour: str) -> float:
    """Contrast of #rrggbb with white (WCAG 2.2, relative luminance); 0 when it is no colour."""
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", colour):
        return 0.0
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
    return 1.05 / (luminance + 0.05)


def missing_operator(settings: Settings) -> list[str]:
    """Settings without which patients are not told who runs the recorder (Art. 13 GDPR, § 5 DDG)."""
    wanted = ("operator_imprint_url", "operator_privacy_url", "operator_contact")
    named = settings.operator_name or settings.manufacturer
    return [*([] if named else ["operator_name"]), *(name for name in wanted if not getattr(settings, name))]


def _is_origin(url: str) -> bool:
    """True when paths of ours can simply be appended: they are compared and published as they are written."""
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and url == f"https://{parts.netloc}" and parts.port != 0
    except ValueError:
        return False


def _is_time_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):  # unknown; not a name but a path; the name of a folder
        return False
    return True
