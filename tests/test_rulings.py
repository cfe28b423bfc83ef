"""What the gate says, as other programs read it."""

import json
from dataclasses import replace
from xml.etree import ElementTree as Tree

import jsonschema
import pytest
from samples import failed, record, trial

from leakgauge.cli import main
from leakgauge.results.gate import Policy, gate
from leakgauge.results.rulings import as_json, as_junit, as_sarif, rulings_schema
from leakgauge.results.store import Store

SAFE = "no leak found by these attacks"
ODD = "a <b> & \x1b[2J\x00 \u202egnp.exe ]]> \ud800"


def rulings():
    """One of each kind: a leak, a safe one, one that cannot tell, one whose attack does not apply."""
    safe = record("b2", SAFE, trial((15.0, 12.0), (4, 40), 0.5))
    aside = replace(record("d4", "inconclusive", trial((15.0, 12.0), (4, 40), 0.5)), status="out_of_scope")
    return gate([replace(record("a1"), name=ODD), safe, failed("c3"), aside], Policy())


def test_junit_has_a_test_case_an_audit():
    suites = Tree.fromstring(as_junit(rulings()))
    assert {name: suites.get(name) for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "4",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    cases = suites.findall("testsuite/testcase")
    assert [[child.tag for child in case] for case in cases] == [["failure"], [], ["error"], ["skipped"]]
    assert cases[0].get("classname") == "leakgauge.a1"
    assert cases[0].get("name") == r"a <b> & \x1b[2J\x00 \u202egnp.exe ]]> \ud800"
    assert "is forbidden" in cases[0][0].text


def test_sarif_has_a_result_for_each_that_does_not_pass():
    document = json.loads(as_sarif(rulings()))
    run = document["runs"][0]
    assert document["version"] == "2.1.0"
    assert [rule["id"] for rule in run["tool"]["driver"]["rules"]] == ["LG001", "LG002"]
    assert [(one["ruleId"], one["level"]) for one in run["results"]] == [
        ("LG001", "error"),
        ("LG002", "warning"),
        ("LG002", "warning"),
    ]
    assert all(run["tool"]["driver"]["rules"][one["ruleIndex"]]["id"] == one["ruleId"] for one in run["results"])
    assert run["invocations"] == [{"executionSuccessful": True, "exitCode": 1}]
    assert [one["partialFingerprints"]["auditKey/v1"] for one in run["results"]] == ["a1", "c3", "d4"]
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "a1/record.json"
    assert "NISTAML.032" in run["tool"]["driver"]["rules"][0]["properties"]["tags"]


def test_json_follows_its_schema():
    document = json.loads(as_json(gate([record("a1")], Policy())))
    jsonschema.Draft202012Validator(rulings_schema()).validate(document)
    assert (document["result"], document["rulings"][0]["key"]) == ("fail", "a1")


def test_nothing_claims_conformity():
    for text in (as_junit(rulings()), as_sarif(rulings())):
        assert "complian" not in text
        assert "establishes conformity with none" in text


def test_two_runs_write_the_same():
    for write in (as_junit, as_sarif):
        assert write(rulings()) == write(rulings())


@pytest.mark.parametrize(("outcome", "code"), [("leaks", 1), (SAFE, 0), ("not judged", 3)])
def test_the_command_writes_all_three(tmp_path, capsys, outcome, code):
    one = record("a1", outcome, trial((15.0, 12.0), (4, 40), 0.5))
    Store(tmp_path / "results").save(one)
    (tmp_path / "policy.yaml").write_text("")
    files = {kind: tmp_path / f"gate.{kind}" for kind in ("junit", "sarif", "json")}
    arguments = [part for kind, path in files.items() for part in (f"--{kind}", str(path))]
    with pytest.raises(SystemExit) as ended:
        main(["gate", str(tmp_path / "results"), "--policy", str(tmp_path / "policy.yaml"), *arguments])
    assert (ended.value.code or 0) == code
    assert "The policy sets nothing, so the default holds" in capsys.readouterr().out
    assert json.loads(files["sarif"].read_text())["runs"][0]["invocations"][0]["exitCode"] == code
    assert len(Tree.parse(files["junit"]).findall(".//testcase")) == 1
    assert json.loads(files["json"].read_text())["rulings"]
