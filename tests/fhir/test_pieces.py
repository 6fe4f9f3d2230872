"""Law: joining bytes gives the same as rendering the objects, in both formats, for every resource."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from unittest import mock
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddr.fhir import chunk_template, pieces
from ddr.fhir.bundle import INCLUDE, MATCH, OUTCOME, search_bundle
from ddr.fhir.chunk_template import ChunkWriter
from ddr.fhir.negotiation import Format
from ddr.fhir.observation_chunk import chunk_resource
from ddr.fhir.pieces import document, entry_pieces, piece, search_document
from ddr.fhir.representation import parse, render
from ddr.series.status import NAMES
from ddr.series.view import ChunkView
from tests.fhir.resources import TEXT, resources
from tests.fhir.rows import IDS, code, sensor_row

FORMATS = st.sampled_from(Format)
LIMITS = (
    st.none() | st.integers(0, 999) | st.decimals(0, 999, places=2) | st.sampled_from([Decimal(40), Decimal("40.0")])
)
METHODS = st.none() | st.builds(lambda text: {"text": text}, TEXT)
ROWS = st.builds(
    lambda **columns: sensor_row(**columns),
    epoch_no=st.integers(1, 3),
    device_no=st.integers(1, 3),
    k=st.integers(0, 5000),
    unit=st.sampled_from(["mg/dL", "mmol/L", "µg & <x>", "%s %d %"]),
    period_ms=st.sampled_from([60_000, 300_000]),
    lower_limit=LIMITS,
    upper_limit=LIMITS,
    calibrated_device=st.booleans(),
    note=st.none() | TEXT | st.sampled_from(["", "%", "-id-"]),
    method=METHODS,
)
INSTANTS = st.integers(0, 4_000_000_000_000)
VIEWS = st.builds(
    ChunkView,
    INSTANTS,
    INSTANTS,
    st.sampled_from(list(NAMES.values())),
    st.integers(1, 10**6),
    INSTANTS,
    st.none()
    | st.just("")
    | st.lists(st.sampled_from(["E", "L", "U", "123", "5.6"]), min_size=1, max_size=9).map(" ".join),
)
CODES = st.sampled_from(["99504-3", "105272-9"]).map(code)


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(ROWS, VIEWS, CODES), min_size=1, max_size=3), FORMATS)
def test_chunks_from_the_template_are_those_of_the_objects(chunks: list[Any], fmt: Format) -> None:
    for row, view, own in chunks:
        # a writer of its own: within one answer the chunks of an epoch have the same sensor
        written = ChunkWriter(IDS, fmt).piece(row, view, own, IDS.chunk(row["epoch_no"], row["k"]))
        assert document("Observation", written, fmt) == render(chunk_resource(row, view, IDS, own), fmt)


@settings(max_examples=100, deadline=None)
@given(ROWS, st.lists(VIEWS, min_size=1, max_size=6), CODES, FORMATS)
def test_the_chunks_of_one_answer_share_templates(row: Any, views: list[ChunkView], own: Any, fmt: Format) -> None:
    writer = ChunkWriter(IDS, fmt)
    for k, view in enumerate(views):
        own_row = {**row, "k": k}
        written = document("Observation", writer.piece(own_row, view, own, IDS.chunk(row["epoch_no"], k)), fmt)
        assert written == render(chunk_resource(own_row, view, IDS, own), fmt)


@settings(max_examples=300, deadline=None)
@given(resources(), FORMATS)
def test_a_piece_is_the_document_without_its_head(resource: dict[str, Any], fmt: Format) -> None:
    assert document(resource["resourceType"], piece(resource, fmt), fmt) == render(resource, fmt)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([MATCH, INCLUDE, OUTCOME]), resources()), max_size=4),
    st.dictionaries(st.sampled_from(["self", "next"]), TEXT, min_size=1),
    st.none() | st.integers(0, 10**6),
    st.none() | st.just("2026-11-22T10:00:00.000Z"),
)
def test_a_searchset_of_pieces_is_that_of_the_objects(
    entries: list[tuple[str, dict[str, Any]]], links: dict[str, str], total: int | None, updated: str | None
) -> None:
    base = "https://recorder.example/fhir?x=ü&y"
    held = [(mode, {**resource, "id": f"r{at}"}) for at, (mode, resource) in enumerate(entries)]
    fixed = UUID(int=7)
    with mock.patch.object(pieces, "uuid4", lambda: fixed), mock.patch("ddr.fhir.bundle.uuid4", lambda: fixed):
        whole = search_bundle(base, held, links, total, updated)
        for fmt in Format:
            entry = entry_pieces(base, fmt)
            joined = [entry(mode, one["resourceType"], one["id"], piece(one, fmt)) for mode, one in held]
            assert search_document(joined, links, total, updated, fmt) == render(whole, fmt)
    read = [parse(render(whole, fmt), fmt) for fmt in Format]
    assert read[0] == read[1]


def test_what_is_remembered_tells_nobodys_texts() -> None:
    view = ChunkView(0, 1000, "final", 1, 0, "123")
    chunk_template._remembered.cache_clear()
    for note, method in (("Warm-up of Erika", None), (None, {"text": "Erika's"})):
        ChunkWriter(IDS, Format.JSON).piece(sensor_row(note=note, method=method), view, code("99504-3"), "x")
    assert chunk_template._remembered.cache_info().currsize == 0
    ChunkWriter(IDS, Format.JSON).piece(sensor_row(), view, code("99504-3"), "x")
    assert chunk_template._remembered.cache_info().currsize == 1


def test_equal_numbers_with_other_digits_keep_them() -> None:
    view = ChunkView(0, 1000, "final", 1, 0, "123")
    for limit in ("40", "40.0", "40.00"):
        row = sensor_row(lower_limit=Decimal(limit))
        written = ChunkWriter(IDS, Format.JSON).piece(row, view, code("99504-3"), "x")
        assert f'"lowerLimit":{limit},'.encode() in written


@pytest.mark.parametrize("fmt", Format)
def test_a_mark_in_a_note_is_a_note(fmt: Format) -> None:
    row = sensor_row(note="-id- 100 % {} %s")
    written = ChunkWriter(IDS, fmt).piece(row, ChunkView(0, 1000, "final", 1, 0, "1"), code("99504-3"), "x")
    assert b"-id- 100 % {} %s" in written
