"""What a worker finds wrong with itself, without flapping: raised after it has lasted, cleared after it stayed away."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

RAISE_MS = 10_000  # a problem that lasts this long is reported
CLEAR_MS = 30_000  # a problem that stayed away for this long is over
WINDOW_MS = 60_000  # of the answers that are considered
FEW = 5  # so few failed answers mean nothing yet

DEMOTED, UNAVAILABLE = "demoted", "unavailable"  # the specification's words (OPS-029)


@dataclass(frozen=True)
class Trouble:
    """Something that does not work. `key` stays the same as long as it lasts; instants in milliseconds.

    `last_ms`: when it was last seen, if it has stayed away since; it is still reported, as it may come back.
    """

    key: str
    state: str  # demoted | unavailable
    functions: Sequence[str]
    cause: str
    cause_de: str
    since_ms: int | None = None
    last_ms: int | None = None


@dataclass
class _Seen:
    trouble: Trouble
    first_ms: int
    last_ms: int
    raised: bool = False


@dataclass
class Watch:
    """The memory of one worker."""

    _seen: dict[str, _Seen] = field(default_factory=dict)
    _answers: dict[str, deque[tuple[int, bool]]] = field(default_factory=dict)
    over_ms: dict[str, int] = field(default_factory=dict)  # when a raised problem was last seen
    _noted_ms: int = 0  # the last round

    def note(self, troubles: Collection[Trouble], now_ms: int) -> None:
        """The complete findings of one round. If the clock was set back since, former times count as just now."""
        for known in self._seen.values():
            back_ms = max(0, known.last_ms - now_ms)
            known.first_ms, known.last_ms = known.first_ms - back_ms, known.last_ms - back_ms
        for trouble in troubles:
            seen = self._seen.get(trouble.key)
            if seen is None:
                seen = self._seen[trouble.key] = _Seen(trouble, now_ms, now_ms)
            seen.trouble, seen.last_ms = trouble, now_ms
            seen.raised = seen.raised or now_ms - seen.first_ms >= RAISE_MS
        self._noted_ms = now_ms
        found = {trouble.key for trouble in troubles}
        for key, seen in list(self._seen.items()):
            if key in found:
                continue
            if not seen.raised or now_ms - seen.last_ms >= CLEAR_MS:
                del self._seen[key]
                if seen.raised:
                    self.over_ms[key] = seen.last_ms

    def first_ms(self, key: str) -> int | None:
        """Since when this has been seen, reported or not."""
        seen = self._seen.get(key)
        return None if seen is None else seen.first_ms

    def raised(self) -> dict[str, Trouble]:
        """What is reported, by key, with the instant at which it was first seen."""
        return {
            key: replace(
                seen.trouble,
                since_ms=seen.trouble.since_ms or seen.first_ms,
                last_ms=seen.last_ms if seen.last_ms < self._noted_ms else None,
            )
            for key, seen in self._seen.items()
            if seen.raised
        }

    def answered(self, function: str, good: bool, now_ms: int) -> None:
        """A request to this function was answered; `good`: not with a failure of ours."""
        answers = self._answers.setdefault(function, deque(maxlen=1000))
        answers.append((now_ms, good))

    def failing(self, now_ms: int) -> Mapping[str, float]:
        """The share of failed answers in the last minute, for each function of which at least half failed.

        Answers from before the clock was set back count for one minute from now on.
        """
        shares = {}
        for function, answers in self._answers.items():
            for index, (at_ms, good) in enumerate(answers):
                if at_ms > now_ms:
                    answers[index] = (now_ms, good)
            while answers and answers[0][0] < now_ms - WINDOW_MS:
                answers.popleft()
            failed = sum(1 for _, good in answers if not good)
            if failed >= FEW and 2 * failed >= len(answers):
                shares[function] = failed / len(answers)
        return shares
