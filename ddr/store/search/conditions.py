"""Columns that search parameters read: filters, _has and _sort as SQL over a row `o` (ddr.store.search.sources)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any

from ddr.fhir.device_types import DEVICE_TYPES
from ddr.fhir.search.query import Filter, Has, QuantityValue, ReferenceValue, Sort, StringValue, TokenValue
from ddr.store.database.ids import IdCipher, Kind
from ddr.store.search.comparisons import NEVER, Parameters, date, quantity, string, token

TABLES = {"Observation": "seen", "DeviceMetric": "metrics", "Device": "devices"}

OBSERVATION_STATUS = "'http://hl7.org/fhir/observation-status'"
DEVICE_STATUS = "'http://hl7.org/fhir/device-status'"
SNOMED = "'http://snomed.info/sct'"
_NUMBER = ("o.kind", "o.no", "o.k")

Units = Mapping[str, Mapping[str, Decimal]]  # unit searched for → unit kept → factor from kept to searched


@dataclass(frozen=True)
class Names:
    """How names used outside relate to rows: ids; the DeviceMetric.type of sensors without one of their own; codes of
    values, whose case does not count (search.html#token); units, and in `stated` their human-readable names."""

    ids: IdCipher
    metric_types: Mapping[str, Mapping[str, Any]]  # code system → code of the values → CodeableConcept
    codes: Mapping[str, str] = field(default_factory=dict)  # code as stored, and in lower case → code as stored
    units: Units = field(default_factory=dict)
    stated: Units = field(default_factory=dict)

    def spelled(self, value: TokenValue) -> TokenValue:
        """The token with its code as it is stored."""
        if value.code is None:
            return value
        return replace(value, code=self.codes.get(value.code) or self.codes.get(value.code.lower(), value.code))

    def kept(self, unit: str, stated: bool) -> Mapping[str, Decimal]:
        """The units in which matching values may be kept, with the factor from each to the unit searched for."""
        called = self.stated.get(unit, {}) if stated else {}
        return {unit: Decimal(1), **self.units.get(unit, {}), **called}


@dataclass(frozen=True)
class Conditions:
    """Writes conditions and sort keys into one statement, collecting its parameters."""

    names: Names
    parameters: Parameters

    def all_of(self, resource_type: str, filters: Sequence[Filter], has: Sequence[Has] = ()) -> str:
        """SQL: the condition that all these filters hold."""
        parts = [self._any(resource_type, item) for item in filters] + [self._has(resource_type, item) for item in has]
        return " AND ".join(parts) or "true"

    def order(self, resource_type: str, sort: Sequence[Sort]) -> str:
        """The ORDER BY list: rows without a value come last, and the row's number decides ties."""
        return ", ".join([*self.keys(resource_type, sort), *_NUMBER])

    def keys(self, resource_type: str, sort: Sequence[Sort]) -> list[str]:
        """Its parts for these keys, of which none is `_id`: an id is known only outside the database.

        Texts are ordered by code points, because the locales of databases differ between installations.
        """
        return [
            f"{self._column(resource_type, key.name)}{' DESC' if key.descending else ''} NULLS LAST" for key in sort
        ]

    def metric_coding(self) -> str:
        """The coding of DeviceMetric.type as jsonb."""
        types = self.parameters.bind(self.names.metric_types, "jsonb")
        return f"(coalesce(o.type, {types} -> o.code_system -> o.code) #> '{{coding,0}}')"

    def _any(self, resource_type: str, item: Filter) -> str:
        write = _WRITERS[resource_type, item.name]
        return "(" + " OR ".join(f"({write(self, value)})" for value in item.values) + ")"

    def _has(self, resource_type: str, item: Has) -> str:
        if not item.granted:
            return NEVER
        pointer = POINTERS[item.source, item.reference, resource_type]
        inner = self.all_of(item.source, [item.filter])
        return f"(o.kind, o.no) IN (SELECT {pointer} FROM {TABLES[item.source]} o WHERE {inner})"

    def _column(self, resource_type: str, name: str) -> str:
        """SQL: the column to sort by for a sort key."""
        match resource_type, name:
            case _, "_lastUpdated":
                return "o.updated_ms"
            case "DeviceMetric", "type":
                return f"({self.metric_coding()} ->> 'code'){_BYTEWISE}"
            case _:
                return _SORT_KEYS[resource_type, name]


# --- references ------------------------------------------------------------------------------------------------------

_DIRECT_DEVICE = "CASE WHEN o.metric_no IS NULL THEN o.device_no END"

# What a row of the first type points to by the reference, as kind and number of the third type.
POINTERS = {
    ("Observation", "device", "Device"): f"{Kind.DEVICE:d}, {_DIRECT_DEVICE}",
    ("Observation", "device", "DeviceMetric"): f"{Kind.METRIC:d}, o.metric_no",
    ("Observation", "derived-from", "Observation"): f"{Kind.MEASUREMENT:d}, unnest(o.derived_from)",
    ("DeviceMetric", "source", "Device"): f"{Kind.DEVICE:d}, o.device_no",
}


def _identity(conditions: Conditions, value: TokenValue) -> str:
    decoded = conditions.names.ids.decode(value.code or "")
    if decoded is None or value.system:
        return NEVER
    kind, no, k = decoded
    bind = conditions.parameters.bind
    return f"o.kind = {kind:d} AND o.no = {bind(no, 'bigint')} AND o.k = {bind(k, 'bigint')}"


def _reference(conditions: Conditions, value: ReferenceValue, columns: Mapping[Kind, tuple[str, str]]) -> str:
    """Compares the reference with the column that holds numbers of the kind that the id names."""
    decoded = conditions.names.ids.decode(value.id)
    if decoded is None or decoded[0] not in columns:
        return NEVER
    resource_type, column = columns[decoded[0]]
    if value.type not in (None, resource_type):
        return NEVER
    return f"{conditions.parameters.bind(decoded[1], 'bigint')} = {column}"


_DEVICE = {Kind.METRIC: ("DeviceMetric", "o.metric_no"), Kind.DEVICE: ("Device", _DIRECT_DEVICE)}
_SOURCE = {Kind.DEVICE: ("Device", "o.device_no")}
_DERIVED = {Kind.MEASUREMENT: ("Observation", "ANY(o.derived_from)")}

# --- quantities ------------------------------------------------------------------------------------------------------


def _quantity(conditions: Conditions, number: str, unit: str, comparator: str, value: QuantityValue) -> str:
    """The quantity in these columns, in whatever unit it is kept: one MIV may use mg/dL and another one mg/L."""
    parameters = conditions.parameters
    if not value.unit:
        return quantity(parameters, number, unit, comparator, value)
    return " OR ".join(
        f"({quantity(parameters, _times(number, factor), unit, comparator, replace(value, unit=kept))})"
        for kept, factor in conditions.names.kept(value.unit, value.stated).items()
    )


def _times(number: str, factor: Decimal) -> str:
    return number if factor == 1 else f"({number} * {factor:f})"


# --- components of a measurement, which are only in its document -----------------------------------------------------


def _component(conditions: Conditions, code: TokenValue | None, value: QuantityValue | None) -> str:
    """Whether some component has the code and the value, as far as they are given (BP-017)."""
    parts = []
    if code is not None:
        coding = token(conditions.parameters, "coding ->> 'system'", "coding ->> 'code'", code)
        parts.append(f"EXISTS (SELECT FROM jsonb_array_elements(c #> '{{code,coding}}') AS coding WHERE {coding})")
    if value is not None:
        parts.append(f"({_quantity(conditions, 'q.number', 'q.unit', 'q.comparator', value)})")
    return f"""EXISTS (
        SELECT FROM jsonb_array_elements(convert_from(o.content, 'UTF8')::jsonb -> 'component') AS c,
             LATERAL (SELECT (c #>> '{{valueQuantity,value}}')::numeric AS number,
                             c #>> '{{valueQuantity,code}}' AS unit,
                             c #>> '{{valueQuantity,comparator}}' AS comparator) AS q
         WHERE {" AND ".join(parts)})"""


def _metric_type(conditions: Conditions, value: TokenValue) -> str:
    coding = conditions.metric_coding()
    return token(conditions.parameters, f"{coding} ->> 'system'", f"{coding} ->> 'code'", value)


_KINDS = ", ".join(f"('{code}', '{display}')" for code, display in DEVICE_TYPES.items())


def _device_name(conditions: Conditions, value: StringValue) -> str:
    """Everything that R4 defines for the parameter: the names of the device and the display text of its type."""
    name, kind = (string(conditions.parameters, column, value) for column in ("o.device_name", "display"))
    return f"{name} OR EXISTS (SELECT FROM (VALUES {_KINDS}) AS t(code, display) WHERE code = o.type_code AND {kind})"


_Writer = Callable[[Conditions, Any], str]

_WRITERS: dict[tuple[str, str], _Writer] = {
    **{
        (resource_type, "_lastUpdated"): lambda c, v: date(c.parameters, "o.updated_ms", "o.updated_ms", v)
        for resource_type in TABLES
    },
    **{(resource_type, "_id"): _identity for resource_type in TABLES},
    ("Observation", "code"): lambda c, v: token(c.parameters, "o.code_system", "o.code", c.names.spelled(v)),
    ("Observation", "date"): lambda c, v: date(c.parameters, "o.start_ms", "o.end_ms", v),
    ("Observation", "status"): lambda c, v: token(c.parameters, OBSERVATION_STATUS, "o.status", v),
    ("Observation", "value-quantity"): lambda c, v: _quantity(c, "o.value", "o.unit", "o.comparator", v),
    ("Observation", "component-code"): lambda c, v: _component(c, v, None),
    ("Observation", "component-value-quantity"): lambda c, v: _component(c, None, v),
    ("Observation", "component-code-value-quantity"): lambda c, v: _component(c, v.token, v.quantity),
    ("Observation", "device"): lambda c, v: _reference(c, v, _DEVICE),
    ("Observation", "derived-from"): lambda c, v: _reference(c, v, _DERIVED),
    ("Device", "device-name"): _device_name,
    ("Device", "manufacturer"): lambda c, v: string(c.parameters, "o.manufacturer", v),
    ("Device", "type"): lambda c, v: token(c.parameters, SNOMED, "o.type_code", v),
    ("Device", "status"): lambda c, v: token(c.parameters, DEVICE_STATUS, "o.status", v),
    ("DeviceMetric", "source"): lambda c, v: _reference(c, v, _SOURCE),
    ("DeviceMetric", "type"): _metric_type,
}

_BYTEWISE = ' COLLATE "C"'
_SORT_KEYS = {
    ("Observation", "date"): "o.start_ms",
    ("Observation", "code"): "o.code" + _BYTEWISE,
    ("Observation", "status"): "o.status" + _BYTEWISE,
    ("Observation", "value-quantity"): "o.value",
    ("Device", "device-name"): "folded(o.device_name)" + _BYTEWISE,
    ("Device", "manufacturer"): "folded(o.manufacturer)" + _BYTEWISE,
    ("Device", "type"): "o.type_code" + _BYTEWISE,
}
