"""Which search parameters exist per resource type; used by the parser and by the CapabilityStatement.

HDDT ddr-diga-api.md, table of search parameters; definitions from FHIR R4 searchparameter-registry.html.
"""

from __future__ import annotations

from dataclasses import dataclass

REGISTRY = "http://hl7.org/fhir/SearchParameter/"

# Parameters that only the access token decides (HDDT fhir-api-observation.md, fhir-api-device.md): always refused with
# 400.
IMPLICIT = frozenset({"subject", "patient"})
CONTROLS = frozenset({"_sort", "_count", "_include", "_revinclude", "_has", "_summary", "_elements", "_total"})
# Handled by content negotiation before a search is parsed.
REPRESENTATION = frozenset({"_format", "_pretty"})
MODIFIERS = {"string": ("exact", "contains")}  # by parameter type; there are no other modifiers


@dataclass(frozen=True)
class Parameter:
    """One search parameter of a resource type."""

    name: str
    type: str  # FHIR SearchParamType: token | date | quantity | string | reference | composite
    definition: str  # canonical of the SearchParameter
    documentation: str
    sortable: bool = False
    targets: tuple[str, ...] = ()  # of a reference: the resource types that it may point to

    @property
    def modifiers(self) -> tuple[str, ...]:
        """The modifiers that may follow the name."""
        return MODIFIERS.get(self.type, ())


def _table(*parameters: Parameter) -> dict[str, Parameter]:
    every = (
        Parameter(
            "_id",
            "token",
            REGISTRY + "Resource-id",
            "Logical id",
            True,
        ),
        Parameter(
            "_lastUpdated",
            "date",
            REGISTRY + "Resource-lastUpdated",
            "When the content last changed, or when it became visible to this pairing",
            True,
        ),
    )
    return {parameter.name: parameter for parameter in (*every, *parameters)}


PARAMETERS: dict[str, dict[str, Parameter]] = {
    "Observation": _table(
        Parameter("code", "token", REGISTRY + "clinical-code", "Code of the measured value", True),
        Parameter(
            "date",
            "date",
            REGISTRY + "clinical-date",
            "Time or period of measurement; a value without a time zone is in UTC",
            True,
        ),
        Parameter(
            "value-quantity",
            "quantity",
            REGISTRY + "Observation-value-quantity",
            "Value of a single measurement; UCUM units of the same kind are converted. Sampled data never matches",
            True,
        ),
        Parameter("component-code", "token", REGISTRY + "Observation-component-code", "Code of a component"),
        Parameter(
            "component-value-quantity",
            "quantity",
            REGISTRY + "Observation-component-value-quantity",
            "Value of any component",
        ),
        Parameter(
            "component-code-value-quantity",
            "composite",
            REGISTRY + "Observation-component-code-value-quantity",
            "Code and value of the same component, joined by $",
        ),
        Parameter("status", "token", REGISTRY + "Observation-status", "Status", True),
        Parameter(
            "device",
            "reference",
            REGISTRY + "Observation-device",
            "The Device or DeviceMetric that the Observation refers to",
            targets=("Device", "DeviceMetric"),
        ),
        Parameter(
            "derived-from",
            "reference",
            REGISTRY + "Observation-derived-from",
            "The measurement or reference value that a relative value is derived from",
            targets=("Observation",),
        ),
    ),
    "Device": _table(
        Parameter(
            "device-name",
            "string",
            REGISTRY + "Device-device-name",
            "Name given by the manufacturer (the sort key) or name of the type",
            True,
        ),
        Parameter("type", "token", REGISTRY + "Device-type", "SNOMED CT code of the type", True),
        Parameter("manufacturer", "string", REGISTRY + "Device-manufacturer", "Manufacturer", True),
        Parameter("status", "token", REGISTRY + "Device-status", "active, inactive or unknown (no recent contact)"),
    ),
    "DeviceMetric": _table(
        Parameter(
            "source", "reference", REGISTRY + "DeviceMetric-source", "The Device that measures", targets=("Device",)
        ),
        Parameter("type", "token", REGISTRY + "DeviceMetric-type", "What is measured (ISO/IEEE 11073)", True),
    ),
}


# HDDT's table calls the parameter otherwise than the page of R4 that it links to. Understood, and announced nowhere
# (OBS-037).
OTHER_NAMES = {"valueQuantity": "value-quantity"}


def parameter_called(resource_type: str, name: str) -> Parameter | None:
    """The parameter of `resource_type` with this name."""
    return PARAMETERS[resource_type].get(OTHER_NAMES.get(name, name))


def references(resource_type: str) -> tuple[Parameter, ...]:
    """The reference parameters of `resource_type`: what _include, _revinclude and _has can follow."""
    return tuple(parameter for parameter in PARAMETERS[resource_type].values() if parameter.targets)


def includes(resource_type: str) -> tuple[str, ...]:
    """The _include values that start at `resource_type`, or by :iterate at what it leads to ("Observation:device")."""
    paths: list[str] = []
    reached = [resource_type]
    for source in reached:
        for parameter in references(source):
            paths.append(f"{source}:{parameter.name}")
            reached.extend(target for target in parameter.targets if target not in reached)
    return tuple(paths)


def revincludes(resource_type: str) -> tuple[str, ...]:
    """The _revinclude values that point to `resource_type` ("Observation:device" for Device)."""
    return tuple(
        f"{source}:{parameter.name}"
        for source in PARAMETERS
        for parameter in references(source)
        if resource_type in parameter.targets
    )
