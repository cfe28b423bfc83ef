import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from processes import is_alive, until
from samples import failed, images, record

from leakgauge import cli
from leakgauge.cli import main, running
from leakgauge.cli.encoding import tolerate
from leakgauge.core.errors import UsageError
from leakgauge.core.registry import NO_CODE
from leakgauge.results.store import Store

AUDIT = """\
name: faces by hand
data: faces
batch: {size: 1}
victim: mlp
attack: analytic
metrics: {psnr: psnr}
"""
SWEEP = "name: seeds\nbase: audit.yaml\ngrid: {seed: [0, 1]}\n"


@pytest.fixture
def run(capsys):
    """Run the command line in this process: exit code, stdout, stderr."""

    def call(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return left.value.code, told.out, told.err

    return call


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "audit.yaml"
    path.write_text(AUDIT)
    return path


@pytest.fixture
def out(tmp_path):
    """A folder with one audit that leaks."""
    store = Store(tmp_path / "out")
    store.open()
    store.save(record("a1"), images())
    return store.root


@pytest.fixture
def policy(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text("max: {psnr: 20}\n")
    return path


def test_an_audit_runs_is_told_and_is_not_run_twice(run, file, tmp_path, policy):
    out = tmp_path / "out"
    code, told, progress = run("audit", file, "--out", out, "--device", "cpu")
    assert code == 0, "a leak is a finding, not a failure"
    assert told.startswith("Leaks  faces by hand (")
    assert "1 of 1 examples recovered" in told
    assert f"Report: {out / 'report.html'}" in told
    assert (out / "report.html").read_text().startswith("<!")
    assert progress.startswith("1/1 faces by hand: leaks (")
    (key,) = Store(out).keys()
    made = Store(out).load(key)
    assert (made.key, made.name, made.spec["attack"]["name"]) == (key, "faces by hand", "analytic")
    assert set(Store(out).images(key)) >= {"truth", "guess.attack"}

    code, told, progress = run("audit", file, "--out", out, "--gate", policy)
    assert code == 1
    assert progress == "1/1 faces by hand: leaks (finished before)\n"
    assert "Gate: fail" in told


def test_a_sweep_runs_in_parts_and_together(run, file, tmp_path):
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    out = tmp_path / "out"
    code, told, _ = run("sweep", tmp_path / "sweep.yaml", "-o", out, "--shard", "1/2")
    assert code == 0
    assert f"leakgauge report {out}" in told
    assert not (out / "report.html").exists(), "parts that end at the same time would write it together"
    assert len(Store(out).keys()) == 1
    code, told, progress = run("sweep", tmp_path / "sweep.yaml", "-o", out, "--workers", "2")
    assert code == 0
    assert progress.count("finished before") == 1
    assert len(Store(out).keys()) == 2
    assert (out / "report.html").exists()
    assert told.count("leaks") == 2


def test_an_inconclusive_audit_is_exit_code_3(run, file, tmp_path):
    code, told, _ = run("audit", file, "-o", tmp_path / "out", "-s", "victim=lenet", "--gate", "")
    assert code == 2, "an empty path is no policy"
    code, told, _ = run("audit", file, "-o", tmp_path / "out", "-s", "victim=lenet")
    assert code == 3
    assert told.startswith("Inconclusive")
    assert "out_of_scope" in told


def test_an_audit_that_takes_too_long(run, file, tmp_path):
    endless = ["-s", "attack=dlg", "-s", "attack.restarts=100000", "-s", "attack.enough=0"]
    code, told, _ = run("audit", file, "-o", tmp_path / "out", "--timeout", "0.2", *endless)
    assert code == 3
    assert "after 0.2 seconds" in told


def test_bad_input_found_while_running_is_exit_code_2(run, file, tmp_path):
    code, told, errors = run("audit", file, "-o", tmp_path / "out", "-s", "batch.indices=[999]", "-s", "batch.size=null")
    assert code == 2
    assert "error: batch.indices: got 999" in errors
    assert "Traceback" not in told + errors
    (key,) = Store(tmp_path / "out").keys()
    assert Store(tmp_path / "out").load(key).status == "failed"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["audit", "missing.yaml"], "missing.yaml"),
        (["audit", "FILE", "-s", "attack.steps"], "--set: got 'attack.steps', expected key=value"),
        (["audit", "FILE", "-s", "attack=analytik"], "did you mean 'analytic'"),
        (["audit", "FILE", "-s", "atack=dlg"], "atack"),
        (["audit", "FILE", "-o", "FILE"], "out: cannot write"),
        (["audit", "FILE", "--device", "gpu"], "device: got 'gpu'"),
        (["audit", "FILE", "--timeout", "0"], "timeout: got 0"),
        (["audit", "FILE", "--gate", "missing.yaml"], "policy: "),
        (["sweep", "SWEEP", "--workers", "0"], "workers: got 0"),
        (["sweep", "SWEEP", "--shard", "3/2"], "shard: got '3/2'"),
        (["report", "missing"], "run an audit first"),
        (["gate", "missing", "-p", "POLICY"], "run an audit first"),
        (["gate", "EMPTY", "-p", "POLICY"], "holds no audit"),
        (["gate", "EMPTY", "-p", "missing.yaml"], "policy: "),
        (["list", "attak"], "did you mean 'attack'"),
        (["show", "dlgg"], "did you mean 'dlg'"),
        (["show", "attack.nothing_like_it"], "name: nothing is called"),
    ],
)
def test_misuse_is_one_line_and_exit_code_2(run, file, policy, tmp_path, arguments, words):
    (tmp_path / "empty").mkdir()
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    places = {"FILE": file, "POLICY": policy, "EMPTY": tmp_path / "empty", "SWEEP": tmp_path / "sweep.yaml"}
    before = sorted(tmp_path.rglob("*"))
    if arguments[0] in ("audit", "sweep") and "-o" not in arguments:
        arguments = [*arguments, "-o", tmp_path / "out"]
    code, told, errors = run(*(places.get(argument, argument) for argument in arguments))
    assert (code, told) == (2, "")
    assert errors.startswith("error: ")
    assert errors.count("\n") == 1
    assert words in errors
    assert sorted(tmp_path.rglob("*")) == before, "nothing was begun"


@pytest.mark.parametrize("arguments", [["report"], ["audit", "x.yaml", "--no-such"], ["no-such-verb"], ["schema", "--kind", "x"]])
def test_misuse_of_the_command_line_itself_is_exit_code_2(run, arguments):
    assert run(*arguments)[0] == 2


def test_gate_exit_codes(run, out, policy, tmp_path):
    code, told, _ = run("gate", out, "--policy", policy)
    assert code == 1
    assert "psnr is 30, the limit is 20" in told
    policy.write_text("forbid: []\n")
    assert run("gate", out, "-p", policy)[0] == 0
    Store(out).save(failed("b2"))
    code, told, _ = run("gate", out, "-p", policy)
    assert code == 3
    assert "sample (b2)" in told
    policy.write_text("forbid: []\ninconclusive: allow\n")
    assert run("gate", out, "-p", policy)[0] == 0


def test_a_report_with_a_table(run, out, tmp_path):
    code, told, _ = run("report", out, "--csv", tmp_path / "all.csv")
    assert code == 0
    assert f"Report: {out / 'report.html'}" in told
    assert json.loads((out / "audit.json").read_text())["audits"][0]["key"] == "a1"
    with (tmp_path / "all.csv").open(newline="") as rows:
        assert len(list(csv.DictReader(rows))) == 8
    code, _, errors = run("report", out, "--csv", tmp_path / "no" / "all.csv")
    assert code == 2
    assert "all.csv" in errors


def test_damage_is_told_by_report_and_gate(run, out, policy):
    (out / "a1" / "record.json").write_text("{")
    for arguments in (["report", out], ["gate", out, "-p", policy]):
        code, _, errors = run(*arguments)
        assert code == 2
        assert str(out / "a1" / "record.json") in errors
        assert "delete the folder and run the audit again" in errors


def test_list(run):
    code, told, _ = run("list", "search")
    assert code == 0
    assert "lbfgs" in told
    assert "analytic" not in told


def test_show(run):
    code, told, _ = run("show", "idlg")
    assert code == 0
    assert "attack idlg" in told
    assert "labels idlg" in told
    assert "int >= 1" in told
    assert "Needs to be granted: " in told
    code, told, _ = run("show", "labels.idlg")
    assert "attack idlg" not in told


def test_everything_that_is_listed_can_be_shown(run):
    from leakgauge.core.registry import FAMILIES, entries

    for family in FAMILIES:
        for name in entries(family):
            code, told, _ = run("show", f"{family}.{name}")
            assert code == 0
            assert told.startswith(f"{family} {name}")


@pytest.mark.parametrize("kind", ["audit", "record", "report", "policy"])
def test_schemas(run, kind):
    code, told, _ = run("schema", "--kind", kind)
    assert code == 0
    jsonschema.Draft202012Validator.check_schema(json.loads(told))


def test_doctor(run, monkeypatch, tmp_path):
    monkeypatch.setenv("LEAKGAUGE_CACHE", str(tmp_path / "cache"))
    code, told, _ = run("doctor")
    assert code == 0
    assert "can be derived twice" in told.replace("\n", " ")
    assert "photographs" in told


def test_doctor_tells_what_is_broken(run, monkeypatch):
    from leakgauge import doctor

    monkeypatch.setattr(doctor, "examine", lambda: [doctor.Finding("attention", "broken", "no [second] derivative")])
    code, told, _ = run("doctor")
    assert code == 2
    assert "no [second] derivative" in told


def test_version(run):
    code, told, _ = run("--version")
    assert (code, told) == (0, "leakgauge 0.1.0\n")


def test_a_crash_is_no_failed_gate(run, file, monkeypatch):
    monkeypatch.setattr(running, "runtime_for", lambda *_: 1 / 0)
    code, _, errors = run("audit", file)
    assert code == cli.CRASH
    assert "ZeroDivisionError" in errors
    assert "please report it" in errors


def test_a_disk_that_fills_up_is_told(run, file, monkeypatch, tmp_path):
    from leakgauge import executor

    def full(*_, **__):
        raise UsageError("out: No space left on device")

    monkeypatch.setattr(executor, "execute", full)
    code, _, errors = run("audit", file, "-o", tmp_path / "out")
    assert (code, errors) == (2, "error: out: No space left on device\n")


def test_help_is_quick_because_nothing_heavy_is_imported():
    code = (
        "import sys, leakgauge.cli\n"
        "heavy = {'torch', 'pydantic', 'matplotlib', 'numpy', 'yaml', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_gate_needs_no_torch(out, policy):
    code = (
        f"import sys\nfrom leakgauge.cli import main\ntry: main(['gate', {str(out)!r}, '-p', {str(policy)!r}])\n"
        "except SystemExit as left: assert left.code == 1, left.code\nassert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_an_interrupt_is_exit_code_130_and_leaves_no_worker(file, tmp_path):
    settings = ["-s", "attack=dlg", "-s", "attack.restarts=100000"]
    process = subprocess.Popen(
        [sys.executable, "-m", "leakgauge", "audit", file, "-o", tmp_path / "out", *settings],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until(lambda: len(children_of(process.pid)) >= 2)  # the worker, and multiprocessing's own tracker
        children = children_of(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        told, errors = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors == "interrupted: what is finished is kept; resume with the same command\n"
    assert told == ""
    until(lambda: not any(map(is_alive, children)))


def children_of(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in path.read_text().split()] if path.exists() else []


@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "cp437"])
def test_output_has_the_letters_that_there_are(encoding, tmp_path):
    """Windows' consoles, and logs of CI systems: a sign that they lack must not hide what the gate says."""
    (tmp_path / "policy.yaml").write_text("inconclusive: fail\n")
    command = [sys.executable, "-m", "leakgauge"]
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    given = {"cwd": tmp_path, "env": environment, "capture_output": True}
    audited = subprocess.run(
        [*command, "audit", "--gate", "policy.yaml", "--set", "attack.search.steps=2", "--out", "results"], **given
    )
    assert audited.returncode == 1, audited.stderr
    assert "fail" in audited.stdout.decode(encoding).lower()
    for arguments in (["show", "ggl"], ["list"], ["--help"], ["gate", "results", "--policy", "policy.yaml"]):
        assert subprocess.run([*command, *arguments], **given).returncode in (0, 1)


def test_letters_that_an_encoding_lacks_are_written_in_ascii():
    tolerate()
    assert "10⁻³ ≥ Δ − ε é … ☃".encode("ascii", "leakgauge.plain") == b"10-3 >= delta - epsilon e ... ?"
    assert "−1".encode("utf-8", "leakgauge.plain").decode() == "−1"


def test_no_code_is_refused_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(NO_CODE, "")
    (tmp_path / "audit.yaml").write_text(
        "{data: photographs, batch: {size: 1}, victim: mlp, attack: {name: 'pip._internal.cli.main:main'}}"
    )
    with pytest.raises(SystemExit) as ended:
        main(["--no-code", "audit", str(tmp_path / "audit.yaml")])
    assert ended.value.code == 2
    assert "attack: 'pip._internal.cli.main:main': names code" in capsys.readouterr().err
    assert os.environ[NO_CODE] == "1"
