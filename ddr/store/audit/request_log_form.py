"""The form of a row of the request log until it is sealed about a minute later: deflated. Pure.

The database also writes each row into its own log, where it stays. A record of some 450 bytes becomes 150, because a
dictionary has what all records have in common. The first byte tells the form; a row of a former version is its plain
lines, and begins with `{`.
"""

from __future__ import annotations

import zlib

_DEFLATED = b"\x01"
# RFC 1951, without a header. The window holds the dictionary and two records.
_LEVEL, _WINDOW = 1, -11

# A change here needs another first byte for what is stored from then on. The most frequent parts come last.
_COMMON = (
    b'"error_code":"login","error_description":"HEAD PUT 304 Not Modified 400 Bad Request 401 Unauthorized'
    b' 403 Forbidden 404 Not Found 429 Too Many Requests 503 Service Unavailable","event_type":"Heartbeat",'
    b'"interface_id":null,"event_type":"Connection","/fhir/Device/{id}/fhir/DeviceMetric/{id}/fhir/Observation/{id}'
    b"/fhir/Observation/_search"
    b'{"client_id":"urn:diga:bfarm:00101","data_volume_bytes":2501,"error_code":null,"error_description":null,'
    b'"event_type":"Authorization","interface_id":"ddr","message":"POST /oauth/token: 200 OK","pairing_id":"",'
    b'"partner_id":"/oauth/token","response_time_ms":12,"status":200,"timestamp":"2026-12-01T01:23:45.678+00:00",'
    b'"transaction_id":""}{"client_id":"urn:diga:bfarm:00","data_volume_bytes":4300,"error_code":null,'
    b'"error_description":null,"event_type":"Transfer","interface_id":"ddr","message":"GET /fhir/Observation: 200 OK",'
    b'"pairing_id":"","partner_id":"/fhir/Observation","response_time_ms":9,"status":200,'
    b'"timestamp":"2026-12-01T01:23:45.678+00:00","transaction_id":""}'
)


def deflated(records: bytes) -> bytes:
    """The stored form of these lines."""
    made = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, zdict=_COMMON)
    return b"".join((_DEFLATED, made.compress(records), made.flush()))


def inflated(stored: bytes) -> bytes:
    """The lines of a stored row. Raises zlib.error when it cannot be read."""
    if not stored.startswith(_DEFLATED):
        return stored
    made = zlib.decompressobj(_WINDOW, zdict=_COMMON)
    found = made.decompress(stored[1:]) + made.flush()
    if not made.eof or made.unused_data:
        raise zlib.error("is not whole")
    return found
