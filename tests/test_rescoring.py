"""Audits judged by other criteria: what is said has to be what an audit with these criteria says."""

from dataclasses import replace

import pytest
from samples import failed, record

import leakgauge as lg
from leakgauge.auditing.record import Verdict
from leakgauge.cli import main
from leakgauge.core.errors import UsageError
from leakgauge.data.photographs import Photographs
from leakgauge.results.rescoring import Rescoring, rescored, rescoring
from leakgauge.results.store import Store
from leakgauge.victims.cnn import CNN

POOL = Photographs(size=16).load()
MODEL = CNN(width=8, hidden=32).build(lg.Inputs((3, 16, 16), 10), rng=lg.core.rng.stream(0))
WEAK = {"name": "inverting_gradients", "steps": 200}


def audited(attack=WEAK, count=2, **criteria):
    return lg.audit(
        model=MODEL,
        batch=(POOL.x[:count], POOL.y[:count]),
        public=(POOL.x[10:], POOL.y[10:]),
        attack=attack,
        criteria=lg.Criteria(**criteria),
        device="cpu",
    )


@pytest.fixture(scope="module")
def found():
    return audited()


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 5.0},
        {"threshold": 60.0},
        {"margin": 0.0, "threshold": 1.0},
        {"margin": 40.0},
        {"alpha": 1e-9},
        {"alpha": 0.9, "threshold": 12.0},
    ],
    ids=str,
)
def test_a_rescored_audit_is_the_audit_with_these_criteria(found, changes):
    own, other = rescored(found.record, Rescoring(**changes)), audited(**changes).record
    assert own.verdict == other.verdict
    assert own.setting == other.setting
    assert own.diagnosis[1:] == other.diagnosis
    assert own.diagnosis[0].startswith("Judged by other criteria")
    for name, trial in own.trials.items():
        for metric, bars in trial.bars.items():
            assert bars == pytest.approx(other.trials[name].bars[metric], abs=1e-3)
        assert replace(trial, bars={}, seconds=0.0) == replace(other.trials[name], bars={}, seconds=0.0)


def test_criteria_decide_what_a_picture_is_called(found):
    """The picture and the chance are what they were; what counts as recovered is the reader's."""
    assert found.verdict.outcome in ("leaks", "partial leak")
    assert rescored(found.record, Rescoring(threshold=8.0, margin=0.5)).verdict.outcome == "leaks"
    assert rescored(found.record, Rescoring(threshold=80.0)).verdict.outcome == "partial leak"


def test_the_power_of_another_level_is_not_claimed():
    record = audited(power=3).record
    assert record.setting.power is not None
    assert rescored(record, Rescoring(threshold=30.0)).setting.power == record.setting.power
    assert rescored(record, Rescoring(alpha=0.02)).setting.power is None


def test_the_same_criteria_change_nothing(found):
    setting = found.record.setting
    same = Rescoring(threshold=setting.threshold, margin=setting.margin, alpha=setting.alpha)
    assert rescored(found.record, same) is found.record


def test_what_was_not_judged_stays_as_it_is():
    for one in (failed(), record(verdict=Verdict("not judged", "No truth."))):
        assert rescored(one, Rescoring(threshold=1.0)) is one


def test_a_record_that_does_not_hold_the_rivals_is_told(found):
    trials = {name: replace(trial, rivals={}) for name, trial in found.record.trials.items()}
    with pytest.raises(UsageError, match=r"does not hold what its psnr was compared with.* run the audit again"):
        rescored(replace(found.record, trials=trials), Rescoring(threshold=1.0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("treshold=3", r"rescore\.treshold: no such criterion .*threshold"),
        ("candidates=3", r"rescore\.candidates: no such criterion .* run the audit again"),
        ("threshold=-1", r"rescore\.threshold: got '-1', input should be greater than 0"),
        ("alpha", r"rescore\.alpha: got ''"),
        ("alpha=nan", r"rescore\.alpha: got 'nan'"),
        ("margin=many", r"rescore\.margin: got 'many'"),
    ],
)
def test_what_is_no_criterion_is_told(given, told):
    with pytest.raises(UsageError, match=told):
        rescoring([given])


def test_the_command_writes_beside_the_report(found, tmp_path, capsys):
    found.save(tmp_path / "results")
    stored = next(Store(tmp_path / "results").records())
    with pytest.raises(SystemExit) as ended:
        main(
            [
                *("report", str(tmp_path / "results"), "--rescore", "threshold=80", "--rescore", "margin=4", "--redacted"),
                *("--csv", str(tmp_path / "table.csv"), "--markdown", str(tmp_path / "report.md")),
            ]
        )
    assert not ended.value.code
    page = (tmp_path / "results" / "rescored-redacted.html").read_text()
    assert "threshold 80 dB in place of 20 dB" in page
    assert "data:image/png" not in page
    assert "80 dB in place of" in (tmp_path / "report.md").read_text()
    assert "partial leak" in (tmp_path / "table.csv").read_text()
    assert next(Store(tmp_path / "results").records()) == stored, "the record itself is what it was"
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["report", str(tmp_path / "results"), "--rescore", "power=2"])
    assert ended.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
