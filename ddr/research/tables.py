"""The tables for a recipient: rows of persons and of values, under random ids and weeks made for this export."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from random import SystemRandom
from typing import NamedTuple, TypeVar

from ddr.research.rules import UNKNOWN
from ddr.research.weeks import Continuous, Singles, monday, week_number

Person = TypeVar("Person", bound=Hashable)

ERA = week_number(date(2001, 1, 1))  # beginning of an export's calendar: its dates are nobody's real ones
RANGE = (26, 105)  # weeks: the first week of a person is a random one of these; their number is random, too
AGES = ((0, "0-5"), (6, "6-11"), (12, "12-17"), (18, UNKNOWN))  # birthdays of adults are unknown


class PersonRow(NamedTuple):
    """A line of persons.csv."""

    person: str
    kind: str
    code: str
    age: str
    weeks: int


class ValueRow(NamedTuple):
    """A line of values.csv."""

    person: str
    week: date
    weekday: int | None
    time: str
    item: int
    code: str
    unit: str
    value: float


# File, column, type, and meaning.
DICTIONARY = (
    ("persons", "person", "text", "a person in this kind and code; drawn for this export, the same in values"),
    ("persons", "kind", "text", "kind of data, by the name of its MIV"),
    ("persons", "code", "text", "LOINC code of what was measured"),
    ("persons", "age", "text", "years at the time of the export: 0-5, 6-11, 12-17; empty: adult, or not known"),
    ("persons", "weeks", "integer", "how many weeks of this person there are"),
    ("values", "person", "text", "the person"),
    ("values", "week", "date", "Monday of the week, moved by a number of weeks that nobody knows; gaps are closed"),
    ("values", "weekday", "integer", "1 Monday to 7 Sunday; empty for single measurements"),
    ("values", "time", "text", "local time of day: the half hour of continuous data, the hour of single measurements"),
    ("values", "item", "integer", "order within the week; values of one measurement share it"),
    ("values", "code", "text", "LOINC code of the value"),
    ("values", "unit", "text", "UCUM unit"),
    (
        "values",
        "value",
        "number",
        "rounded to two significant digits; an outlier is replaced by the bound that enough people reach",
    ),
)


@dataclass(frozen=True)
class Part:
    """What one kind and code contributes: people in the order of their new ids, with ages and weeks.

    `unit` is that of continuous data; single measurements have units of their own.
    """

    kind: str
    code: str
    unit: str
    ages: Mapping[str, str]
    weeks: Mapping[str, Sequence[Continuous | Singles]]
    starts: Mapping[str, int] = field(repr=False)

    def persons(self) -> Iterator[PersonRow]:
        """One row per person."""
        for person, weeks in self.weeks.items():
            yield PersonRow(person, self.kind, self.code, self.ages[person], len(weeks))

    def values(self) -> Iterator[ValueRow]:
        """One row per value, person by person, in order."""
        for person, weeks in self.weeks.items():
            for number, week in enumerate(weeks, self.starts[person]):
                if isinstance(week, Continuous):
                    yield from self._continuous(person, monday(number), week)
                else:
                    yield from self._singles(person, monday(number), week)

    def _continuous(self, person: str, first: date, week: Continuous) -> Iterator[ValueRow]:
        for slot, number in enumerate(week.numbers):
            day, half_hour = divmod(slot, 48)
            time = f"{half_hour // 2:02}:{half_hour % 2 * 30:02}"
            yield ValueRow(person, first, day + 1, time, slot + 1, self.code, self.unit, number)

    def _singles(self, person: str, first: date, week: Singles) -> Iterator[ValueRow]:
        for item, (hour, values) in enumerate(week.items, 1):
            for code, unit, number in values:
                yield ValueRow(person, first, None, f"{hour:02}:00", item, code, unit, number)


def part(
    kind: str,
    code: str,
    unit: str,
    people: Mapping[Person, Sequence[Continuous | Singles]],
    ages: Mapping[Person, str],
    new_id: Callable[[], str],
    draw: SystemRandom,
) -> Part:
    """People under new ids, ordered by them, each beginning in a random week that is then forgotten."""
    span = draw.randrange(*RANGE)
    named = sorted(((new_id(), one) for one in people), key=lambda pair: pair[0])
    return Part(
        kind=kind,
        code=code,
        unit=unit,
        ages={name: ages[one] for name, one in named},
        weeks={name: people[one] for name, one in named},
        starts={name: ERA + draw.randrange(span) for name, _ in named},
    )


def age(born: date | None, today: date) -> str:
    """The age group of a person born on this day, if known."""
    if born is None:
        return UNKNOWN
    years = today.year - born.year - ((today.month, today.day) < (born.month, born.day))
    return [name for least, name in AGES if years >= least][-1]
