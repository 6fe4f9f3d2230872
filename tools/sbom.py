"""Write the software bill of materials of a running recorder as CycloneDX 1.6, and validate it.

    python -m tools.sbom FILE

Packages, versions and hashes are those of the locked requirements; licences and dependencies come from the packages
installed here, which must have the same versions. The same state gives the same bytes.
"""

from __future__ import annotations

import os
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import PackageMetadata, metadata, version
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.exception import CycloneDxException
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

from tools.closure import LOCKED, ROOT, Locked, closure, locked, serving

EPOCH = "SOURCE_DATE_EPOCH"


def text() -> str:
    """The document. Raises ValueError when installed and locked versions differ, or the result is invalid."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = locked(LOCKED.read_text())
    tree = closure(serving(project), {})
    if unlocked := sorted(tree.keys() - pins.keys()):
        raise ValueError(f"not locked: {', '.join(unlocked)}; run python -m tools.lock")
    parts = {name: _component(pins[name]) for name in tree}
    own = Component(
        type=ComponentType.APPLICATION,
        name=project["name"],
        version=project["version"],
        description=project["description"],
        licenses=[LicenseFactory().make_with_expression(project["license"])],
        purl=PackageURL("pypi", name=project["name"], version=project["version"]),
        bom_ref=f"{project['name']}=={project['version']}",
    )
    seconds = int(os.environ.get(EPOCH, "0"))
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, f"{own.purl} {seconds}"), components=parts.values())
    bom.metadata.component = own
    bom.metadata.timestamp = datetime.fromtimestamp(seconds, UTC)
    for name, needs in tree.items():
        bom.register_dependency(parts[name], [parts[need] for need in needs])
    bom.register_dependency(own, [parts[name] for name in _direct(serving(project)) if name in parts])
    return _valid(JsonV1Dot6(bom).output_as_string(indent=2))


def _direct(lines: list[str]) -> list[NormalizedName]:
    return [canonicalize_name(Requirement(line).name) for line in lines]


def _component(pin: Locked) -> Component:
    if (here := version(pin.name)) != pin.version:
        raise ValueError(f"{pin.name} {here} is installed, but {pin.version} is locked")
    about = metadata(pin.name)
    return Component(
        type=ComponentType.LIBRARY,
        name=about["Name"],
        version=pin.version,
        description=about["Summary"],
        licenses=_licences(about),
        purl=PackageURL("pypi", name=pin.name, version=pin.version),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=one) for one in pin.hashes],
        bom_ref=f"{pin.name}=={pin.version}",
    )


def _licences(about: PackageMetadata) -> list[License]:
    """The licence as an SPDX expression (PEP 639), or from the trove classifiers or the old field."""
    make = LicenseFactory()
    if expression := about.get_all("License-Expression", []):
        return [make.make_from_string(expression[0])]
    classifiers = [one for one in about.get_all("Classifier", []) if one.startswith("License ::")]
    named = [one.rpartition(" :: ")[2] for one in classifiers]
    return [make.make_with_name(one) for one in named] or [
        make.make_from_string(one) for one in about.get_all("License", ["unknown"])
    ]


def _valid(document: str) -> str:
    if found := JsonStrictValidator(SchemaVersion.V1_6).validate_str(document):
        raise ValueError(f"not valid CycloneDX: {found}")
    return document + "\n"


def main(arguments: list[str]) -> int:
    """0 when the file was written; otherwise one line says why not."""
    if len(arguments) != 1:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        Path(arguments[0]).write_text(text())
    except (ValueError, OSError, CycloneDxException) as error:
        print(f"sbom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
