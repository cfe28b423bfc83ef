"""What the gate says, for other programs: JUnit XML for CI, SARIF for code scanning, JSON for your own.

No time and no host is in them, so that two runs compare line by line.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from xml.etree import ElementTree as Tree

from pydantic import TypeAdapter

from leakgauge.core.printable import line
from leakgauge.results.gate import Ruling, Rulings

TAGS = ("NISTAML.032", "AML.T0024.001", "ML03:2023")
"""NIST AI 100-2e2025: data reconstruction; MITRE ATLAS, the nearest: Invert AI Model; OWASP ML Top 10: model inversion."""
EVIDENCE = (
    "Evidence towards an assessment by NIST AI 100-2e2025 (NISTAML.032), MITRE ATLAS (nearest: AML.T0024.001), OWASP ML03:2023, "
    "EDPB Opinion 28/2024 and EDPS TechDispatch 1/2025. It establishes conformity with none of them."
)
_RULES = {
    "fail": (
        "LG001",
        "leaks",
        "An audit found that an update gives private examples away, or broke a limit of the policy.",
        "error",
    ),
    "inconclusive": ("LG002", "inconclusive", "An audit cannot tell whether an update gives private examples away.", "warning"),
}


def as_junit(rulings: Rulings) -> str:
    """Return JUnit XML: a failure is an audit that fails, an error one that cannot tell, and skipped one that does not apply."""
    kinds = [_kind(one) for one in rulings.rulings]
    counts = {"tests": len(kinds), **{f"{name}": kinds.count(kind) for name, kind in _TALLY.items()}}
    suites = Tree.Element("testsuites", {name: str(count) for name, count in counts.items()})
    suite = Tree.SubElement(suites, "testsuite", {"name": "leakgauge", **{name: str(count) for name, count in counts.items()}})
    for one, kind in zip(rulings.rulings, kinds, strict=True):
        case = Tree.SubElement(suite, "testcase", {"classname": f"leakgauge.{one.key}", "name": line(one.name)})
        if kind:
            told = line(" ".join(one.reasons))
            Tree.SubElement(case, kind, {"message": told[:_LONGEST], "type": one.result}).text = told
    suite_properties = Tree.Element("properties")
    Tree.SubElement(suite_properties, "property", {"name": "evidence", "value": EVIDENCE})
    suite.insert(0, suite_properties)
    Tree.indent(suites)
    return Tree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def as_sarif(rulings: Rulings) -> str:
    """Return SARIF 2.1.0: a result for each audit that does not pass, at its record, with the exit code of the gate."""
    rules = [
        {
            "id": rule,
            "name": name,
            "shortDescription": {"text": what},
            "fullDescription": {"text": f"{what} {EVIDENCE}"},
            "defaultConfiguration": {"level": level},
            "properties": {"tags": ["security", "privacy", *TAGS]},
        }
        for rule, name, what, level in _RULES.values()
    ]
    run = {
        "tool": {"driver": {"name": "leakgauge", "version": version("leakgauge"), "rules": rules}},
        "invocations": [{"executionSuccessful": True, "exitCode": rulings.exit_code}],
        "results": [_result(one) for one in rulings.rulings if one.result != "pass"],
        "columnKind": "unicodeCodePoints",
    }
    return json.dumps({"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def as_json(rulings: Rulings) -> str:
    """Return JSON that follows `rulings_schema()`."""
    return TypeAdapter(Rulings).dump_json(rulings, indent=2).decode() + "\n"


def rulings_schema() -> dict[str, object]:
    """Return the JSON Schema of what `as_json` writes."""
    return TypeAdapter(Rulings).json_schema(mode="serialization")


def _result(one: Ruling) -> dict[str, object]:
    rule, _, _, level = _RULES[one.result]
    return {
        "ruleId": rule,
        "ruleIndex": list(_RULES).index(one.result),
        "level": level,
        "message": {"text": f"{line(one.name)}: {line(' '.join(one.reasons))}"},
        "locations": [{"physicalLocation": {"artifactLocation": {"uri": f"{one.key}/record.json"}}}],
        "partialFingerprints": {"auditKey/v1": one.key},
    }


def _kind(one: Ruling) -> str:
    """The element of a test case; empty for one that passes."""
    if one.result == "inconclusive" and not one.is_applicable:
        return "skipped"
    return {"pass": "", "fail": "failure", "inconclusive": "error"}[one.result]


_TALLY = {"failures": "failure", "errors": "error", "skipped": "skipped"}
_LONGEST = 300
_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
