"""What to do with an authentic refresh token: the rotation decision, pure (RFC 9700 section 4.14.2).

A client that lost the answer, or two of its workers at once, repeat a refresh within seconds: they get the same
successor. Any later use of a retired token means that two parties have it, so its family ends. A client that is known
to have got no answer may repeat it later (ddr.oauth.grants.unanswered): then `rotated_ms` is in the future.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

from ddr.store.authorization.tokens import Family


class Rotation(StrEnum):
    """The outcomes. The caller must find AHEAD among REUSE, because that needs the secret."""

    ROTATE = "rotate"
    REPEAT = "repeat"
    REUSE = "reuse"
    EXPIRED = "expired"
    AHEAD = "ahead"


def decide(
    family: Family, presented_sha256: bytes, now_ms: int, repeat_ms: int, there_ms: Callable[[int, int], int]
) -> Rotation:
    """The outcome for a token with the server's MAC that names `family`.

    `there_ms` gives for how long clients could reach the recorder between two instants. A token is repeated late
    through nobody's fault when the answer was lost and the recorder was away.
    """
    if family.ended or family.refresh_expires_ms is None or family.refresh_expires_ms <= now_ms:
        return Rotation.EXPIRED
    if presented_sha256 == family.refresh_sha256:
        return Rotation.ROTATE
    if presented_sha256 == family.previous_sha256 and family.rotated_ms is not None:
        return Rotation.REPEAT if there_ms(family.rotated_ms, now_ms) <= repeat_ms else Rotation.REUSE
    return Rotation.REUSE
