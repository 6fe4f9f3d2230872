"""Sessions of patients' browsers: kept on the server, found by the hash of a random cookie.

A session is about one patient: the one who logged in, or one whom that login represents (docs/representatives.md).
Choosing another patient continues under a new cookie.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from ddr.durations import HOUR_MS
from ddr.store.audit.acting import Acting
from ddr.store.authorization.representations import UNTIL_MAJORITY
from ddr.store.database.able import able, stays_able
from ddr.store.database.clock import SKEW_MS, present_ms
from ddr.store.database.digest import sha256
from ddr.store.database.kept import WITHOUT_WAIT
from ddr.store.database.rights import Moment, in_force
from ddr.store.database.spreading import is_spread
from ddr.store.database.sweeping import delete_due

MYSELF = "self"  # whoever logged in, in forms and links
LONGEST_MS = 12 * HOUR_MS  # a session ends after this time even if it is in use

# For a session from a clock that was set back, nobody can tell how long it was idle.
_LASTS = f"seen_ms > $3 AND created_ms > $4 AND greatest(seen_ms, created_ms) <= $2::bigint + {SKEW_MS}"

# The only statement of a click: it notes activity, unless an account is disabled or the right to act for the patient is
# over. The note need not wait for the disk: if a crash undoes it, the session ends a moment sooner.
_LOAD = f"""
WITH seen AS (
  UPDATE browser_session s SET seen_ms = $2
   WHERE cookie_sha256 = $1 AND {_LASTS}
     AND NOT EXISTS (SELECT FROM patient p
                      WHERE p.patient_id IN (s.patient_id, s.login_id) AND p.disabled_ms IS NOT NULL)
  RETURNING patient_id, username, confirmed_ms, login_id, representation_id, chosen_sha256
)
SELECT s.patient_id, s.username, s.confirmed_ms, s.login_id, s.representation_id, s.chosen_sha256, r.relation, r.name,
       EXISTS (SELECT FROM representation o WHERE o.representative_id = coalesce(s.login_id, s.patient_id)
                  AND {in_force("o", "$2", "$5")}) AS represents,
       EXISTS (SELECT FROM representation o WHERE o.patient_id = s.patient_id) AS represented, {WITHOUT_WAIT}
  FROM seen s LEFT JOIN representation r
    ON r.patient_id = s.patient_id AND r.representation_id = s.representation_id AND r.representative_id = s.login_id
   AND {in_force("r", "$2", "$5")}
 WHERE s.login_id IS NULL OR r.patient_id IS NOT NULL"""  # noqa: S608 - texts of ours


@dataclass(frozen=True)
class Session:
    """Whom the session is about, and who is logged in; `confirmed_ms` is when the login was last confirmed within it.

    `acting` is set when the login acts for another patient. `represents`: it may; `represented`: somebody acts or acted
    for this patient. `chosen_sha256` names the pushed request for which the patient was chosen. `provider_sid_sha256`
    is the session at the OpenID provider; it is written, and never read here.
    """

    patient_id: UUID
    username: str
    confirmed_ms: int | None = None
    acting: Acting | None = None
    represents: bool = False
    represented: bool = False
    chosen_sha256: bytes | None = None
    provider_sid_sha256: bytes | None = None

    @property
    def login_id(self) -> UUID:
        """The patient whose login it is."""
        return self.acting.login_id if self.acting else self.patient_id

    @property
    def person(self) -> str:
        """How forms and links name the patient it is about: the right by which the login acts, or MYSELF."""
        return str(self.acting.representation_id) if self.acting else MYSELF

    @property
    def role(self) -> str:
        """The role of the representative who acts; "" for patients themselves."""
        return self.acting.role if self.acting else ""

    @property
    def decides_for_good(self) -> bool:
        """Whether it may do what cannot be undone, as patients and who decides for a minor may (§ 1629, § 1789 BGB)."""
        return self.acting is None or self.acting.role in UNTIL_MAJORITY


def new_cookie() -> str:
    """A value for the session cookie: 256 random bits, base64url."""
    return secrets.token_urlsafe(32)


async def open_session(pool: asyncpg.Pool, session: Session, now_ms: int) -> str:
    """Log in with `session` and return its new cookie, which is useless if an account is disabled or gone by now."""
    cookie, acting = new_cookie(), session.acting
    async with pool.acquire() as conn, conn.transaction():
        for patient_id in sorted({session.patient_id, session.login_id}):
            if not await stays_able(conn, patient_id):
                return cookie
        await conn.execute(
            "INSERT INTO browser_session (cookie_sha256, patient_id, username, created_ms, seen_ms, confirmed_ms,"
            " login_id, representation_id, provider_sid_sha256) VALUES ($1, $2, $3, $4, $4, $5, $6, $7, $8)",
            sha256(cookie),
            session.patient_id,
            session.username,
            now_ms,
            session.confirmed_ms,
            acting and acting.login_id,
            acting and acting.representation_id,
            session.provider_sid_sha256,
        )
    return cookie


async def load_session(pool: asyncpg.Pool, cookie: str, moment: Moment, idle_ms: int) -> Session | None:
    """The session of this cookie, or None when it is unknown, idle for `idle_ms`, too old, or from the future.

    Also None while the account of login or patient is disabled, and when the login may no longer act for the patient.
    Counts as activity.
    """
    now_ms = moment.now_ms
    asked = sha256(cookie), now_ms, now_ms - idle_ms, now_ms - LONGEST_MS
    if is_spread(pool):
        row = await _load_by_steps(pool, asked, moment)
    else:
        row = await pool.fetchrow(_LOAD, *asked, moment.of_age_born_by)
    if row is None:
        return None
    right = row["login_id"], row["representation_id"], row["relation"], row["name"]
    return Session(
        patient_id=row["patient_id"],
        username=row["username"],
        confirmed_ms=row["confirmed_ms"],
        acting=Acting(*right, moment) if row["login_id"] else None,
        represents=row["represents"],
        represented=row["represented"],
        chosen_sha256=row["chosen_sha256"],
    )


_SEEN = f"""
UPDATE browser_session SET seen_ms = $2 WHERE cookie_sha256 = $1 AND {_LASTS}
RETURNING patient_id, username, confirmed_ms, login_id, representation_id, chosen_sha256"""  # noqa: S608 - texts of ours
_ROLES = f"""
SELECT (SELECT jsonb_build_array(r.relation, r.name) FROM representation r
         WHERE r.patient_id = $1 AND r.representation_id = $5 AND r.representative_id = $4
           AND {in_force("r", "$2", "$3")}) AS acts,
       EXISTS (SELECT FROM representation o
                WHERE o.representative_id = coalesce($4, $1) AND {in_force("o", "$2", "$3")}) AS represents,
       EXISTS (SELECT FROM representation o WHERE o.patient_id = $1) AS represented"""  # noqa: S608 - texts of ours


async def _load_by_steps(pool: asyncpg.Pool, asked: tuple[object, ...], moment: Moment) -> dict[str, Any] | None:
    """What _LOAD finds, when session and patients may be on several servers."""
    seen = await pool.fetchrow(_SEEN, *asked)
    if seen is None or not await able(pool, seen["patient_id"]):
        return None
    login_id = seen["login_id"]
    if login_id is not None and not await able(pool, login_id):
        return None
    roles = await pool.fetchrow(
        _ROLES, seen["patient_id"], moment.now_ms, moment.of_age_born_by, login_id, seen["representation_id"]
    )
    if login_id is not None and roles["acts"] is None:
        return None
    relation, name = roles["acts"] or (None, None)
    return {**seen, "relation": relation, "name": name, **{key: roles[key] for key in ("represents", "represented")}}


_TURN = """
UPDATE browser_session SET cookie_sha256 = $2, patient_id = $3, login_id = $4, representation_id = $5,
       chosen_sha256 = $6, confirmed_ms = NULL
 WHERE cookie_sha256 = $1"""
# The key decides on which server a row is, so with another key it is another row there.
_TAKE = """
DELETE FROM browser_session WHERE cookie_sha256 = $1 RETURNING username, created_ms, seen_ms, provider_sid_sha256"""
_PUT = """
INSERT INTO browser_session (cookie_sha256, patient_id, login_id, representation_id, chosen_sha256, username,
                             created_ms, seen_ms, provider_sid_sha256)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"""


async def turn_to(
    pool: asyncpg.Pool, cookie: str, patient_id: UUID, acting: Acting | None, request_uri: str
) -> str | None:
    """Make the session one about this patient, under a new cookie; an earlier confirmation no longer counts.

    `request_uri` names the request for which the patient was chosen, if there is one. None when the session has ended
    or has changed meanwhile: of two concurrent choices, one holds.
    """
    successor = new_cookie()
    turned = (
        sha256(successor),
        patient_id,
        acting and acting.login_id,
        acting and acting.representation_id,
        sha256(request_uri) if request_uri else None,
    )
    if is_spread(pool):
        async with pool.acquire() as conn, conn.transaction():
            former = await conn.fetchrow(_TAKE, sha256(cookie))
            if former is not None:
                await conn.execute(_PUT, *turned, *former)
            return former and successor
    status: str = await pool.execute(_TURN, sha256(cookie), *turned)
    return successor if status == "UPDATE 1" else None


async def close_session(pool: asyncpg.Pool, cookie: str) -> None:
    """Log out: the cookie is useless from now on."""
    await pool.execute("DELETE FROM browser_session WHERE cookie_sha256 = $1", sha256(cookie))


async def close_all(conn: asyncpg.Connection, patient_id: UUID) -> None:
    """End all sessions about this patient, and all of this patient's login; each has an index."""
    await conn.execute(
        "DELETE FROM browser_session WHERE patient_id = $1 OR coalesce(login_id, patient_id) = $1", patient_id
    )


async def sweep(pool: asyncpg.Pool, now_ms: int, idle_ms: int) -> None:
    """Delete the sessions that have expired; sessions that are too old cannot be used any more either.

    One from a clock that was set back would become valid again as soon as the clock has caught up. Those of the current
    hour are left, since looking at them would take as long as there are sessions in use.
    """
    before_ms = now_ms - idle_ms
    await delete_due(pool, "browser_session", "seen_hour", before_ms // HOUR_MS + 1, "seen_ms <= $2", before_ms)
    latest_ms = max(now_ms, await present_ms(pool)) + SKEW_MS  # a worker that was paused is late until it looks
    await pool.execute("DELETE FROM browser_session WHERE seen_hour > $1", latest_ms // HOUR_MS)
