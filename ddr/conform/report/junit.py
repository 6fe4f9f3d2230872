"""A report as JUnit XML, for build servers: a suite per chapter, a case per check."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from ddr.conform.exchange import Json
from ddr.conform.report.model import fails
from ddr.conform.verdict import Verdict


def junit(report: Json) -> str:
    """The XML text. Failed is `failure`, an error of the kit `error`; remarks and unjudged checks are `skipped` with
    the reason."""
    root = Element("testsuites", name="ddr conform")
    for chapter in report["chapters"]:
        cases = [one for one in report["checks"] if one["chapter"] == chapter["chapter"]]
        if cases:
            _suite(root, chapter["chapter"], cases)
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(root: Element, name: str, cases: list[Json]) -> None:
    failed = sum(fails(one) for one in cases)
    errors = sum(one["verdict"] == Verdict.KIT_ERROR for one in cases)
    skipped = sum(one["verdict"] not in (Verdict.PASSED, Verdict.KIT_ERROR) for one in cases) - failed
    counts = {"tests": len(cases), "failures": failed, "skipped": skipped, "errors": errors}
    suite = SubElement(root, "testsuite", {"name": name, **{key: str(count) for key, count in counts.items()}})
    for one in cases:
        case = SubElement(suite, "testcase", classname=one["requirements"][0], name=one["check"])
        case.set("time", f"{one['seconds']:.3f}")
        if fails(one):
            failure = SubElement(case, "failure", message=_clean(one["text"]), type=one["level"])
            failure.text = _clean("\n".join([one["words"], *one["reproduce"]]))
        elif one["verdict"] == Verdict.KIT_ERROR:
            SubElement(case, "error", message=_clean(one["text"]), type=str(Verdict.KIT_ERROR))
        elif one["verdict"] != Verdict.PASSED:
            verdict = f"{one['verdict']} ({one['level']})" if one["remark"] else one["verdict"]
            SubElement(case, "skipped", message=_clean(f"{verdict}: {one['text']}"))


def _clean(text: str) -> str:
    """Text without the control characters that XML 1.0 forbids."""
    return "".join(char for char in text if char >= " " or char in "\n\t")
