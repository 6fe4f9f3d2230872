"""Which consents and pairings end, and when, after the DiGA-VZ has taken something away. Pure.

What a reading does not contain is refused at once; that is safe and can be reversed. An end cannot, so it needs proof:
the registry says *retired*, or lists a DiGA without a kind of data; or it answers a direct question about the DiGA with
"unknown" in two readings; or the DiGA is missing for hours. When many would end at once, an operator has to confirm.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from enum import StrEnum

from ddr.durations import HOUR_MS
from ddr.registries.health_app import Entry
from ddr.store.registries.losses import WHOLE, Loss, Use

UNKNOWN_READINGS = 2  # that answer "unknown" to the question
ABSENT_READINGS, ABSENT_MS = 4, 6 * HOUR_MS  # without any answer about the DiGA
FEW = 3  # DiGA that one reading may end without confirmation
LARGEST_SHARE = 0.25  # of all pairings, where there is more than one DiGA or there are MANY pairings
MANY = 50


class Evidence(StrEnum):
    """What the registry tells us about something that was taken away."""

    RETIRED = "retired"  # it says so
    NOT_PERMITTED = "not-permitted"  # the DiGA is listed, fully readable, without this kind of data
    UNKNOWN = "unknown"  # in answer to the direct question, it does not know the DiGA
    LISTED = "listed"  # in answer to the direct question, it lists the DiGA that is missing from its list
    UNANSWERED = "unanswered"  # not mentioned, and the question was not answered
    NOT_ASKED = "not-asked"  # not mentioned, and only others were asked about: this reading proves nothing about it


def taken_away(
    entries: Collection[Entry], answers: Mapping[str, Evidence], use: Mapping[str, Use], lost: Collection[Loss]
) -> dict[tuple[str, str], Evidence]:
    """What patients consented to and the reading does not contain: (client id, ValueSet or WHOLE) → evidence."""
    found: dict[tuple[str, str], Evidence] = {}
    by_name = {entry.client_id: entry for entry in entries}
    for client_id in {*by_name, *(loss.client_id for loss in lost)} & use.keys():
        entry = by_name.get(client_id)
        if entry is None or entry.absent:
            found[client_id, WHOLE] = answers.get(client_id, Evidence.UNANSWERED)
        elif not entry.listed:
            found[client_id, WHOLE] = Evidence.RETIRED
        elif not entry.doubtful:
            kinds = use[client_id].valuesets - entry.valuesets
            found.update({(client_id, kind): Evidence.NOT_PERMITTED for kind in kinds})
    return found


def judged(
    missing: Mapping[tuple[str, str], Evidence],
    known: Collection[Loss],
    use: Mapping[str, Use],
    now_ms: int,
    *,
    certain: bool,
) -> list[Loss]:
    """The losses after a reading, including those now decided and to be carried out; restored ones are left out.

    `certain`: what the reading does not mention is certainly absent.
    """
    before = {loss.key: loss for loss in known}
    losses = [_seen(before.get(key) or Loss(*key, since_ms=now_ms), said, now_ms) for key, said in missing.items()]
    due = [loss for loss in losses if not loss.decided and _proven(loss, now_ms, certain=certain)]
    too_many = _too_many(due, use)
    after = [_held_or_decided(loss, too_many, now_ms) if loss in due else loss for loss in losses]
    # A decided loss ends even if it is listed again: the end was due before.
    return [*after, *(loss for loss in known if loss.decided and loss.key not in missing)]


def _held_or_decided(loss: Loss, too_many: bool, now_ms: int) -> Loss:
    """A loss that is due: held until an operator confirms it if it is one of too many, or was held before."""
    if loss.confirmed or not (too_many or loss.held_ms):
        return replace(loss, decided=True)
    return replace(loss, held_ms=loss.held_ms or now_ms)


def _seen(loss: Loss, said: Evidence, now_ms: int) -> Loss:
    if said is Evidence.LISTED:  # refutes all earlier evidence for an end
        return replace(loss, evidence=said, since_ms=now_ms, readings=0, unknown=0)
    if said is Evidence.NOT_ASKED:
        return replace(loss, evidence=said)
    unknown = loss.unknown + (said is Evidence.UNKNOWN)
    return replace(loss, evidence=said, readings=loss.readings + 1, unknown=unknown)


def _proven(loss: Loss, now_ms: int, *, certain: bool) -> bool:
    match loss.evidence:
        case Evidence.RETIRED | Evidence.NOT_PERMITTED:
            return True
        case Evidence.LISTED | Evidence.NOT_ASKED:
            return loss.confirmed
    long_gone = loss.readings >= ABSENT_READINGS and now_ms - loss.since_ms >= ABSENT_MS
    return loss.confirmed or (certain and (loss.unknown >= UNKNOWN_READINGS or long_gone))


def _too_many(due: Collection[Loss], use: Mapping[str, Use]) -> bool:
    """Whether these are more ends than an intact registry would cause between two readings."""
    digas = {loss.client_id for loss in due if not loss.confirmed}
    pairings = sum(use[name].pairings for name in digas)
    share = pairings > LARGEST_SHARE * sum(one.pairings for one in use.values())
    return len(digas) > FEW or (share and (len(digas) > 1 or pairings >= MANY))
