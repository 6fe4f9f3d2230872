"""The FHIR operations of the description, from the tables that searches use (ddr.fhir.search.grammar)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ddr.fhir.negotiation import FORM
from ddr.fhir.search.grammar import PARAMETERS, Parameter, references, revincludes

Json = dict[str, Any]
FHIR_JSON, FHIR_XML = "application/fhir+json", "application/fhir+xml"
SECURITY: list[dict[str, list[str]]] = [{"certificate": [], "tokens": []}]
SHARED = ("_summary", "_elements", "_format", "_pretty")  # described once for all types

# A valid example of each parameter; by type where the name has no entry.
EXAMPLES: Mapping[str, str] = {
    "code": "http://loinc.org|99504-3",
    "component-code": "http://loinc.org|8480-6",
    "component-code-value-quantity": "8480-6$gt120",
    "status": "final",
    "_lastUpdated": "gt2026-01-01T00:00:00Z",
    "token": "a",
    "date": "ge2026-01-01",
    "quantity": "gt100|http://unitsofmeasure.org|mg/dL",
    "string": "Gluco",
    "reference": "a",
}


def paths(summarized: bool) -> Json:
    """Path items; `summarized`: the recorder has the operation $hddt-cgm-summary."""
    found: Json = {}
    for kind in PARAMETERS:
        found |= {
            f"/fhir/{kind}": _item(get=_search(kind)),
            f"/fhir/{kind}/_search": _item(post=_posted(kind)),
            f"/fhir/{kind}/{{id}}": _item(["Id"], get=_read(kind)),
            f"/fhir/{kind}/{{id}}/_history/{{version}}": _item(["Id", "Version"], get=_vread(kind)),
        }
    if summarized:
        found["/fhir/Observation/$hddt-cgm-summary"] = _item(get=_summary("get"), post=_summary("post"))
    return found


def resource_schemas() -> Json:
    """FHIR's resources by name: what each type is, and where FHIR describes the rest."""
    return {
        kind: {
            "type": "object",
            "externalDocs": {"url": f"http://hl7.org/fhir/R4/{kind.lower()}.html"},
            "required": ["resourceType", "id", "meta"],
            "properties": {"resourceType": {"const": kind}, "id": {"type": "string"}, "meta": {"type": "object"}},
        }
        for kind in PARAMETERS
    }


def _item(parameters: Sequence[str] = (), **operations: Json) -> Json:
    return {
        "servers": "backend",
        **({"parameters": [_reference("parameters", name) for name in parameters]} if parameters else {}),
        **operations,
    }


def _operation(name: str, kind: str, about: Json, asked: Json, answers: Json) -> Json:
    return {"operationId": name, **about, "tags": [kind], "security": SECURITY, **asked, "responses": answers}


def _search(kind: str) -> Json:
    about = {"summary": f"Search for {kind}", "description": f"{_words(kind)} {_counting(kind)}"}
    answers = _answers(_found("Bundle"), 400, 401, 404, 406, 410, 415, 429, 503)
    return _operation(f"search{kind}", kind, about, {"parameters": _search_parameters(kind)}, answers)


def _posted(kind: str) -> Json:
    """The same with the parameters in a form."""
    form = [one for one in _search_parameters(kind) if "$ref" not in one]
    properties = {one["name"]: one["schema"] for one in form} | {name: {"type": "string"} for name in SHARED}
    content = {
        "schema": {"type": "object", "properties": properties},
        "encoding": {one["name"]: {"explode": True} for one in form if one["schema"]["type"] == "array"},
    }
    about = {
        "summary": f"Search for {kind} with a form",
        "description": f"{_words(kind)} {_counting(kind)} Parameters may be in the form or in the query.",
    }
    answers = _answers(_found("Bundle"), 400, 401, 404, 406, 408, 410, 413, 415, 429, 503)
    return _operation(f"post{kind}Search", kind, about, {"requestBody": {"content": {FORM: content}}}, answers)


def _words(kind: str) -> str:
    chains = [f"_has:{path}:[parameter]" for path in revincludes(kind)]
    texts = [
        "Returns the matches and the resources that _include and _revinclude add; the link next leads to the next page."
    ]
    if chains:
        texts.append(f"{' or '.join(chains)} selects by the resources that refer to a {kind}.")
    if kind == "Observation":
        texts.append("Poll with _lastUpdated=gt and the Bundle.meta.lastUpdated of the previous response.")
    return " ".join(texts)


def _counting(kind: str) -> str:
    """Whether a search counts for the Grace-Period (OPS-028)."""
    if kind == "Observation":
        return "A search counts towards the Grace-Period of each MIV that it asks for; without code it asks for all."
    return "A search counts towards the Grace-Period only when _revinclude adds Observations."


def _search_parameters(kind: str) -> list[Json]:
    sorts = [one.name for one in PARAMETERS[kind].values() if one.sortable]
    own = [each for one in PARAMETERS[kind].values() for each in _of(one)]
    paths = [f"{source}:{one.name}" for source in PARAMETERS for one in references(source)]
    followed = f"{', '.join(paths)} (also with :target), [type]:* (all of that type) or * (all)"
    matched = f"Adds the resources that matches refer to: {followed} of a {kind}."
    reached = f"Adds the resources that included resources refer to: {followed}."
    controls = [
        _parameter("_count", "Matches per page.", {"type": "integer", "minimum": 0}, 5),
        _parameter(
            "_sort", f"{', '.join(sorts)}; a leading - sorts in descending order.", {"type": "string"}, f"-{sorts[0]}"
        ),
        _parameter(
            "_total", "accurate and estimate both give the exact total.", _enum("none", "estimate", "accurate"), "none"
        ),
        _many("_include", matched, {"type": "string"}, "DeviceMetric:source"),
        _many("_include:iterate", reached, {"type": "string"}, "DeviceMetric:source"),
    ]
    if found := revincludes(kind):
        every = dict.fromkeys(f"{path.partition(':')[0]}:*" for path in found)
        controls.append(
            _many("_revinclude", "Adds the resources that refer to matches.", _enum(*found, *every), found[0])
        )
    shared = ("SearchSummary", "Elements", "Format", "Pretty", "Page")
    return [*own, *controls, *(_reference("parameters", name) for name in shared)]


def _of(parameter: Parameter) -> list[Json]:
    example = EXAMPLES.get(parameter.name) or EXAMPLES[parameter.type]
    if parameter.targets:
        example = f"{parameter.targets[0]}/{example}"
    text = (
        f"{parameter.documentation}. FHIR type: {parameter.type}. Repeat it for AND, separate values by commas for OR."
    )
    names = (parameter.name, *(f"{parameter.name}:{one}" for one in parameter.modifiers))
    return [_many(name, text, {"type": "string"}, example) for name in names]


def _read(kind: str) -> Json:
    conditional = kind != "Device"
    headers = [_reference("parameters", name) for name in ("IfNoneMatch", "IfModifiedSince") if conditional]
    same = (
        {"304": {"description": "Not modified: you have this version.", "headers": _headers("ETag")}}
        if conditional
        else {}
    )
    asked, answers = {"parameters": [*headers, *_representation()]}, {**_one(kind), **same}
    return _operation(f"read{kind}", kind, {"summary": f"One {kind}"}, asked, answers)


def _vread(kind: str) -> Json:
    about, asked = {"summary": f"One version of a {kind}"}, {"parameters": _representation()}
    return _operation(f"vread{kind}", kind, about, asked, _one(kind))


def _one(kind: str) -> Json:
    """The answers to a read. Only measurements are deleted, by whoever sent them."""
    deleted = (410,) if kind == "Observation" else ()
    return _answers(_found(kind, "ETag", "Last-Modified"), 400, 401, 404, 406, *deleted, 415, 503)


def _summary(method: str) -> Json:
    codes = (400, 401, 404, 406, 415, 429, 503) if method == "get" else (400, 401, 404, 406, 408, 413, 415, 429, 503)
    body = {FHIR_JSON: {"schema": _reference("schemas", "Parameters")}, FHIR_XML: {"schema": {"type": "string"}}}
    about = {
        "summary": "The clinical metrics of continuous glucose measurement over a period",
        "description": "Covers the last fourteen days by default. Counts towards the Grace-Period like a search.",
    }
    names = ("PeriodStart", "PeriodEnd", "Related", "Format", "Pretty")
    asked: Json = {"parameters": [_reference("parameters", name) for name in names]}
    if method == "post":
        asked["requestBody"] = {"content": body}
    return _operation(f"{method}Summary", "Observation", about, asked, _answers(_found("Bundle"), *codes))


def _representation() -> list[Json]:
    return [_reference("parameters", name) for name in ("Summary", "Elements", "Format", "Pretty")]


RESPONSES = {
    400: "Refused",
    401: "Unauthorized",
    404: "NotFound",
    406: "NotAcceptable",
    408: "TooSlow",
    410: "Gone",
    413: "TooLarge",
    415: "UnsupportedMediaType",
    429: "Throttled",
    503: "Unavailable",
}


def _answers(found: Json, *codes: int) -> Json:
    return {"200": found, **{str(code): _reference("responses", RESPONSES[code]) for code in codes}}


def _found(kind: str, *headers: str) -> Json:
    content = {FHIR_JSON: {"schema": _reference("schemas", kind)}, FHIR_XML: {"schema": {"type": "string"}}}
    return {"description": f"A {kind}.", **({"headers": _headers(*headers)} if headers else {}), "content": content}


def _headers(*names: str) -> Json:
    return {name: _reference("headers", name) for name in names}


def _reference(group: str, name: str) -> Json:
    return {"$ref": f"#/components/{group}/{name}"}


def _parameter(name: str, text: str, schema: Json, example: Any) -> Json:
    return {"name": name, "in": "query", "description": text, "schema": schema, "example": example}


def _many(name: str, text: str, items: Json, example: str) -> Json:
    return {**_parameter(name, text, {"type": "array", "items": items}, [example]), "explode": True}


def _enum(*values: str) -> Json:
    return {"type": "string", "enum": list(values)}
