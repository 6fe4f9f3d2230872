"""Input parameters of operations, from a Parameters resource or a query (FHIR R4 operations.html, parameters.html).

The errors are those of the HDDT operation (measurement-cgm.md); each of its parameters occurs at most once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ddr.fhir.instants import parse_date_time
from ddr.fhir.outcome import malformed, operation_parameter_invalid, operation_parameter_unknown

# FHIR type of a parameter → the elements of a Parameters resource that may contain it. The specification calls its
# dateTime parameters "date" in one place, and an instant is one form of a dateTime.
_ELEMENTS = {"dateTime": ("valueDateTime", "valueDate", "valueInstant"), "boolean": ("valueBoolean",)}
_WRONG = {"dateTime": "Invalid date format in {}.", "boolean": "Invalid boolean value in {}."}
_BOOLEANS = {"true": True, "false": False}

Declared = Mapping[str, str]
Inputs = dict[str, Any]


def resource_inputs(resource: Mapping[str, Any], declared: Declared) -> Inputs:
    """The inputs in a Parameters resource: str for dateTime, bool for boolean. `declared` maps names to FHIR types.

    Raises FhirError 400: MSG_BAD_SYNTAX, MSG_PARAM_UNKNOWN or MSG_PARAM_INVALID.
    """
    if resource["resourceType"] != "Parameters":
        raise malformed("The body must be a Parameters resource")
    given = resource.get("parameter", [])
    if not isinstance(given, list):
        raise malformed("Parameters.parameter must be a list")
    return _collect(map(_named, given), declared, _typed)


def query_inputs(pairs: Iterable[tuple[str, str]], declared: Declared) -> Inputs:
    """The inputs in a query, as `resource_inputs`."""
    return _collect(pairs, declared, _written)


def _named(parameter: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(parameter, dict) or not isinstance(name := parameter.get("name"), str) or not name:
        raise malformed("Every parameter needs a name")
    return name, parameter


def _collect(pairs: Iterable[tuple[str, Any]], declared: Declared, read: Callable[[str, Any], Any]) -> Inputs:
    found: Inputs = {}
    for name, given in pairs:
        if name not in declared:
            raise operation_parameter_unknown(name)
        if name in found:
            raise operation_parameter_invalid(f"Parameter {name} is given more than once.")
        kind = declared[name]
        value = read(kind, given)
        if value is None or (kind == "dateTime" and not _is_date_time(value)):
            raise operation_parameter_invalid(_WRONG[kind].format(name))
        found[name] = value
    return found


def _typed(kind: str, parameter: Mapping[str, Any]) -> Any:
    """The value of the only element that a parameter has besides its name; None when it is of another type.

    Extensions, also those of a primitive (`_valueBoolean`), are no reason to refuse (FHIR R4 extensibility.html);
    modifier extensions are.
    """
    content = {name for name in parameter if name not in ("name", "id", "extension") and not name.startswith("_")}
    if not content:
        raise malformed("Every parameter needs a value")
    if len(content) > 1 or (element := min(content)) not in _ELEMENTS[kind]:
        return None
    value = parameter[element]
    return value if isinstance(value, bool if kind == "boolean" else str) else None


def _written(kind: str, text: str) -> Any:
    # "+" arrives as a blank from clients that do not escape it in the query
    return _BOOLEANS.get(text) if kind == "boolean" else text.replace(" ", "+")


def _is_date_time(text: str) -> bool:
    try:
        parse_date_time(text)
    except ValueError:
        return False
    return True
