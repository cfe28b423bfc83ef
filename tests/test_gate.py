import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from samples import failed, record, trial

from leakgauge.auditing.record import Verdict
from leakgauge.core.errors import UsageError
from leakgauge.results.gate import Policy, gate, load_policy
from leakgauge.results.multiplicity import doubts, together

SAFE = "no leak found by these attacks"


def safe(key="a1", **changes):
    return record(key, SAFE, replace(trial((15.0, 12.0), (4, 40), 0.5), **changes))


def result(*records, **policy):
    return gate(records, Policy(**policy)).result


def test_a_leak_fails_unless_it_is_not_forbidden():
    assert result(record()) == "fail"
    assert result(record(), forbid=[]) == "pass"
    assert result(safe()) == "pass"
    assert result(safe(), forbid=[SAFE]) == "fail"


@pytest.mark.parametrize(
    ("kind", "name", "just_enough", "too_strict"),
    [
        ("max", "psnr", 15.0, 14.9),
        ("min", "psnr", 12.0, 12.1),
        ("min", "mse", 10**-1.5, 0.04),
        ("max", "label_accuracy", 0.5, 0.49),
        ("max", "identified_share", 0, -0.1),
        ("max", "recovered_share", 0.0, -0.1),
    ],
)
def test_a_limit_is_kept_up_to_and_including_itself(kind, name, just_enough, too_strict):
    assert result(safe(), **{kind: {name: just_enough}}) == "pass"
    broken = gate([safe()], Policy(**{kind: {name: too_strict}}))
    assert broken.result == "fail"
    assert broken.exit_code == 1
    assert name in broken.rulings[0].reasons[0]


def test_shares_count_examples():
    leaking = record(attack=trial((30.0, 12.0), (1, 40)))
    assert result(leaking, forbid=[], max={"recovered_share": 0.5, "identified_share": 0.5}) == "pass"
    assert result(leaking, forbid=[], max={"recovered_share": 0.4}) == "fail"
    assert result(leaking, forbid=[], max={"identified_share": 0.4}) == "fail"


def test_what_was_not_measured_is_inconclusive():
    assert result(safe(ranks=None), max={"identified_share": 1}) == "inconclusive"
    assert result(safe(label_accuracy=None), max={"label_accuracy": 1}) == "inconclusive"
    assert result(safe(scores={"psnr": (None, None)}), max={"psnr": 99}) == "inconclusive"
    assert result(safe(scores={"psnr": (None, 30.0)}), max={"psnr": 20}) == "fail"


@pytest.mark.parametrize("made", [failed(), record(outcome="inconclusive"), failed(status="timed_out")])
def test_inconclusive_audits(made):
    assert result(made) == "inconclusive"
    assert gate([made], Policy()).exit_code == 3
    assert result(made, inconclusive="fail") == "fail"
    assert result(made, inconclusive="allow") == "pass"
    assert result(made, forbid=["inconclusive"]) == "fail"


def test_failing_wins_over_inconclusive_and_inconclusive_over_passing():
    doubtful = record("c3", "inconclusive", verdict=Verdict("inconclusive", "No control."))
    assert result(safe(), doubtful) == "inconclusive"
    assert result(safe(), doubtful, record()) == "fail"
    assert [ruling.result for ruling in gate([safe(), doubtful], Policy()).rulings] == ["pass", "inconclusive"]


def test_missing_audits_are_not_passed_over():
    assert result(safe(), at_least=2) == "inconclusive"
    assert result(safe("a1"), safe("b2"), at_least=2) == "pass"
    with pytest.raises(UsageError, match="got no audit"):
        result()


def test_a_misspelled_limit_is_told():
    with pytest.raises(UsageError, match=r"max\.psrn: no audit measured it, did you mean 'psnr'"):
        result(safe(), max={"psrn": 3})
    assert result(failed(), max={"psnr": 3}) == "inconclusive"


def test_a_policy_is_read(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("forbid: [leaks, inconclusive]\nmax: {psnr: 20, recovered_share: 0}\nmin: {mse: 1e-2}\nat_least: 3\n")
    expected = Policy(forbid=["leaks", "inconclusive"], max={"psnr": 20, "recovered_share": 0}, min={"mse": 0.01}, at_least=3)
    assert load_policy(path) == expected
    path.write_text("")
    assert load_policy(path) == Policy()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("maxx: {psnr: 3}", "maxx: no such key, did you mean 'max'"),
        ("forbid: [leak]", "forbid.0: got 'leak'"),
        ("max: {psnr: high}", "max.psnr: got 'high'"),
        ("max: {psnr: .nan}", "max.psnr: got nan"),
        ("at_least: 0", "at_least: got 0"),
        ("- 1", "the file: got "),
        ("max: [", "no YAML at line 1"),
        (None, "cannot be read"),
        (b"\xff\xfe\xff", "cannot be read"),
    ],
)
def test_a_wrong_policy_is_told_in_one_line(tmp_path, text, words):
    path = tmp_path / "policy.yaml"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as told:
        load_policy(path)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


def test_the_schema_of_a_policy_takes_what_the_policy_takes():
    schema = Policy.model_json_schema()
    jsonschema.validate(json.loads(Policy(max={"psnr": 3}).model_dump_json()), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"maxx": {}}, schema)


def test_the_gate_needs_no_torch():
    code = "import sys, leakgauge.results.gate; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parent)


def told(key, chance):
    made = record(key)
    return replace(made, verdict=replace(made.verdict, p_value=chance))


def test_a_leak_by_a_chance_that_so_many_audits_bring_is_inconclusive():
    quiet = [replace(safe(f"s{i}"), verdict=Verdict(SAFE, "", 0.5)) for i in range(99)]
    assert result(told("a", 0.008)) == "fail"
    assert result(told("a", 0.008), *quiet) == "inconclusive"
    assert result(told("a", 0.008), *quiet, inconclusive="fail") == "fail"
    assert result(told("a", 0.008), *quiet, inconclusive="allow") == "inconclusive"  # a leak was told: nobody allowed that
    assert result(told("a", 0.008), *quiet, false_discovery_rate=1) == "fail"
    assert result(told("a", 1e-6), *quiet) == "fail"
    assert result(*(told(f"a{i}", 0.008) for i in range(100))) == "fail"  # where all leak, none is taken for chance
    (doubt,) = gate([told("a", 0.008), *quiet], Policy()).rulings[0].reasons
    assert "among the 100 audits that were tested it has a false discovery rate of 0.5, more than 0.05" in doubt


def test_what_stands_together_is_said():
    quiet = [replace(safe(f"s{i}"), verdict=Verdict(SAFE, "", 0.5)) for i in range(99)]
    assert together([told("a", 0.008)]) == together(quiet) == ""
    assert together([told("a", 1e-6), *quiet]).startswith("The audit that tells of a leak stands at a false discovery rate of 5%")
    assert together([told("a", 1e-6), told("b", 0.008), *quiet]).startswith("Of 2 audits that tell of a leak, 1 does not stand at")
    many = together([told(f"a{i}", 0.008) for i in range(7)] + quiet + quiet)
    assert "7 do not stand" in many
    assert many.endswith(": sample, sample, sample, sample, sample and 2 more.")


def test_audits_without_a_key_are_told_apart():
    """An audit of a notebook has no key: a leak beyond doubt is not taken for the doubtful one beside it."""
    quiet = [replace(safe(f"s{i}"), verdict=Verdict(SAFE, "", 0.5)) for i in range(99)]
    sure, unsure = (replace(told("a", chance), key="") for chance in (1e-6, 0.008))
    assert [one.result for one in gate([sure, unsure, *quiet], Policy()).rulings[:2]] == ["fail", "inconclusive"]
    assert [doubt is None for doubt in doubts([sure, unsure, *quiet])[:2]] == [True, False]


def test_chances_are_adjusted_as_benjamini_and_hochberg_did():
    """By the definition: the smallest rate at which the procedure, step by step, rejects."""
    chances = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.324]  # the first of their Section 2.3
    total = 15
    others = [0.4262, 0.5719, 0.6528, 0.759, 1.0]
    records = [told(f"a{i}", chance) for i, chance in enumerate([*chances, *others])]
    rejected = max(i for i, chance in enumerate(chances, 1) if chance <= 0.05 * i / total)
    assert rejected == 4  # as they report
    assert [doubt is None for doubt in doubts(records)] == [i < rejected for i in range(total)]
