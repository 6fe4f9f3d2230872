"""Which lines of a file were changed, added, moved or removed, compared with its required content. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Sequence

import orjson


def differences(given: Sequence[bytes], wanted: Iterable[bytes]) -> list[str]:
    """What is wrong with the lines `given`, by their numbers from 1; nothing when they are exactly `wanted`.

    Between two correct lines, an unexpected line is taken for the changed form of a missing one.
    """
    wanted = list(wanted)
    if list(given) == wanted:
        return []
    places: defaultdict[bytes, deque[int]] = defaultdict(deque)
    for place, line in enumerate(wanted):
        places[line].append(place)
    later, seen = Counter(given), [False] * len(wanted)
    found, at, strange = [], 0, deque[int]()
    for number, line in enumerate(given, 1):
        later[line] -= 1
        if not places[line]:
            strange.append(number)
            continue
        place = places[line].popleft()
        seen[place] = True
        if place < at:
            found.append(f"line {number} was moved: {_shown(line)}")
            continue
        missing = [one for one in range(at, place) if not seen[one] and not later[wanted[one]]]
        found += _gap(strange, missing, wanted, number)
        at = place + 1
    missing = [one for one in range(at, len(wanted)) if not seen[one]]
    return found + _gap(strange, missing, wanted, len(given) + 1)


def _gap(strange: deque[int], missing: Iterable[int], wanted: Sequence[bytes], before: int) -> list[str]:
    """Unexpected lines and missing lines between two correct ones; empties `strange`."""
    found = []
    for place in missing:
        if strange:
            found.append(f"line {strange.popleft()} was changed; it was {_shown(wanted[place])}")
        else:
            found.append(f"a line was removed before line {before}: {_shown(wanted[place])}")
    while strange:
        found.append(f"line {strange.popleft()} was added")
    return found


def _shown(line: bytes) -> str:
    """A record as faults name it."""
    record = orjson.loads(line)
    return f"{record['timestamp']} {record['transaction_id']} {record['message']}"
