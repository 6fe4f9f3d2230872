"""Rows of the request log that cannot be read when they are to be sealed: a disk failed, or somebody changed them.

They are sealed as they are, within a record that says so: the evidence stays, and sealing continues. Pure.
"""

from __future__ import annotations

from base64 import b64encode

import orjson

from ddr.http.request_log.record import Call, Operator, at_ms_of, line
from ddr.store.audit.request_log import Batch

CODE = "record-damaged"
_MARK = b'"error_code":"%s"' % CODE.encode()  # within a JSON string the quotes are escaped
_NOBODY = Operator("", "")
# What exports need of a record. All else may differ in the next version, whose rows this one may have to seal.
_ASKED = frozenset({"client_id", "pairing_id", "partner_id", "status", "transaction_id"})


def lines_of(batch: Batch, now_ms: int) -> list[bytes]:
    """The lines of a batch, at least one; lines that are not records are replaced by records that contain them."""
    found = [batch.records] if batch.damaged else batch.records.splitlines() or [b""]
    return [text if not batch.damaged and _is_record(text) else _holding(text, batch, now_ms) for text in found]


def is_damaged(text: bytes) -> bool:
    """True for a record that contains an unreadable line."""
    return _MARK in text


def _is_record(text: bytes) -> bool:
    """Whether a line has everything that exports need of a record."""
    try:
        record = orjson.loads(text)
        at_ms_of(record)
        return record.keys() >= _ASKED and isinstance(record["partner_id"], str)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return False


def _holding(text: bytes, batch: Batch, now_ms: int) -> bytes:
    call = Call(
        transaction_id=f"{batch.run}-{batch.batch_no}",
        at_ms=now_ms,
        event_type="Connection",
        endpoint="",
        message="damaged record",
        status=None,
        response_time_ms=0,
        data_volume_bytes=len(text),
        error_code=CODE,
    )
    record = orjson.loads(line(call, _NOBODY))
    return orjson.dumps({**record, "stored": b64encode(text).decode()}, option=orjson.OPT_SORT_KEYS)
