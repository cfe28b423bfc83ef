"""Audits as runs of MLflow: what is logged, once, and nothing that is private."""

import sys
from dataclasses import replace

import pytest
from samples import SETTING, failed, record, trial

from leakgauge.auditing.record import ATTACK, FLOOR
from leakgauge.cli import main
from leakgauge.core.errors import MissingExtra, UsageError
from leakgauge.report.tracking import track
from leakgauge.results.store import Store

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SADeprecationWarning")
RECORDS = (
    replace(
        record(
            "a1", name="one", attack=trial((31.5, 12.25), (1, 40), 0.5), setting=replace(SETTING, class_names=("melanoma", "nevus"))
        ),
        spec={
            "data": {"name": "npz", "path": "/home/alice/skin.npz"},
            "attack": {"name": "dlg", "steps": 5},
            "defenses": [],
            "seed": 3,
        },
    ),
    replace(failed("b2"), error="Traceback of /home/alice", name="two"),
)


@pytest.fixture(scope="module")
def uri(tmp_path_factory):
    return f"sqlite:///{tmp_path_factory.mktemp('mlflow') / 'mlflow.db'}"


@pytest.fixture(scope="module")
def runs(uri):
    from mlflow import MlflowClient

    assert track(RECORDS[:1], uri, experiment="audits") == (1, 0)
    assert track(RECORDS, uri, experiment="audits") == (1, 1)
    client = MlflowClient(tracking_uri=uri)
    number = client.get_experiment_by_name("audits").experiment_id
    return {run.data.tags["leakgauge.key"]: run for run in client.search_runs([number])}


def test_every_audit_is_a_run_once(runs):
    assert set(runs) == {"a1", "b2"}
    assert runs["a1"].info.run_name == "one"
    assert [runs[key].info.status for key in ("a1", "b2")] == ["FINISHED", "FAILED"]


def test_a_run_has_the_numbers_of_its_audit(runs):
    metrics, one = runs["a1"].data.metrics, RECORDS[0]
    assert metrics["psnr"] == pytest.approx((31.5 + 12.25) / 2)
    assert metrics["floor/psnr"] == pytest.approx(sum(one.trials[FLOOR].scores["psnr"]) / 2)
    assert metrics["recovered_share"] == 0.5
    assert metrics["identified_share"] == 0.5
    assert metrics["label_accuracy"] == one.trials[ATTACK].label_accuracy
    assert metrics["seconds"] == one.seconds
    assert "psnr" not in runs["b2"].data.metrics


def test_a_run_has_the_settings_and_the_verdict_of_its_audit(runs):
    parameters, tags = runs["a1"].data.params, runs["a1"].data.tags
    assert parameters["attack"] == "dlg"
    assert parameters["attack.steps"] == "5"
    assert parameters["defenses"] == "none"
    assert parameters["setting.threat"] == "informed"
    assert tags["leakgauge.verdict"] == "leaks"
    assert tags["leakgauge.reason"] == "Because."


def test_a_run_has_nothing_private(runs):
    for run in runs.values():
        assert not [word for word in ("alice", "melanoma", "nevus", "Traceback") if word in repr(run.data.to_dictionary())]
    assert runs["a1"].data.params["data.path"] == "skin.npz"


def test_the_command_says_what_it_did(uri, tmp_path, capsys):
    Store(tmp_path / "results").save(RECORDS[1])
    with pytest.raises(SystemExit) as ended:
        main(["log", str(tmp_path / "results"), "--mlflow", uri, "--experiment", "other"])
    assert not ended.value.code
    assert "Logged: 1 audits, 0 were there already" in capsys.readouterr().out


@pytest.mark.parametrize("where", ["http://127.0.0.1:9", "nowhere://x", "sqlite:////proc/none/mlflow.db"])
def test_what_cannot_be_reached_is_told_in_one_line(where, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(UsageError, match="mlflow: ") as told:
        track(RECORDS, where, experiment="audits")
    assert "\n" not in str(told.value)


def test_without_mlflow_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtra, match=r"leakgauge\[mlflow\]"):
        track(RECORDS, "sqlite:///x.db", experiment="audits")
