"""Many trainings at once: the same as one by one, found again, and none left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from leakgauge.core.errors import UsageError
from leakgauge.executor import TRAININGS, Runtime, finished, train
from leakgauge.federation import checkpoints
from leakgauge.federation.running import checkpoint, run
from leakgauge.spec import federating

DOCUMENT = {
    "data": {"name": "photographs", "size": 32},
    "victim": {"name": "mlp", "hidden": [8]},
    "client": "fedsgd",
    "clients": 3,
    "rounds": 4,
    "every": 2,
}


def specs(count=3):
    return [federating.parse({**DOCUMENT, "seed": seed}) for seed in range(count)]


def test_several_at_once_are_the_same_as_one_by_one(tmp_path):
    heard = []
    found = train(specs(), tmp_path / "together", Runtime(device="cpu", workers=2), heard.append)
    assert heard == [1, 2, 3]
    for spec, one in zip(specs(), found, strict=True):
        federation, test = federating.prepare(spec)
        state, curve = run(federation, test, 4, every=2, folder=tmp_path / spec.key, made={"federation": spec.key})
        stored, _ = checkpoints.load(tmp_path / "together" / TRAININGS / spec.key / checkpoint(4))
        for name, value in state.params.items():
            torch.testing.assert_close(stored.params[name], value)
        assert [point.accuracy for point in one.curve.points] == [point.accuracy for point in curve.points]
        assert (one.tested, one.sizes) == (len(test), tuple(map(len, federation.shares)))


def test_what_is_finished_is_found_again_and_more_rounds_go_on_from_fewer(tmp_path):
    (spec,) = specs(1)
    longer = federating.parse({**DOCUMENT, "rounds": 6})
    assert spec.key == longer.key
    assert finished(spec, tmp_path) is None
    both = train([longer, spec], tmp_path, Runtime(device="cpu"))
    assert [len(one.curve.points) for one in both] == [3, 2]
    written = (tmp_path / TRAININGS / spec.key / checkpoint(6)).stat().st_mtime_ns
    again = train([longer], tmp_path, Runtime(device="cpu"))
    assert again[0].curve == both[0].curve == finished(longer, tmp_path)
    assert (tmp_path / TRAININGS / spec.key / checkpoint(6)).stat().st_mtime_ns == written


def test_one_that_diverged_has_ended_for_those_that_want_more_rounds_alone(tmp_path):
    wild = {**DOCUMENT, "server": {"name": "sgd", "learning_rate": 1e12}, "every": 50}
    long, short = (federating.parse({**wild, "rounds": rounds}) for rounds in (50, 1))
    (found,) = train([long], tmp_path, Runtime(device="cpu"))
    assert found.curve.status == "diverged"
    assert 1 <= found.curve.over < 50
    assert finished(long, tmp_path) == found.curve
    assert finished(short, tmp_path) is None, "after one round, its weights were numbers"


def test_an_error_of_one_is_told_and_what_others_finished_is_kept(tmp_path):
    sound = federating.parse(DOCUMENT)
    bad = federating.parse({**DOCUMENT, "data": {"name": "npz", "path": "nowhere.npz"}})
    with pytest.raises(UsageError, match=r"nowhere\.npz"):
        train([sound, bad], tmp_path, Runtime(device="cpu"))
    assert finished(sound, tmp_path) is not None
    assert not multiprocessing.active_children()


LONG = """
from pathlib import Path
from leakgauge.executor import Runtime, train
from leakgauge.spec import federating
if __name__ == "__main__":
    specs = [federating.parse({**DOCUMENT, "seed": seed, "rounds": 100_000, "every": 10}) for seed in range(2)]
    train(specs, Path(FOLDER), Runtime(device="cpu", workers=2))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_trainings_do_not_outlive_who_wants_them(tmp_path, how):
    script = tmp_path / "long.py"
    script.write_text(LONG.replace("DOCUMENT", repr(DOCUMENT)).replace("FOLDER", repr(str(tmp_path))))
    with subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL, start_new_session=True) as process:
        try:
            _until(lambda: len(list(tmp_path.glob(f"{TRAININGS}/*/*.safetensors"))) >= 2)
        finally:
            os.kill(process.pid, how)
        assert process.wait(60) != 0
    folders = list((tmp_path / TRAININGS).iterdir())
    time.sleep(1.0)
    before = [sorted(one.iterdir()) for one in folders]
    time.sleep(1.0)
    assert [sorted(one.iterdir()) for one in folders] == before, "nobody goes on"
    for one in folders:
        for file in one.glob("*.safetensors"):
            checkpoints.load(file)  # whole


def _until(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
