"""The JSON API's answers on readings and measurements, as answers to the Observations that they came in."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from ddr.gateway.door.answers import Answer, OfValues, doubtful
from ddr.gateway.door.observations import Observed
from ddr.gateway.problem import Problem
from ddr.gateway.reading_answers import AS_CORRECTION


def with_warnings(answer: Answer | Problem, item: Observed) -> Answer | Problem:
    """The answer, with warnings about the parts of the Observation that are not kept."""
    if isinstance(answer, Problem):
        return answer
    return replace(answer, passed_over=[*answer.passed_over, *item.passed_over])


def answers_of(observed: Sequence[Observed], items: Sequence[dict[str, Any]]) -> dict[int, Answer | Problem]:
    """The outcome of each Observation of an upload, by its place; `items` has the answers to all its readings."""
    left = iter(items)
    own = [list(islice(left, len(item.samples.readings))) for item in observed if item.samples is not None]
    return {
        item.entry.index: with_warnings(readings_answer(part), item) for item, part in zip(observed, own, strict=True)
    }


def readings_answer(items: Sequence[dict[str, Any]]) -> Answer | Problem:
    """The outcome of an Observation with these answers to its readings: 201 when something is new, 422 when nothing was
    accepted. Readings that are stored but not shown, or share their instant with others, are mentioned.

    Values with the same message are reported together, by their places in the sequence, from 1.
    """
    refused = defaultdict[tuple[str, str], list[int]](list)  # by reason and detail
    unusual = defaultdict[str, list[int]](list)  # by the warning
    beyond = defaultdict[str, list[int]](list)  # by L or U
    beside = defaultdict[tuple[str, str], list[int]](list)  # by reason and detail
    for place, item in enumerate(items, 1):
        if item["status"] == "rejected":
            refused[item["reason"], item["detail"]].append(place)
            continue
        if "reason" in item:
            beside[item["reason"], item["detail"].replace(AS_CORRECTION, "the status corrected")].append(place)
        if "warning" in item:
            unusual[item["warning"]].append(place)
        elif "stored" in item:
            beyond[item["stored"]].append(place)
    rejected = [OfValues(422, reason, detail, values=_values(at)) for (reason, detail), at in refused.items()]
    counts = Counter(item["status"] for item in items)
    nothing_taken = counts["rejected"] == len(items)
    if nothing_taken and len(rejected) == 1:
        return rejected[0]
    passed_over = [OfValues(200, "implausible", detail, values=_values(at)) for detail, at in unusual.items()]
    kept = "beyond the limit of the sensor, so stored as"
    passed_over += [OfValues(200, "range", f"{kept} {word}", values=_values(at)) for word, at in beyond.items()]
    passed_over += [OfValues(200, reason, detail, values=_values(at)) for (reason, detail), at in beside.items()]
    status = 422 if nothing_taken else 201 if counts["accepted"] else 200
    remark = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "duplicate", "rejected"))
    return Answer(status, remark=remark, rejected=rejected, passed_over=passed_over)


def _values(places: Sequence[int]) -> str:
    """`Value 3`, or `Values 3–80, 99`."""
    found: list[list[int]] = []
    for place in places:
        if found and place == found[-1][-1] + 1:
            found[-1] = [found[-1][0], place]
        else:
            found.append([place])
    return f"Value{'s' if len(places) > 1 else ''} {', '.join('–'.join(map(str, ends)) for ends in found)}"


def measurement_answer(answer: dict[str, Any]) -> Answer:
    """The outcome of an Observation with a single value: 201 when it is new."""
    status = 201 if answer["result"] == "created" else 200
    unusual = [doubtful(answer["warning"])] if "warning" in answer else []
    return Answer(status, f"Observation/{answer['id']}", answer["version"], passed_over=unusual)
