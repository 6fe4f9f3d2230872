"""All settings of the recorder: one frozen dataclass, every field described.

`docs/settings.md` is generated from the field metadata (`ddr settings --markdown`), a test compares the two. They are
read by ddr.settings_sources and checked by ddr.settings_checks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

DAY = 86_400
OVERLAPS = ("keep", "end", "end-when-calibrated")


class SettingsError(Exception):
    """A setting is missing, malformed or outside its limits; the text is one clear line for the operator."""


def described(text: str, default: Any) -> Any:
    """A dataclass field with its documentation."""
    return field(default=default, metadata={"doc": text})


def _miv_packages() -> Path:
    """Where the MIV packages are: inside an installed wheel, or beside the package in a checkout."""
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
        "URL of the same database for migrations, bypassing a pooler; empty: database_url.", ""
    )
    database_schema: str = described(
        "Schema of the database that holds all tables, created when it is missing; empty: the role's own default,"
        " usually public. Each of several recorders in one database has its own (docs/database.md).",
        "",
    )
    database_replica_url: str = described(
        "One standby that patients' pages, exports and verifications are read from; empty: database_url.", ""
    )
    database_replica_milliseconds: int = described(
        "How long a read waits for the standby to catch up before database_url answers it.", 500
    )
    miv_packages: Path = described("Directory of the MIV packages; by default those of the release.", _miv_packages())
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
        "Header in which the trusted proxies, which end TLS, send the client certificate (RFC 9440); empty: TLS ends"
        " here.",
        "",
    )
    trusted_proxies: str = described(
        "Addresses and networks of the proxies in front (10.0.0.7 fd00::/64): their headers are believed, all"
        " others are not.",
        "",
    )
    client_address_header: str = described(
        "Header in which the trusted proxies name the client's address: X-Forwarded-For, or Forwarded (RFC 7239);"
        " empty: the peer of the connection is the client.",
        "",
    )
    proxy_protocol_from: str = described(
        "Addresses and networks of the proxies that pass TCP through and begin each connection with a header of the"
        " PROXY protocol, version 2, which names the client. From them a connection without the header is closed; from"
        " all other addresses the header is not accepted.",
        "",
    )
    # watching
    otlp_endpoint: str = described(
        "Where traces are sent (OTLP over HTTP, for instance http://127.0.0.1:4318/v1/traces), with the extra otel;"
        " empty: none.",
        "",
    )
    # registries
    diga_vz_base: str = described("Base URL of the DiGA-VZ.", "https://diga.bfarm.de/api/fhir/v3.0")
    hiis_vz_base: str = described("Base URL of the HIIS-VZ.", "https://hiis.bfarm.de/api/fhir/v3.0")
    zts_base: str = described("Base URL of the ZTS.", "https://terminologien.bfarm.de")
    registry_token: str = described(
        "Bearer token for BfArM's FHIR interfaces; two, separated by a space or on two lines, during a replacement.", ""
    )
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
    # the operator, shown on every page for patients (Art. 13 GDPR, § 5 DDG)
    operator_name: str = described("Name of the operator on the patients' pages; empty: the manufacturer's.", "")
    operator_imprint_url: str = described("Address of the operator's imprint (§ 5 DDG).", "")
    operator_privacy_url: str = described("Address of the operator's privacy notice (Art. 13 GDPR).", "")
    operator_contact: str = described(
        "Contact for patients, finders of faults and DiGA that request log records: a mail or a web address.",
        "",
    )
    operator_logo: str = described("Picture beside the name: path of an SVG or PNG file of 200 kB at most.", "")
    operator_colour: str = described(
        "Colour of buttons and links, #rrggbb, dark enough to be legible on its own tint.", ""
    )
    # authorization server
    access_token_seconds: int = described("Lifetime of an access token.", 600)
    refresh_token_seconds: int = described(
        "Lifetime of a refresh token: 30 days (HDDT); other values for demonstration and tests only.", 30 * DAY
    )
    refresh_repeat_seconds: int = described("A repeated refresh within this time gets the same successor.", 10)
    key_encryption_key: str = described(
        "Key that seals signing keys and the server's other secrets in the database: 32 bytes in base64; further lines"
        " are keys that only open (docs/keys.md); empty: a file in state_dir (development).",
        "",
    )
    key_encryption_key_old: str = described(
        "While key_encryption_key is being replaced: the former key, which still opens (docs/keys.md).", ""
    )
    par_seconds: int = described(
        "Lifetime of a pushed authorization request, below 600 (FAPI 2.0); must cover login and consent.", 590
    )
    par_max_open: int = described("Most pushed requests of one DiGA that may wait for a patient at once.", 1000)
    code_seconds: int = described("Lifetime of an authorization code.", 60)
    consent_days: int = described("Longest consent (one year at most).", 365)
    patient_login: str = described(
        "How patients log in: builtin (demonstration and tests only) or oidc (at the manufacturer's OpenID provider).",
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
        "Header typ of the provider's access tokens (RFC 9068). With a value other than at+jwt, for instance JWT, a"
        " token that looks like an ID token is still refused.",
        "at+jwt",
    )
    oidc_ca: str = described("PEM file of an extra CA for the provider (development).", "")
    oidc_represents_claim: str = described(
        "Claim of the ID token that lists for whom the user acts (docs/representatives.md); empty: only"
        " `ddr patient proxy` sets it.",
        "",
    )
    majority_years: int = described("Age at which the rights of parents and guardians end.", 18)
    research: bool = described(
        "Patients may agree to research with their readings, without names (docs/research.md); off: there is neither"
        " page nor command.",
        False,
    )
    research_least: int = described(
        "Whatever stands out in a research export is shared by at least this many people, or left out (5 at least).", 10
    )
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
        "Maintenance that cannot be written into the database (otherwise: `ddr maintenance`): the text for DiGA and the"
        " status feed, with its end; empty: none.",
        "",
    )
    maintenance_retry_seconds: int = described(
        "After how many seconds DiGA may ask again during maintenance set by `maintenance`.", 600
    )
    # journal of ends
    journal_dir: str = described(
        "Directory for the journal of what was withdrawn, ended or deleted, apart from the database and its backups"
        " (docs/backup.md); empty: journal in state_dir.",
        "",
    )
    journal_days: int = described("How long the journal is kept: longer than the oldest backup.", 400)
    # how long data is kept after its use has ended (docs/retention.md)
    readings_days: int = described(
        "How long readings and measurements are kept; 0: as long as the patient. At least one day more than the longest"
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
    buffering_seconds: int = described(
        "How long a device keeps unsent readings, if its registration does not say.", DAY
    )
    # summaries of glucose values (docs/cgm-summary.md)
    time_zone: str = described("Time zone of the calendar days and times of day in summaries.", "Europe/Berlin")
    summary_uncalibrated: bool = described(
        "Readings of an uncalibrated sensor also count in summaries and research exports.", False
    )
    device_overlap: str = described(
        "When a device replaces another one: keep both active until the gateway ends the old one (keep), end the old"
        " one when the new one starts (end), or end it when the new one's sensor is calibrated, and show nothing of"
        " that sensor before (end-when-calibrated).",
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
        "How long the former token stays valid beside its successor (in case a response was lost).", DAY
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
            "doc": "Per MIV package name: grace_seconds, historic_days and delay_seconds, all three; for a MIV that is"
            " not named: the package's limits."
        },
    )

    @property
    def journal_folder(self) -> Path:
        """Where the journal of ends is kept."""
        return Path(self.journal_dir) if self.journal_dir else self.state_dir / "journal"

    @property
    def request_log_folder(self) -> Path:
        """Where records of the request log wait while the database is not available."""
        return self.state_dir / "request-log"

    @property
    def fhir_base(self) -> str:
        """Base URL of the FHIR interface, without trailing slash."""
        return self.diga_base_url + "/fhir"

    def readings_from_ms(self, now_ms: int) -> int:
        """The earliest instant for which readings are kept; 0: all are kept."""
        return now_ms - self.readings_days * DAY * 1000 if self.readings_days else 0

    def overlap_of(self, device_type: str | None) -> str:
        """What happens to a device that is replaced by one of this type (a SNOMED CT code): one of OVERLAPS."""
        return overlaps(self.device_overlap_types).get(device_type or "", self.device_overlap)


def overlaps(text: str) -> dict[str, str]:
    """The choice per device type. Raises ValueError."""
    return dict(part.split("=") for part in text.split())
