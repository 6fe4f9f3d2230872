"""What is stored of the request log and cannot be read when it is to be sealed: a disk failed, or somebody changed it.

It comes under the seal as it is, within a record that says so: evidence stays, and nothing else has to wait. Pure.
"""

from __future__ import annotations

from base64 import b64encode

import orjson

from ddr.http.request_log.record import Call, Operator, at_ms_of, line
from ddr.store.audit.request_log import Batch

CODE = "record-damaged"
_MARK = b'"error_code":"%s"' % CODE.encode()  # within a text of JSON the quotes are escaped
_NOBODY = Operator("", "")
# What exports ask of a record. The rest may be otherwise in the next version, whose rows this one may have to seal.
_ASKED = frozenset({"client_id", "pairing_id", "partner_id", "status", "transaction_id"})


def lines_of(batch: Batch, now_ms: int) -> list[bytes]:
    """The lines of a batch, one at least; in place of those that are no records, records that hold them."""
    found = [batch.records] if batch.damaged else batch.records.splitlines() or [b""]
    return [text if not batch.damaged and _is_record(text) else _holding(text, batch, now_ms) for text in found]


def is_damaged(text: bytes) -> bool:
    """True for a line that holds one that could not be read."""
    return _MARK in text


def _is_record(text: bytes) -> bool:
    """Whether everything that is asked of a record can be told of this line."""
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
