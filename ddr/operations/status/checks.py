"""What a worker can check itself: database, clock, signing keys, certificate, queue, responses, jobs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from ddr.fhir.instants import date_time
from ddr.http.core import Core
from ddr.http.watch import DEMOTED, UNAVAILABLE, Trouble
from ddr.operations.status.functions import NAMES, TOKEN, TOWARDS_DIGA
from ddr.settings import Settings
from ddr.tls.server_certificate import first_of, own

EXPIRES_SOON = timedelta(days=14)  # a certificate not renewed by then needs attention
CLOCK_MS = 10_000  # a host that follows NTP is closer than this to a database that does
JOB_MS = 60_000  # a job that fails for this long is reported
CERTIFICATE = "certificate"
DATABASE = "database"
DIGA_VZ, ZTS = "diga-vz", "zts"  # without them requests are refused


def database_away(core: Core, since_ms: int | None = None) -> Trouble:
    """Without the database, or when it can store nothing or has reached a limit, nothing works."""
    told, unfit = ("The database does not answer", "Die Datenbank antwortet nicht"), core.pool.unfit
    if unfit is not None and not unfit.stores:
        told = ("The database cannot store anything", "Die Datenbank kann nichts speichern")
    elif unfit is not None and unfit.limited:
        told = ("The database has reached one of its limits", "Die Datenbank hat eine ihrer Grenzen erreicht")
    return Trouble(DATABASE, UNAVAILABLE, NAMES, *told, since_ms)


async def look(core: Core, refused_before: int) -> list[Trouble]:
    """All findings of this moment. `refused_before`: requests that admission had refused by the last check."""
    now_ms = core.clock()
    found = [] if await core.pool.ready() else [database_away(core)]
    if core.pool.servers.states.reasons:
        told = ("A server of the database must not be used", "Ein Server der Datenbank darf nicht benutzt werden")
        found.append(Trouble("database-host", DEMOTED, [], *told))
    found += [registry_stale(name) for name in too_old(core, now_ms)]
    found += certificate(core, now_ms)
    found += _clock(core) + _signing(core, now_ms) + _jobs(core, now_ms)
    if core.admission.refused > refused_before:
        told = ("More requests arrive than can be answered", "Es kommen mehr Anfragen, als beantwortet werden können")
        found.append(Trouble("overload", DEMOTED, NAMES, *told))
    for function, share in core.watch.failing(now_ms).items():
        told = (f"Requests are failing: {function}", f"Anfragen schlagen fehl: {function}")
        found.append(Trouble(f"answers-{function}", UNAVAILABLE if share == 1 else DEMOTED, [function], *told))
    return found


def _clock(core: Core) -> list[Trouble]:
    """Everything is dated by the database's clock: a wrong clock of a host does no harm, one of the database does."""
    if abs(core.host_ahead_ms()) <= CLOCK_MS:
        return []
    told = (
        "The clocks of a host and of the database differ",
        "Die Uhren eines Hosts und der Datenbank weichen voneinander ab",
    )
    return [Trouble("clock", DEMOTED, [], *told)]


def relied_on_ms(settings: Settings) -> dict[str, int]:
    """For how long requests rely on the last answer of each registry."""
    return {DIGA_VZ: settings.registry_max_age_seconds * 1000, ZTS: settings.zts_max_age_seconds * 1000}


def too_old(core: Core, now_ms: int) -> list[str]:
    """The registries whose data is so old that this worker refuses requests."""
    if not core.registry.stale(now_ms):
        return []
    limits, seen = relied_on_ms(core.settings), core.registry_seen
    return [name for name in limits if name in seen and now_ms - seen[name]() > limits[name]] or [DIGA_VZ]


def registry_stale(name: str, since_ms: int | None = None) -> Trouble:
    """The data of a registry is too old to rely on: requests that depend on it are refused."""
    told = (f"{name} has not been readable for too long", f"{name} ist schon zu lange nicht lesbar")
    return Trouble(name, UNAVAILABLE, TOWARDS_DIGA, *told, since_ms)


def certificate(core: Core, now_ms: int) -> list[Trouble]:
    """The certificate of the listeners has expired, or will within EXPIRES_SOON. Without a readable one there is no
    finding: the listeners keep the former one."""
    if (ends := _ends(core)) is None:
        return []
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    end = date_time(int(ends.timestamp() * 1000))
    if ends <= now:
        told = (f"The certificate of the server expired at {end}", f"Das Zertifikat des Servers lief ab: {end}")
        return [Trouble(CERTIFICATE, UNAVAILABLE, NAMES, *told, int(ends.timestamp() * 1000))]
    if ends <= now + EXPIRES_SOON:
        told = (f"The certificate of the server expires at {end}", f"Das Zertifikat des Servers läuft ab: {end}")
        return [Trouble(CERTIFICATE, DEMOTED, [], *told)]
    return []


def days_left(core: Core, now_ms: int) -> int | None:
    """Whole days until the certificate of the listeners expires; None when it cannot be read."""
    ends = _ends(core)
    return None if ends is None else (ends - datetime.fromtimestamp(now_ms / 1000, UTC)).days


def in_force(core: Core) -> x509.Certificate:
    """The certificate that the listeners use: the one in the file, unless they kept a former one. Raises OSError,
    ValueError."""
    chain = core.fleet.certificate()
    return first_of(chain) if chain else own(core.settings.server_cert)


def _ends(core: Core) -> datetime | None:
    try:
        return in_force(core).not_valid_after_utc
    except (OSError, ValueError):
        return None


def _signing(core: Core, now_ms: int) -> list[Trouble]:
    """Whether a token can be signed, by trying."""
    if core.signer is None:
        return []
    try:
        core.signer.sign({"iat": now_ms // 1000}, "check+jwt", now_ms)
    except Exception:  # whatever the error, no DiGA gets a token
        told = ("Access tokens cannot be signed", "Zugriffstoken können nicht signiert werden")
        return [Trouble("signing-keys", UNAVAILABLE, [TOKEN], *told)]
    return []


def _jobs(core: Core, now_ms: int) -> list[Trouble]:
    return [
        job_fails(name, state.failing_since_ms)
        for name, state in core.jobs.states.items()
        if state.failing_since_ms is not None and now_ms - state.failing_since_ms >= JOB_MS
    ]


def job_fails(name: str, since_ms: int) -> Trouble:
    """A background job has been failing for a while; no request is refused because of it yet."""
    told = (f"Background work is failing: {name}", f"Arbeiten im Hintergrund schlagen fehl: {name}")
    return Trouble(f"job-{name}", DEMOTED, [], *told, since_ms)
