"""Chunks as bytes from a template: what the chunks of a series have in common is rendered once.

A template is the output of `chunk_resource` for a row with marks where chunks differ, cut at these marks. So there is
only one description of the resource, and bytes and objects cannot differ.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

from ddr.fhir.instants import date_time, instant
from ddr.fhir.negotiation import Format
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.pieces import piece
from ddr.fhir.references import ResourceIds
from ddr.miv.model import MivCode
from ddr.series.status import NAMES, WITHDRAWN
from ddr.series.view import ChunkView

# What differs between chunks, in the order of ChunkTemplate.fill. None of it needs escaping, in JSON or XML.
FIELDS = ("id", "version", "updated", "status", "start", "end", "data", "reference")
_MARK = secrets.token_hex(16)  # random, so no note contains it
_MARKS = re.compile(f"{_MARK}-([a-z]+)-".encode())


class Shape(NamedTuple):
    """What the bytes of a chunk depend on besides FIELDS; nothing in it tells whose values they are."""

    code: MivCode
    unit: str
    period_ms: int
    lower_limit: str | None  # as text: 40 and 40.0 are equal numbers with different digits
    upper_limit: str | None
    has_data: bool
    withdrawn: bool
    of_metric: bool  # refers to a DeviceMetric; otherwise to a Device


class ChunkTemplate:
    """The bytes of the chunks of one shape in one format."""

    def __init__(self, shape: Shape, fmt: Format, note: str | None = None, method: Any = None) -> None:
        row = {
            "epoch_no": 0,
            "k": 0,
            "device_no": 0,
            "calibrated_device": shape.of_metric,
            "unit": shape.unit,
            "period_ms": shape.period_ms,
            "lower_limit": shape.lower_limit and Decimal(shape.lower_limit),
            "upper_limit": shape.upper_limit and Decimal(shape.upper_limit),
            "note": note,
            "method": method,
        }
        status = NAMES[WITHDRAWN] if shape.withdrawn else _mark("status")
        view = ChunkView(0, 0, status, 0, 0, _mark("data") if shape.has_data else None)
        resource = chunk_resource(row, view, _MARKED_IDS, shape.code)
        resource["meta"] |= {"versionId": _mark("version"), "lastUpdated": _mark("updated")}
        resource["effectivePeriod"] = {"start": _mark("start"), "end": _mark("end")}
        self._parts = _MARKS.split(piece(resource, fmt))
        self._ordered = itemgetter(*(FIELDS.index(name.decode()) for name in self._parts[1::2]))

    def fill(self, *values: bytes) -> bytes:
        """The piece of a chunk with these values of FIELDS."""
        parts = self._parts.copy()
        parts[1::2] = self._ordered(values)
        return b"".join(parts)


class _MarkedIds:
    def device(self, device_no: int) -> str:
        return _mark("reference")

    metric = device

    def chunk(self, epoch_no: int, k: int) -> str:
        return _mark("id")

    measurement = device  # required by ResourceIds; a chunk does not use it


def _mark(name: str) -> str:
    return f"{_MARK}-{name}-"


_MARKED_IDS = _MarkedIds()
_remembered = lru_cache(maxsize=512)(ChunkTemplate)


class ChunkWriter:
    """Writes the chunks of one answer. Templates are remembered, except those with texts that a gateway sent."""

    def __init__(self, ids: ResourceIds, fmt: Format) -> None:
        self._ids, self._fmt = ids, fmt
        self._templates: dict[tuple[int, bool, bool], tuple[ChunkTemplate, bytes]] = {}  # by epoch, with its reference

    def piece(self, row: Mapping[str, Any], view: ChunkView, code: MivCode, logical_id: str) -> bytes:
        """The output of `chunk_resource` for the same arguments, as a piece with the given id. Raises XmlError."""
        key = row["epoch_no"], bool(view.data), view.status == NAMES[WITHDRAWN]
        if (found := self._templates.get(key)) is None:
            found = self._templates[key] = self._template(row, code, *key[1:])
        template, reference = found
        return template.fill(
            logical_id.encode(),
            b"%d" % view.version,
            instant(view.updated_ms).encode(),
            view.status.encode(),
            date_time(view.start_ms).encode(),
            date_time(view.end_ms).encode(),
            (view.data or "").encode(),
            reference,
        )

    def _template(
        self, row: Mapping[str, Any], code: MivCode, has_data: bool, withdrawn: bool
    ) -> tuple[ChunkTemplate, bytes]:
        lower, upper = row["lower_limit"], row["upper_limit"]
        of_metric = bool(row["calibrated_device"])
        shape = Shape(
            code,
            row["unit"],
            row["period_ms"],
            None if lower is None else str(lower),
            None if upper is None else str(upper),
            has_data,
            withdrawn,
            of_metric,
        )
        reference = self._ids.metric(row["epoch_no"]) if of_metric else self._ids.device(row["device_no"])
        told = row["note"], row["method"]
        template = ChunkTemplate(shape, self._fmt, *told) if any(told) else _remembered(shape, self._fmt)
        return template, reference.encode()
