"""From readings to what a chunk shows: the slot of each reading, the winner of a slot, and SampledData.data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ddr.series.grid import slot_of
from ddr.series.packing import ERROR, HIGH, LOW, Reading, decode, decode_values, runs


def winners(readings: Iterable[Reading], start_ms: int, period_ms: int) -> dict[int, Reading]:
    """The reading that each slot shows: the nearest to its time; of equally near ones the earlier, then the smaller.

    A failed reading (ERROR) never hides a measured value. `readings` are in ascending order, so an equally near one
    that comes later never wins.
    """
    shown: dict[int, Reading] = {}
    best = (False, 0)
    for reading in readings:
        offset = reading[0] - start_ms
        slot = slot_of(offset, period_ms)
        rank = reading[1] == ERROR, abs(offset - slot * period_ms)
        if slot not in shown or rank < best:
            shown[slot], best = reading, rank
    return shown


def shown_of(raws: Iterable[int]) -> int:
    """Of several values of one instant, the one that is shown."""
    return winners(sorted((0, raw) for raw in raws), 0, 1)[0][1]


def crowded(times: bytes, period_ms: int) -> bool:
    """True when two readings of a chunk lie in the same slot, which shows only one."""
    free = -1
    for offset, count in runs(times, period_ms):
        slot = slot_of(offset, period_ms)
        if slot < free:
            return True
        free = slot + count
    return False


def shown(times: bytes, vals: bytes, start_ms: int, period_ms: int) -> list[Reading]:
    """The readings that a chunk shows, one per slot, in ascending order: those of `place`, with their times."""
    readings = decode(times, vals, start_ms, period_ms)
    return list(winners(readings, start_ms, period_ms).values()) if crowded(times, period_ms) else readings


def place(times: bytes, vals: bytes, period_ms: int) -> tuple[list[int], int]:
    """Raw value of each slot up to the last reading (ERROR where there is none), and how many slots have a reading."""
    raws = decode_values(vals)
    shown: list[int] = []
    at = 0
    for offset, count in runs(times, period_ms):
        missing = slot_of(offset, period_ms) - len(shown)
        if missing < 0:  # two readings in one slot
            return _place_winners(winners(decode(times, vals, 0, period_ms), 0, period_ms))
        if missing:
            shown += [ERROR] * missing
        shown += raws[at : at + count]
        at += count
    return shown, at


def _place_winners(shown: dict[int, Reading]) -> tuple[list[int], int]:
    slots = [ERROR] * (max(shown) + 1)
    for slot, (_, raw) in shown.items():
        slots[slot] = raw
    return slots, len(shown)


class _Texts(dict[int, str]):
    """Text of each raw value at one number of decimals; remembers each that it was asked for (65,536 at most)."""

    def __init__(self, decimals: int) -> None:
        super().__init__({LOW: "L", ERROR: "E", HIGH: "U"})
        self.decimals = decimals

    def __missing__(self, raw: int) -> str:
        whole, part = divmod(abs(raw), 10**self.decimals)
        digits = f"{whole}.{part:0{self.decimals}d}" if self.decimals else str(whole)
        text = self[raw] = f"-{digits}" if raw < 0 else digits
        return text


_TEXTS = tuple(_Texts(decimals) for decimals in range(5))


def text(raw: int, decimals: int) -> str:
    """A raw value as SampledData has it: exact, with all its decimals (0 to 4), or `L`, `U`, `E`."""
    return _TEXTS[decimals][raw]


def data(slots: Sequence[int], decimals: int) -> str:
    """SampledData.data of raw values, one blank between two of them (FHIR R4 datatypes.html#SampledData)."""
    return " ".join(map(_TEXTS[decimals].__getitem__, slots))
