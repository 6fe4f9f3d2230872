"""All ways to a patient's data: what a token opens, and what stays closed without one."""

from __future__ import annotations

from dataclasses import dataclass

from ddr.conform.exchange import Exchange
from ddr.conform.found import key_of
from ddr.conform.target import Identity
from ddr.conform.view import View

TYPES = ("Observation", "Device", "DeviceMetric")
FHIR = "application/fhir+json"


@dataclass(frozen=True)
class Door:
    """A way to data, below the FHIR base."""

    method: str
    path: str
    media_type: str = ""
    content: str = ""

    def send(self, view: View, authorization: str | None, identity: Identity | None = None) -> Exchange:
        """The response to this header, over the connection of the view's DiGA or of another one."""
        headers = {"accept": FHIR}
        if authorization is not None:
            headers["authorization"] = authorization
        if self.media_type:
            headers["content-type"] = self.media_type
        who = identity or view.identity
        return view.kit.wire.send(self.method, view.url(self.path), who, headers, content=self.content)

    @property
    def told(self) -> str:
        """Its description in a verdict."""
        return f"{self.method} {self.path}"


def doors(view: View) -> list[Door]:
    """All available ways to data: searches by GET and POST, reads of what was found, versions, the summary."""
    view.listed("Device")  # the others as read before: their search may count for the Grace-Period
    found = []
    for kind in TYPES:
        found += [Door("GET", kind), Door("POST", f"{kind}/_search", "application/x-www-form-urlencoded", "_count=1")]
        for one in view.seen(kind)[:1]:
            version = (one.get("meta") or {}).get("versionId")
            found += [
                Door("GET", key_of(one)),
                *([Door("GET", f"{key_of(one)}/_history/{version}")] if version else ()),
            ]
    if view.sees("continuous-glucose-measurement"):
        found.append(Door("POST", "Observation/$hddt-cgm-summary", FHIR, '{"resourceType": "Parameters"}'))
    return found
