"""Files from outside: a short run of the fuzzers of `python -m benchmarks foreign`, and what they once found."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from samples import SETTING, images, record, trial

from benchmarks.foreign import KINDS, fuzzed
from leakgauge.auditing.record import ATTACK
from leakgauge.core.errors import UsageError
from leakgauge.core.reading import read_yaml
from leakgauge.core.snapshots import snapshot
from leakgauge.data.arrays import Npz
from leakgauge.results.folder import RECORD, TENSORS
from leakgauge.results.gate import load_policy
from leakgauge.results.soundness import faults
from leakgauge.results.store import Store


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_from_outside_raises_anything_but_one_line(kind):
    found = fuzzed(kind, 120)
    assert not found["crashed"], found["first crash"]
    assert found["refused"] > 20
    assert found["slowest, s"] < 5


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a: !!timestamp 2024-13-01", "has the tag"),
        ("a: !!python/object/apply:os.getcwd []", "has the tag"),
        ("a: !!bool maybe", "no YAML"),
        ("a: &a [*a]", "holds itself"),
        ("[" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "no YAML"),
    ],
)
def test_yaml_that_is_none_is_told(text, told, tmp_path):
    with pytest.raises(UsageError, match=told):
        read_yaml(text, "file")
    (tmp_path / "policy.yaml").write_text(text)
    with pytest.raises(UsageError, match=told):
        load_policy(tmp_path / "policy.yaml")


@pytest.mark.parametrize("how", ["[{}]", "{{<<: [{}]}}"])
def test_a_document_that_unfolds_is_refused_before_it_does(how):
    bomb = "a: &a {k: 1}\n" + "".join(
        f"{chr(98 + i)}: &{chr(98 + i)} {how.format(','.join([f'*{chr(97 + i)}'] * 9))}\n" for i in range(12)
    )
    with pytest.raises(UsageError, match="unfolds to more than"):
        read_yaml(bomb, "file")


def npz(path, **arrays):
    np.savez_compressed(path, **arrays)
    return str(path)


def test_a_label_gone_astray_makes_no_millions_of_classes(tmp_path):
    path = npz(tmp_path / "set.npz", x=np.zeros((2, 4, 4, 3), np.uint8), y=np.array([0, 20_000_000]))
    with pytest.raises(UsageError, match="20,000,001 classes"):
        Npz(path=path).load()


def test_an_array_that_is_not_as_large_as_it_says_is_refused(tmp_path):
    path = tmp_path / "set.npz"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (10**9, 32, 32, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", header.getvalue() + b"\0" * 100)
        archive.writestr("y.npy", header.getvalue())
    for read in (lambda: Npz(path=str(path)).load(), lambda: snapshot("weights", path)):
        with pytest.raises(UsageError, match="says it is 3,072,000,000,000 bytes long"):
            read()


def test_an_archive_that_unpacks_to_far_more_than_it_is_is_refused(tmp_path):
    path = npz(tmp_path / "set.npz", x=np.zeros((30_000, 64, 64, 1), np.uint8), y=np.zeros(30_000, np.int64))
    with pytest.raises(UsageError, match="more than 200 times the size of its file"):
        Npz(path=path).load()


def test_pictures_that_compress_well_are_read(tmp_path):
    path = npz(tmp_path / "set.npz", x=np.zeros((1000, 32, 32, 1), np.uint8), y=np.zeros(1000, np.int64))
    assert len(Npz(path=path).load()) == 1000


UNSOUND = {
    "scores": lambda one: replace(one, trials={**one.trials, ATTACK: trial((30.0,))}),
    "ranks": lambda one: replace(one, trials={**one.trials, ATTACK: trial(ranks=(1, 2, 3))}),
    "ranks from 1": lambda one: replace(one, trials={**one.trials, ATTACK: trial(ranks=(0, 2))}),
    "bars": lambda one: replace(one, trials={**one.trials, ATTACK: replace(trial(), bars={"psnr": (20.0,)})}),
    "rivals": lambda one: replace(one, trials={**one.trials, ATTACK: replace(trial(), rivals={"psnr": ()})}),
    "a trial of no name": lambda one: replace(one, trials={**one.trials, "attak": trial()}),
    "no attack": lambda one: replace(one, trials={}),
    "no setting": lambda one: replace(one, setting=None),
    "class names": lambda one: replace(one, setting=replace(SETTING, class_names=("cat",))),
    "no side": lambda one: replace(one, setting=replace(SETTING, input_shape=())),
    "a negative side": lambda one: replace(one, setting=replace(SETTING, input_shape=(1, -4, 4))),
    "millions of examples": lambda one: replace(one, setting=replace(SETTING, examples=10**9)),
}


@pytest.mark.parametrize("change", UNSOUND.values(), ids=UNSOUND)
def test_a_record_whose_parts_do_not_fit_is_no_record(tmp_path, change):
    assert not list(faults(record()))
    assert list(faults(change(record())))
    store = Store(tmp_path)
    store.save(change(record("a1")))
    with pytest.raises(UsageError, match=r"cannot be read .* expected what an audit wrote") as told:
        store.load("a1")
    assert "\n" not in str(told.value)


SHAPE = (2, 1, 4, 4)
MISFITS = {
    "another count": {"truth": np.zeros((3, 1, 4, 4), np.float32), "guess.attack": np.zeros(SHAPE, np.float32)},
    "another size": {"truth": np.zeros((2, 1, 5, 4), np.float32), "guess.attack": np.zeros(SHAPE, np.float32)},
    "another type": {"truth": np.zeros(SHAPE, np.float64), "guess.attack": np.zeros(SHAPE, np.float32)},
    "of no trial": {"guess.attack": np.zeros(SHAPE, np.float32), "guess.other": np.zeros(SHAPE, np.float32)},
    "another name": {"guess.attack": np.zeros(SHAPE, np.float32), "picture": np.zeros(SHAPE, np.float32)},
    "no guess": {"truth": np.zeros(SHAPE, np.float32)},
}


@pytest.mark.parametrize("tensors", MISFITS.values(), ids=MISFITS)
def test_images_that_do_not_fit_their_record_are_told(tmp_path, tensors):
    store = Store(tmp_path)
    store.save(record("a1"), images())
    assert set(store.images("a1")) == {"truth", *(f"guess.{name}" for name in record().trials)}
    save_file(tensors, tmp_path / "a1" / TENSORS)
    with pytest.raises(UsageError, match=r"cannot be read .* expected what an audit wrote"):
        store.images("a1")
    with pytest.raises(UsageError):
        store.has("a1")


def test_a_record_with_a_bool_where_a_list_is_due_is_told(tmp_path):
    store = Store(tmp_path)
    store.save(record("a1"), images())
    path = tmp_path / "a1" / RECORD
    document = json.loads(path.read_text())
    document["trials"]["attack"]["scores"]["psnr"] = True
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=r"scores\.psnr"):
        store.load("a1")


def test_reading_weights_runs_no_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("owned",)

    torch.save({"a": Evil()}, tmp_path / "w.pt")
    with pytest.raises(UsageError, match="code that a file brings along is not run"):
        snapshot("weights", tmp_path / "w.pt")
