"""The example app under Flower's own programs: `flwr run` on a simulation, and on a SuperLink with two SuperNodes."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from leakgauge import capture
from leakgauge.captured import Given, attack
from leakgauge.cli import main
from leakgauge.data.photographs import Photographs

pytest.importorskip("flwr.app")

PROGRAMS = Path(sys.executable).parent
OFFLINE = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
AUDIT = "{then: block, threat: adaptive, policy: {inconclusive: allow}, attack: {name: idlg, search: {name: lbfgs, steps: 40}}}"


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture
def app(tmp_path, monkeypatch):
    """The folder of the example, as a user gets it; modules of other tests' folders are not in the way."""
    with pytest.raises(SystemExit) as ended:
        main(["example", "flower", str(tmp_path / "app")])
    assert not ended.value.code
    monkeypatch.chdir(tmp_path / "app")
    monkeypatch.syspath_prepend(tmp_path / "app")
    for name in [name for name in sys.modules if name.partition(".")[0] == "leakapp"]:
        monkeypatch.delitem(sys.modules, name)
    return tmp_path / "app"


@pytest.fixture
def flower(app, tmp_path, request):
    """A way to run `flwr` against a federation of two nodes, which ends with the test."""
    link, control, *nodes = free_ports(4)
    home = tmp_path / "flower"
    home.mkdir()
    (home / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{link}"\ninsecure = true\n'
    )
    environment = os.environ | OFFLINE | {"FLWR_HOME": str(home), "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"}
    started = []

    def start(*command):
        with (home / f"{len(started)}.log").open("w") as file:
            started.append(subprocess.Popen(command, cwd=app, env=environment, stdout=file, stderr=file, start_new_session=True))

    def flwr(*arguments):
        return subprocess.run(["flwr", *arguments], cwd=app, env=environment, capture_output=True, text=True, timeout=400)

    is_simulated = request.param == "simulation"
    address = ("--host", "127.0.0.1", "--port", str(link), "--control-api-address", f"127.0.0.1:{control}")
    start("flower-superlink", "--insecure", *address, *(["--simulation"] if is_simulated else []))
    if not is_simulated:
        for place, port in enumerate(nodes):
            given = ("--host", "127.0.0.1", "--port", str(port), "--node-config", f"partition-id={place} num-partitions=2")
            start("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{link}", *given)
    try:
        _wait_for(flwr)
        yield flwr
    finally:
        for process in started:
            os.killpg(process.pid, 9)
            process.wait()


def _wait_for(flwr):
    for _ in range(60):
        if flwr("ls", "--format", "json").returncode == 0:
            return
        time.sleep(0.5)
    pytest.fail("the SuperLink does not answer")


@pytest.mark.parametrize("flower", ["simulation", "deployment"], indirect=True)
def test_an_image_comes_back_from_a_real_run_unless_its_audit_holds_it_back(app, flower):
    ran = flower("run", ".", "--stream", "-c", "audit='{every: 0}'")
    assert statuses(flower) == ["finished:completed"], ran.stdout + ran.stderr
    found = [capture.read(path) for path in capture.find("captures")]
    assert sorted(one.manifest.round for one in found) == [1, 1, 2, 2]
    how = {"name": "idlg", "restarts": 2}
    result = attack(found[0], Given(model="leakapp.task:Net", shape=(3, 16, 16), attack=how, device="cpu"))
    assert result.verdict.outcome == "not judged"
    secrets = Photographs(size=16).load().x[:2]
    errors = (result.reconstruction.clamp(0, 1) - secrets).square().flatten(1).mean(dim=1)
    assert float(errors.min()) <= 0.01  # 20 dB

    ran = flower("run", ".", "--stream", "-c", f"audit='{AUDIT}'", "-c", "captures='held'", "-c", "num-server-rounds=1")
    assert not Path("held").exists(), ran.stdout + ran.stderr
    assert ran.stdout.count("the update was held back, its audit does not pass") == 2


def statuses(flower):
    return [one["status"] for one in json.loads(flower("ls", "--format", "json").stdout)["runs"]]
