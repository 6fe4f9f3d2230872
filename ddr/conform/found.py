"""The result of a search: its entries by mode, over all of its pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from ddr.conform.exchange import Exchange, Json


@dataclass
class Found:
    """The result of a search over all pages: matches in order, included resources, and the response that contained
    each.

    `most` is the number of resources that the recorder returns at once, if it limits them without pages; else 0.
    """

    matches: list[Json] = field(default_factory=list)
    included: dict[str, Json] = field(default_factory=dict)
    outcomes: list[Json] = field(default_factory=list)
    pages: list[Exchange] = field(default_factory=list)
    origin: dict[str, Exchange] = field(default_factory=dict)
    most: int = 0

    def take(self, answer: Exchange) -> None:
        """Add the entries of one page."""
        self.pages.append(answer)
        self._take(answer)

    def add(self, answer: Exchange) -> list[Json]:
        """Add the entries of another search: the matches that are not there yet."""
        known, before = {key_of(one) for one in self.matches}, len(self.matches)
        self._take(answer)
        new = [one for one in self.matches[before:] if key_of(one) not in known]
        self.matches[before:] = new
        return new

    def _take(self, answer: Exchange) -> None:
        for entry in answer.json.get("entry") or ():
            resource, kind = entry.get("resource") or {}, mode(entry)
            key = key_of(resource)
            self.origin.setdefault(key, answer)
            if kind == "include":
                self.included[key] = resource
            elif kind == "outcome":
                self.outcomes.append(resource)
            else:
                self.matches.append(resource)


def mode(entry: Json) -> str:
    """Why an entry is in a searchset: match, include or outcome. FHIR leaves it to the server to say `match`."""
    if (entry.get("resource") or {}).get("resourceType") == "OperationOutcome":
        return "outcome"
    return str((entry.get("search") or {}).get("mode", "match"))


def matches(answer: Exchange) -> list[Json]:
    """The matches on one page of a search."""
    return [entry["resource"] for entry in answer.json.get("entry") or () if mode(entry) == "match"]


def key_of(resource: Json) -> str:
    """`<Type>/<id>`."""
    return f"{resource.get('resourceType')}/{resource.get('id')}"
