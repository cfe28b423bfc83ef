import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path

import pytest
from jobs import job, task
from processes import is_alive, parent_of, until
from samples import failed, images, record

from leakgauge.core.errors import UsageError
from leakgauge.executor import Runtime, attempt, execute
from leakgauge.executor.attempt import context_for, interrupts_held
from leakgauge.results import folder as folder_module
from leakgauge.results.store import Store


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "out")


def run(tasks, store, **runtime):
    events = []
    summary = execute(tasks, store, Runtime(**runtime), listener=events.append, job=job)
    return summary, events


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def test_an_audit_becomes_a_record_in_a_process_of_its_own(store, tmp_path):
    summary, events = run([task("a1", note=tmp_path / "log")], store)
    (made,) = summary.records
    assert (made.key, made.name, made.seed, made.status) == ("a1", "name of a1", 5, "ok")
    assert made.spec == {"note": str(tmp_path / "log")}
    assert made == store.load("a1")
    assert store.images("a1")["truth"].shape == (2, 1, 4, 4)
    assert [(event.kind, event.share) for event in events] == [("started", 0.0), ("progress", 0.5), ("ended", 1.0)]
    assert int(lines(tmp_path / "log")[0].split()[0]) != os.getpid()
    assert [path.name for path in store.root.iterdir()] == ["a1"]


def test_what_is_finished_is_not_run_again(store, tmp_path):
    store.open()
    store.save(record("a1"), images())
    store.save(failed("b2"))
    summary, events = run([task(key, note=tmp_path / key) for key in ("a1", "b2", "b2")], store)
    assert summary.skipped == {"a1"}
    assert [made.status for made in summary.records] == ["ok", "ok"]
    assert [event.kind for event in events if event.task.key == "a1"] == ["skipped"]
    assert (len(lines(tmp_path / "a1")), len(lines(tmp_path / "b2"))) == (0, 1)


def test_a_damaged_audit_is_set_aside_and_run_again(store, caplog):
    store.open()
    store.save(record("a1"), images())
    (store.root / "a1" / "record.json").write_text("{")
    summary, _ = run([task("a1")], store)
    assert summary.records[0].status == "ok"
    assert sorted(path.name for path in store.root.iterdir()) == ["a1", "a1.corrupt-1"]
    assert "set aside" in caplog.text


def test_a_killed_worker_is_started_again(store, tmp_path):
    summary, events = run([task("a1", kill_once=tmp_path / "mark"), task("b2")], store)
    assert [made.status for made in summary.records] == ["ok", "ok"]
    (retried,) = [event for event in events if event.kind == "retried"]
    assert "Killed" in retried.message


@pytest.mark.parametrize(("spec", "words"), [({"kill": None}, "Killed"), ({"leave": 7}, "exit code 7")])
def test_a_worker_that_is_killed_again_is_recorded_and_takes_no_other_with_it(store, tmp_path, spec, words):
    tasks = [task("a1", note=tmp_path / "log", **spec), task("b2", sleep=0.5), task("c3")]
    summary, _ = run(tasks, store, workers=2, retries=1)
    first, *others = summary.records
    assert first.status == "failed"
    assert first.verdict.outcome == "inconclusive"
    assert words in first.error
    assert "After 2 attempts" in first.verdict.reason
    assert len(lines(tmp_path / "log")) == 2
    assert [made.status for made in others] == ["ok", "ok"]


def test_several_processes_share_the_work(store, tmp_path):
    """Three run the same twelve audits into one folder: each audit is run once, and all three know of every record."""
    specs = {f"a{number}": {"note": str(tmp_path / "log"), "sleep": 0.3} for number in range(12)}
    code = (
        "import json, sys; sys.path.insert(0, 'tests')\n"
        "from pathlib import Path\nfrom jobs import job, task\n"
        "from leakgauge.executor import Runtime, execute\nfrom leakgauge.results.store import Store\n"
        "if __name__ == '__main__':\n"
        f"    tasks = [task(key, **spec) for key, spec in json.loads({json.dumps(json.dumps(specs))}).items()]\n"
        f"    summary = execute(tasks, Store(Path({str(store.root)!r})), Runtime(workers=1), job=job)\n"
        "    print(len(summary.records), {one.status for one in summary.records})\n"
    )
    (tmp_path / "driver.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    drivers = [
        subprocess.Popen(
            [sys.executable, tmp_path / "driver.py"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        for _ in range(3)
    ]
    for driver in drivers:
        told, wrong = driver.communicate(timeout=120)
        assert told.strip() == "12 {'ok'}", wrong
    assert len(lines(tmp_path / "log")) == 12
    assert len({line.split()[0] for line in lines(tmp_path / "log")}) == 12
    assert sorted(path.name for path in store.root.iterdir()) == sorted(specs)


def test_what_a_killed_process_had_claimed_is_taken_over(store, tmp_path):
    store.open()
    code = (
        "from pathlib import Path; from leakgauge.results.store import Store\n"
        f"claim = Store(Path({str(store.root)!r})).claim('a1'); print(1, flush=True); input()"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    other.stdout.readline()
    killer = threading.Timer(1.5, other.kill)
    killer.start()
    started = time.monotonic()
    summary, _ = run([task("a1"), task("b2")], store)
    assert time.monotonic() - started > 1.0
    assert [made.status for made in summary.records] == ["ok", "ok"]
    other.wait()
    for stream in (other.stdin, other.stdout):
        stream.close()


def test_what_failed_elsewhere_meanwhile_is_not_run_again(store):
    claim = store.claim("a1") if not store.open() else None
    thread = threading.Timer(0.7, lambda: (store.save(failed("a1")), claim.release()))
    thread.start()
    summary, events = run([task("a1")], store)
    thread.join()
    assert summary.records[0].status == "failed"
    assert [event.kind for event in events] == ["ended"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no server")
@pytest.mark.parametrize("pause", [0.0, 0.3, 2.0])
def test_a_killed_server_of_workers_is_started_again(store, tmp_path, pause):
    """Whenever it is killed: before a worker is started, while one is, and while some run."""
    over = threading.Event()

    def kill():
        for _ in range(3):
            over.wait(pause)
            if (pid := forkserver._forkserver._forkserver_pid) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        tasks = [task(f"a{number}", note=tmp_path / "log", sleep=0.2) for number in range(12)]
        summary, _ = run(tasks, store, workers=2, retries=3)
    finally:
        over.set()
        killer.join()
    assert [made.status for made in summary.records] == ["ok"] * 12
    assert len(store.keys()) == 12
    workers = [int(line.split()[0]) for line in lines(tmp_path / "log")]
    until(lambda: not any(map(is_alive, workers)))


def test_a_server_that_cannot_be_started_is_an_error_of_ours(store, monkeypatch):
    """Not one that reads as an interrupt, which an end of file does to a command line."""
    monkeypatch.setattr(attempt, "_PAUSES", ())
    monkeypatch.setattr(attempt.Attempt, "_launched", lambda *_: (_ for _ in ()).throw(EOFError()))
    with pytest.raises(UsageError, match="no worker can be started"):
        run([task("a1")], store)


def test_no_retries(store, tmp_path):
    run([task("a1", note=tmp_path / "log", kill=None)], store, retries=0)
    assert len(lines(tmp_path / "log")) == 1


def test_an_error_is_recorded_with_its_traceback_and_without_places(store, tmp_path):
    summary, _ = run([task("a1", note=tmp_path / "log", divide=0)], store)
    (made,) = summary.records
    assert made.status == "failed"
    assert made.verdict.reason == "The audit did not finish: ZeroDivisionError: division by zero"
    assert 'File "jobs.py"' in made.error
    assert "ZeroDivisionError" in made.error
    assert str(Path.cwd()) not in made.error
    assert len(lines(tmp_path / "log")) == 1, "an error is no kill: it would only come again"
    assert summary.usage_errors == ()


def test_leaving_politely_is_an_error_too(store):
    summary, _ = run([task("a1", leave_politely=0)], store)
    assert summary.records[0].status == "failed"
    assert "SystemExit" in summary.records[0].error


def test_bad_input_found_while_running_is_one_line_and_told_once(store):
    tasks = [task("a1", misuse="attack: no such thing"), task("b2", misuse="attack: no such thing"), task("c3", out_of_scope="no")]
    summary, _ = run(tasks, store, workers=3)
    assert [made.error for made in summary.records] == ["attack: no such thing"] * 2 + ["no"]
    assert summary.usage_errors == ("attack: no such thing",)


def test_an_audit_that_takes_too_long_is_killed_and_recorded(store):
    summary, _ = run([task("a1", sleep=600)], store, timeout=1.0)
    (made,) = summary.records
    assert made.status == "timed_out"
    assert "after 1 seconds" in made.error
    assert 1.0 <= made.seconds < 60
    assert multiprocessing.active_children() == []


def test_a_worker_has_the_environment_and_the_folder_of_whoever_asks(store, tmp_path, monkeypatch):
    """Also where the server, which it is a fork of, was started under another one."""
    run([task("a1", echo=tmp_path / "before")], store)
    monkeypatch.setenv("LEAKGAUGE_ECHO", "set later")
    monkeypatch.chdir(tmp_path)
    run([task("b2", echo="after")], store)
    assert (lines(tmp_path / "before"), lines(tmp_path / "after")) == (["nothing"], ["set later"])


def test_a_worker_need_not_import_what_takes_seconds(store, tmp_path):
    run([task("a1")], store)  # starts the server, if there is one
    run([task("b2", modules=tmp_path / "modules")], store)
    loaded = lines(tmp_path / "modules")
    assert ("torch" in loaded) == (context_for(Runtime()).get_start_method() == "forkserver")
    assert all(not name.startswith("leakgauge.attacks") for name in loaded), "no family is loaded before it is asked for"


def test_no_more_than_workers_run_at_once(store, tmp_path):
    tasks = [task(key, note=tmp_path / key, sleep=0.5) for key in ("a1", "b2", "c3")]
    _, events = run(tasks, store, workers=2)
    running = most = 0
    for event in events:
        running += (event.kind == "started") - (event.kind == "ended")
        most = max(most, running)
    assert most == 2


def test_workers_share_the_cores():
    cores = len(os.sched_getaffinity(0))
    assert Runtime(workers=1).threads == cores
    assert Runtime(workers=cores).threads == Runtime(workers=1000).threads == 1


def test_a_runtime_has_bounds():
    for bad in ({"workers": 0}, {"timeout": 0.0}, {"retries": -1}):
        with pytest.raises(UsageError, match="Runtime"):
            Runtime(**bad)


def test_nothing_runs_where_nothing_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot write"):
        run([task("a1", note=tmp_path / "log")], Store(tmp_path / "file"))
    assert lines(tmp_path / "log") == []


def test_a_disk_that_fills_up_ends_the_run_and_keeps_what_is_finished(store, tmp_path, monkeypatch):
    """The second audit fails, and the record that says so cannot be written."""
    monkeypatch.setattr(folder_module, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UsageError, match="No space left"):
        run([task("a1"), task("b2", divide=0), task("c3", note=tmp_path / "log")], store)
    assert store.keys() == ["a1"]
    assert lines(tmp_path / "log") == []


@pytest.fixture
def driver(tmp_path):
    """A driver whose first audit is finished and whose second one runs."""
    log = tmp_path / "log"
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    process = subprocess.Popen(
        [sys.executable, "tests/jobs.py", "main", tmp_path / "out", log],
        start_new_session=True,
        stderr=subprocess.PIPE,
        env=environment,
    )
    until(lambda: lines(log))
    yield process
    process.kill()
    process.communicate()


def worker_of(tmp_path):
    return int(lines(tmp_path / "log")[0].split()[0])


def test_threads_of_a_worker_wait_passively(driver, tmp_path):
    """OpenMP reads how when torch is imported: it must stand in what the worker, or the server it is a fork of, began with."""
    began_with = Path(f"/proc/{worker_of(tmp_path)}/environ").read_bytes().split(b"\0")
    assert b"OMP_WAIT_POLICY=PASSIVE" in began_with


def test_workers_die_with_a_killed_driver_and_its_records_stay(driver, store, tmp_path):
    worker = worker_of(tmp_path)
    parent = parent_of(worker)  # the server, where there is one
    assert is_alive(worker)
    driver.send_signal(signal.SIGKILL)
    until(lambda: not is_alive(worker) and not is_alive(parent))
    assert store.keys() == ["a1"]
    summary, _ = run([task("a1"), task("c3")], store)
    assert summary.skipped == {"a1"}


@pytest.mark.parametrize("to_all", [True, False], ids=["from the keyboard", "to the driver alone"])
def test_an_interrupt_stops_the_workers_without_a_word(driver, store, tmp_path, to_all):
    worker = worker_of(tmp_path)
    (os.killpg if to_all else os.kill)(driver.pid, signal.SIGINT)
    _, told = driver.communicate(timeout=20)
    assert driver.returncode == 130
    assert told == b""
    assert not is_alive(worker)
    assert store.keys() == ["a1"]
    assert len(lines(tmp_path / "log")) == 1


def interrupt_another_thread():
    """As the system may do: it picks any thread that does not block the signal."""
    thread = threading.Thread(target=lambda: signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT}) or time.sleep(0.2))
    thread.start()
    time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGINT)
    thread.join()


def test_an_interrupt_while_a_worker_starts_waits_until_it_is_accounted_for():
    before = signal.getsignal(signal.SIGINT)
    reached = []

    def start():
        with interrupts_held():
            interrupt_another_thread()
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        start()
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is before
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_device_that_is_not_there_is_told_before_any_work(store, tmp_path):
    for bad in ("gpu", "cuda:99"):
        with pytest.raises(UsageError, match=f"device: got '{bad}'"):
            run([task("a1", note=tmp_path / "log")], store, device=bad)
    assert lines(tmp_path / "log") == []
    assert not store.root.exists()
