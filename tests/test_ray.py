"""Sweeps on Ray: workers are killed, the driver is killed, and nothing is lost. Drivers are processes, as a sweep's is."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import until

from leakgauge.results.store import Store

pytest.importorskip("ray")

JOBS = Path(__file__).parent / "jobs.py"
QUIET = {"env": os.environ | {"RAY_USAGE_STATS_ENABLED": "0"}, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def driven(store, tasks, folder):
    (folder / "tasks.json").write_text(json.dumps(tasks, default=str))
    command = [sys.executable, str(JOBS), "tasks", str(store.root), str(folder / "tasks.json")]
    subprocess.run(command, check=True, timeout=200, **QUIET)
    return json.loads((folder / "tasks.found").read_text())


def test_workers_of_ray_may_be_killed(store, tmp_path):
    log = tmp_path / "log"
    tasks = {
        "a1": {"note": log},
        "b2": {"note": log, "kill_parent_once": tmp_path / "killed"},
        "c3": {"note": log, "kill_once": tmp_path / "inner"},
        "d4": {"misuse": "wrong: got 3"},
        "e5": {"kill_parent": None},
        "f6": {"note": log},
    }
    found = driven(store, tasks, tmp_path)
    assert [(key, status) for key, status, _ in found["records"]] == [
        ("a1", "ok"),
        ("b2", "ok"),
        ("c3", "ok"),
        ("d4", "failed"),
        ("e5", "failed"),
        ("f6", "ok"),
    ]
    assert len(log.read_text().splitlines()) == 6  # those that were killed once, twice
    assert found["usage_errors"] == ["wrong: got 3"]
    assert "Ray's worker was lost" in found["records"][4][2]
    assert found["ended"] == list(tasks)
    assert driven(store, {key: tasks[key] for key in ("a1", "b2", "c3")}, tmp_path)["skipped"] == ["a1", "b2", "c3"]


def test_a_driver_that_is_killed_is_gone_on_with(store, tmp_path):
    command = [sys.executable, str(JOBS), "ray", str(store.root), str(tmp_path / "log")]
    driver = subprocess.Popen([*command, "2"], **QUIET)
    until(lambda: store.root.exists() and len(store.keys()) >= 2, 120)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    before = {record.key: record for record in store.records()}
    assert 2 <= len(before) < 8
    subprocess.run([*command, "0"], check=True, timeout=200, **QUIET)
    after = {record.key: record for record in store.records()}
    assert len(after) == 8
    assert {key: after[key] for key in before} == before
