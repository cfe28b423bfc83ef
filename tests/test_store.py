import csv
import errno
import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from samples import failed, images, record

from leakgauge.core.errors import UsageError
from leakgauge.report import write_report
from leakgauge.results import folder as module
from leakgauge.results import locks
from leakgauge.results.folder import RECORD, TENSORS, record_schema
from leakgauge.results.locks import holding, take
from leakgauge.results.store import Store
from leakgauge.results.table import write_csv


@pytest.fixture
def store(tmp_path):
    made = Store(tmp_path / "out")
    made.open()
    return made


def names(store):
    return sorted(path.name for path in store.root.iterdir())


def test_a_record_and_its_images_come_back_as_they_were(store):
    store.save(record(), images())
    assert store.load("0123abcd") == record()
    read = store.images("0123abcd")
    assert sorted(read) == ["guess.attack", "guess.blind", "guess.floor", "guess.positive control", "truth"]
    np.testing.assert_array_equal(read["truth"], images().truth.values)
    np.testing.assert_array_equal(read["guess.attack"], images().guesses["attack"].values)


def test_nothing_but_the_audit_is_left(store):
    store.save(record(), images())
    assert names(store) == ["0123abcd"]
    assert sorted(path.name for path in (store.root / "0123abcd").iterdir()) == [RECORD, TENSORS]


def test_numbers_that_are_none_are_null(store):
    trials = dict(record().trials)
    trials["attack"] = replace(trials["attack"], loss_at_truth=float("nan"))
    store.save(record(trials=trials), images())
    text = (store.root / "0123abcd" / RECORD).read_text()
    json.loads(text, parse_constant=pytest.fail)
    assert store.load("0123abcd").trials["attack"].loss_at_truth is None


def test_the_schema_describes_what_is_written(store):
    jsonschema.Draft202012Validator.check_schema(record_schema())
    for key, made in {"a1": record("a1"), "b2": failed("b2")}.items():
        store.save(made)
        jsonschema.validate(json.loads((store.root / key / RECORD).read_text()), record_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"key": "a1"}, record_schema())


def test_keys_pass_over_what_is_no_audit(store):
    store.save(record("b2"), images())
    store.save(record("a1"), images())
    (store.root / "report.html").write_text("x")
    (store.root / "notes").mkdir()
    (store.root / ".partial-c3-1-x").mkdir()
    (store.root / ".partial-c3-1-x" / RECORD).write_text("{")
    assert store.keys() == ["a1", "b2"]
    assert [read.key for read in store.records()] == ["a1", "b2"]


def test_what_is_equal_in_many_records_is_there_once(store):
    specs = [{"attack": {"name": "dlg", "steps": steps}, "seed": 1} for steps in (5, 5, 5.0, True)]
    for number, spec in enumerate(specs):
        store.save(failed(f"a{number}"))
        store.save(replace(record(f"b{number}"), spec=spec), images())
    found = {one.key: one for one in store.records()}
    assert [found[f"b{number}"].spec for number in range(4)] == specs
    assert [type(found[f"b{number}"].spec["attack"]["steps"]) for number in range(4)] == [int, int, float, bool]
    attacks = [found[f"b{number}"].spec["attack"] for number in range(4)]
    assert attacks[0] is attacks[1]
    assert len({id(one) for one in attacks}) == 3


@pytest.mark.parametrize(
    ("made", "done"),
    [
        (record(), True),
        (record(status="diverged"), True),
        (record(status="out_of_scope"), True),
        (failed(), False),
        (failed(status="timed_out"), False),
    ],
)
def test_failures_are_not_finished(store, made, done):
    assert not store.has(made.key)
    store.save(made)
    assert store.has(made.key) is done


def test_a_finished_audit_stays_and_a_failed_one_is_replaced(store):
    store.save(failed())
    store.save(record(name="second"), images())
    store.save(record(name="third"), images())
    store.save(failed())
    assert store.load("0123abcd").name == "second"
    assert names(store) == ["0123abcd"]


def damage_json(folder):
    (folder / RECORD).write_bytes((folder / RECORD).read_bytes()[:100])


def damage_tensors(folder):
    (folder / TENSORS).write_bytes((folder / TENSORS).read_bytes()[:-5])


def lose_json(folder):
    (folder / RECORD).unlink()


def lose_tensors(folder):
    (folder / TENSORS).unlink()


def other_version(folder):
    (folder / RECORD).write_text((folder / RECORD).read_text().replace('"schema_version": 1', '"schema_version": 2'))


def other_name(folder):
    (folder / RECORD).write_text((folder / RECORD).read_text().replace("0123abcd", "ffff"))


@pytest.mark.parametrize("damage", [damage_json, damage_tensors, lose_json, lose_tensors, other_version, other_name])
def test_damage_is_told_and_set_aside(store, damage):
    store.save(record(), images())
    damage(store.root / "0123abcd")
    with pytest.raises(UsageError, match="0123abcd") as told:
        store.has("0123abcd")
    assert "\n" not in str(told.value)
    assert store.keys() == ["0123abcd"]
    assert store.set_aside("0123abcd").name == "0123abcd.corrupt-1"
    assert store.keys() == []
    assert not store.has("0123abcd")


def test_damaged_audits_are_numbered(store):
    for number in (1, 2):
        store.save(record(), images())
        damage_json(store.root / "0123abcd")
        assert store.set_aside("0123abcd").name == f"0123abcd.corrupt-{number}"


def test_a_damaged_audit_is_replaced_by_a_whole_one(store):
    store.save(record(), images())
    damage_tensors(store.root / "0123abcd")
    store.save(record(name="new"), images())
    assert store.load("0123abcd").name == "new"


def test_a_full_disk_leaves_no_part_and_keeps_what_is_finished(store, monkeypatch):
    store.save(record("a1"), images())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for writer in ("write_bytes", "save_file", "sync"):
        with monkeypatch.context() as patched:
            patched.setattr(module, writer, full)
            with pytest.raises(UsageError, match=r"No space left on device.*make room"):
                store.save(record("b2"), images())
    assert names(store) == ["a1"]
    assert store.has("a1")


def test_an_output_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UsageError, match="out: cannot write to"):
            Store(root).open()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_output_is_told(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UsageError, match="Permission denied"):
        Store(tmp_path).open()


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(UsageError, match="run an audit first"):
        Store(tmp_path / "none").keys()


def test_writers_at_once_never_mix(store):
    """Many writers of one key, each with its own number in record and images: what stands is one writer's, whole."""
    made = [(record(seed=seed), images(seed)) for seed in range(8)]
    barrier = threading.Barrier(len(made))

    def write(pair):
        barrier.wait()
        store.save(failed())
        store.save(*pair)

    threads = [threading.Thread(target=write, args=(pair,)) for pair in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seed = store.load("0123abcd").seed
    np.testing.assert_array_equal(store.images("0123abcd")["truth"], images(seed).truth.values)
    assert names(store) == ["0123abcd"]


def test_discarding_what_a_killed_process_left(store):
    for name in (".partial-a1-7-x", ".partial-a1-77-x", ".partial-b2-7-x"):
        (store.root / name).mkdir()
    store.discard_partial("a1", 7)
    assert names(store) == [".partial-a1-77-x", ".partial-b2-7-x"]


@pytest.mark.parametrize("age", [-7200, 0, 7200, 10**8])
def test_opening_removes_what_the_dead_left_and_nothing_of_the_living(store, age):
    """Whatever the clocks say, of whichever machine."""
    dead, living = ".partial-a1-7-x", ".partial-b2-7-x"
    for name in (dead, living):
        (store.root / name).mkdir()
        (store.root / f"{name}.lock").touch()
    (store.root / ".claim-c3.lock").touch()
    claimed = store.claim("d4")
    with holding(store.root / living):
        for name in (dead, living):
            os.utime(store.root / name, (time.time() - age,) * 2)
        store.open()
        assert names(store) == [".claim-d4.lock", living, f"{living}.lock"]
    store.open()
    assert names(store) == [".claim-d4.lock"]
    claimed.release()
    assert names(store) == []


def test_a_lock_is_one_s_own_and_given_back(tmp_path):
    first = take(tmp_path / "a.lock")
    assert take(tmp_path / "a.lock") is None
    first.release()
    again = take(tmp_path / "a.lock")
    assert again is not None
    again.release()
    assert not list(tmp_path.iterdir())


def test_who_clears_up_does_not_take_a_lock_away(tmp_path):
    """The file of a lock is there before it is locked: who finds it then and takes it gives it back."""
    cleaner = take(tmp_path / "a.lock")
    timer = threading.Timer(0.1, cleaner.release)
    timer.start()
    with holding(tmp_path / "a"):
        assert take(tmp_path / "a.lock") is None, "it is held, and not merely hoped for"
    timer.join()
    assert not list(tmp_path.iterdir())


def test_a_killed_process_gives_its_lock_back(tmp_path):
    code = (
        "from pathlib import Path; from leakgauge.results.locks import take\n"
        f"lock = take(Path({str(tmp_path / 'a.lock')!r})); print(1, flush=True); input()"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    assert take(tmp_path / "a.lock") is None
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        stream.close()
    lock = take(tmp_path / "a.lock")
    assert lock is not None
    lock.release()


def test_where_there_are_no_locks_everyone_may_and_nothing_is_cleared(store, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(locks.fcntl, "flock", none)
    (store.root / ".partial-a1-7-x").mkdir()
    store.open()
    assert ".partial-a1-7-x" in names(store), "its writer may be alive"
    store.save(record(), images())
    assert store.has("0123abcd")
    assert store.claim("a1") is not None
    store.discard_partial("a1", 7)
    assert ".partial-a1-7-x" not in names(store)


def test_what_is_replaced_while_it_is_read_is_not_damaged(store):
    """Two write a failed audit again and again, two read it: nobody sees damage, nothing is set aside, nothing is gone."""
    store.save(failed())
    over, told = threading.Event(), []

    def write(number):
        while not over.is_set():
            store.save(replace(failed(), seed=number))

    def read():
        while not over.is_set():
            try:
                assert not store.has("0123abcd")
                assert store.load("0123abcd").status == "failed"
                store.open()
            except UsageError as error:
                told.append(str(error))
                store.set_aside("0123abcd")

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)] + [
        threading.Thread(target=read) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    time.sleep(4)
    over.set()
    for thread in threads:
        thread.join()
    assert not told
    assert names(store) == ["0123abcd"]


def test_what_was_replaced_by_a_whole_one_is_not_set_aside(store, caplog):
    store.save(record(), images())
    assert store.set_aside("0123abcd") is None
    assert store.has("0123abcd")
    assert names(store) == ["0123abcd"]
    assert store.set_aside("none") is None
    assert "set aside" not in caplog.text


def test_csv_has_a_row_per_trial_and_example(store, tmp_path):
    store.save(record("a1"), images())
    store.save(failed("b2"))
    rows = table(store, tmp_path)
    assert len(rows) == 4 * 2 + 1
    assert rows[1]["key"] == "a1"
    assert (rows[1]["trial"], rows[1]["example"], rows[1]["psnr"], rows[1]["rank"]) == ("attack", "1", "12.0", "40")
    assert (rows[-1]["key"], rows[-1]["status"], rows[-1]["psnr"]) == ("b2", "failed", "")


def table(store, folder):
    write_csv(list(store.records()), folder / "all.csv")
    with (folder / "all.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_has_what_varies_and_the_defenses_in_one_column(store, tmp_path):
    spec = {"seed": 0, "attack": {"name": "dlg", "steps": 5}, "data": "faces", "defenses": []}
    store.save(record("a1", spec=spec), images())
    noise, pruning = {"name": "gaussian_noise", "sigma": 0.1}, {"name": "pruning", "share": 0.9}
    store.save(record("b2", spec={**spec, "attack": {"name": "dlg", "steps": 7}, "defenses": [noise, pruning]}), images())
    first, *_, last = table(store, tmp_path)
    assert (first["spec.attack.steps"], last["spec.attack.steps"]) == ("5", "7")
    assert (first["defenses"], last["defenses"]) == ("none", "gaussian_noise(sigma=0.1), pruning(share=0.9)")
    assert last["spec.defenses.1.share"] == "0.9"
    assert not {"spec.seed", "spec.data", "spec.attack.name"} & first.keys()


def test_reading_imports_no_torch(store):
    store.save(record(), images())
    code = (
        "import sys; from pathlib import Path; from leakgauge.results.store import Store\n"
        f"store = Store(Path({str(store.root)!r})); list(store.records()); store.images('0123abcd')\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.skipif(sys.platform == "win32", reason="has other rights")
@pytest.mark.parametrize("mask", [0o022, 0o000, 0o077])
def test_results_are_their_owner_s_alone(tmp_path, mask):
    (tmp_path / "there").mkdir(0o755)
    old = os.umask(mask)
    try:
        for root in (tmp_path / "made", tmp_path / "there"):
            (tmp_path / "there" / "report.html").write_text("of a version that did not care")
            store = Store(root)
            store.open()
            store.save(record(), images())
            write_report(root)
            shown = write_report(root, is_redacted=True)
            for path in (root / "0123abcd", root / "report.html", root / "audit.json"):
                assert path.stat().st_mode & 0o077 == 0, path
            assert shown.stat().st_mode & 0o777 == 0o666 & ~mask, "a redacted report is for others"
    finally:
        os.umask(old)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    assert (tmp_path / "there").stat().st_mode & 0o777 == 0o755, "a folder of the user's is left as it is"
