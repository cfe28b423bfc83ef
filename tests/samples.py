"""Records and images to test with, made without running an audit."""

from dataclasses import dataclass, replace

import numpy as np

from leakgauge.auditing.record import ATTACK, BLIND, CONTROL, FLOOR, Record, Setting, Trial, Verdict


@dataclass(frozen=True)
class FakeTensor:
    """Just enough of a tensor for the store, so that these tests need no torch."""

    values: np.ndarray

    def detach(self):
        return self

    def numpy(self):
        return self.values


@dataclass(frozen=True)
class FakeImages:
    truth: FakeTensor
    guesses: dict


SETTING = Setting(
    threat="informed",
    granted=("count", "labels"),
    withheld=("defense",),
    examples=2,
    input_shape=(1, 4, 4),
    classes=10,
    class_names=("cat", "dog"),
    parameters=330,
    sent=330,
    client="FedSGD()",
    defenses=(),
    candidates=100,
    least_chance=0.0002,
    threshold=20.0,
    margin=3.0,
)


def trial(psnr=(30.0, 12.0), ranks=(1, 40), label_accuracy=0.5, **changes):
    """A trial whose guesses count as recovered from 20 dB on, and are by chance as near as they are with probability 0.001."""
    made = Trial(
        "DLG()",
        "ok",
        1.5,
        scores={"psnr": psnr, "mse": tuple(None if value is None else 10 ** (-value / 10) for value in psnr)},
        ranks=ranks,
        chance=0.001,
        bars={"psnr": (20.0,) * len(psnr)},
        label_accuracy=label_accuracy,
        losses=(0.1, None),
    )
    return replace(made, **changes)


def record(key="0123abcd", outcome="leaks", attack=None, **changes):
    trials = {
        ATTACK: attack or trial(),
        FLOOR: trial((9.0, 9.5), (50, 60), 0.0, chance=0.5),
        BLIND: trial((11.0, 10.0), (70, 60), 0.0, chance=0.5),
        CONTROL: trial((40.0, 41.0), (1, 1), 1.0),
    }
    made = Record(
        key=key,
        name="sample",
        seed=3,
        status="ok",
        verdict=Verdict(outcome, "Because."),
        setting=SETTING,
        trials=trials,
        seconds=6.5,
        spec={"attack": {"name": "dlg", "steps": 5}, "seed": 3},
        environment={"torch": "0"},
        diagnosis=("A note.",),
    )
    return replace(made, **changes)


def failed(key="0123abcd", status="failed", error="Traceback: boom"):
    verdict = Verdict("inconclusive", "The audit did not finish.")
    return record(key, status=status, verdict=verdict, setting=None, trials={}, error=error)


def images(seed=0):
    rng = np.random.default_rng(seed)
    draw = lambda: FakeTensor(rng.random((2, 1, 4, 4), dtype=np.float32))  # noqa: E731
    return FakeImages(draw(), {ATTACK: draw(), FLOOR: draw(), BLIND: draw(), CONTROL: draw()})
