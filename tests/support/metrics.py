"""The content of `/metrics`, as Prometheus would read it."""

from __future__ import annotations

import httpx
from prometheus_client.parser import text_string_to_metric_families


class Scrape:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def sum(self, name: str, **labels: str) -> float:
        """The sum of the samples of this name that have these labels."""
        return sum(
            sample.value for sample in self.samples if sample.name == name and labels.items() <= sample.labels.items()
        )

    def names(self) -> set[str]:
        return {sample.name for sample in self.samples}


async def scraped(admin: httpx.AsyncClient) -> Scrape:
    """A scrape of the admin listener."""
    answer = await admin.get("/metrics")
    assert answer.status_code == 200
    return Scrape(answer.text)


def grown(before: Scrape, after: Scrape, name: str, **labels: str) -> float:
    """The increase of a counter between two scrapes."""
    return after.sum(name, **labels) - before.sum(name, **labels)
