"""Captures that are none: whatever stands in the files, there is a capture, its model and its update, or one line; and quickly."""

from __future__ import annotations

import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown
from leakgauge import capture
from leakgauge.capture.files import MANIFEST, SENT, TRUTH
from leakgauge.capture.manifest import made
from leakgauge.core.adopting import adopted
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Batch, Inputs, Model, Update

COUNT = 100_000
_TOKENS = (b"null", b"1e999", b"-1", b"{}", b"[]", b'"', b"\\u0000", b"NaN", b"99999999999999999999", b"F64", b"I8", b"[[", b"\xff")


def run(settings: Settings, results: Results) -> Shown:
    """Read captures of which one file was changed at random; `--images` times."""
    count = settings.images or COUNT
    row = results.row("fuzzing", {"captures": count}, lambda: fuzzed(count))
    return Shown(
        f"{count:,} captures, one file of each changed at random",
        [row],
        {name: name for name in ("captures", "read", "refused", "crashed", "longest line", "slowest, ms", "peak, MB more")},
        [f"{row['crashed']} of {count:,} raised anything but one line of bad input (goal: 0)"],
    )


def fuzzed(count: int) -> dict[str, float]:
    """What came of so many."""
    rng, ended, slowest, longest = random.Random(0), Counter[str](), 0.0, 0
    with tempfile.TemporaryDirectory() as where:
        manifest = made(
            kind="weights", round=3, client="a", examples=2, learning_rate=0.1, metrics={"loss": 1.5}, config={"lr": [1, "x"]}
        )
        net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9, 4), torch.nn.BatchNorm1d(4))
        model = adopted(net, Inputs((1, 3, 3), 4), torch.nn.functional.cross_entropy)
        before = {**model.params, **model.buffers}
        sent = {name: value + 1 for name, value in before.items()} | {"1.bias": model.params["1.bias"].half() + 1}
        folder = capture.write(where, manifest, sent, before, Batch(torch.rand(2, 1, 3, 3), torch.arange(2)))
        _taken(folder, model)  # as it was written, it is one
        whole = {path: path.read_bytes() for path in (folder / MANIFEST, folder / SENT, folder / TRUTH)}
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(count):
            path = rng.choice(list(whole))
            path.write_bytes(changed(whole[path], rng))
            started = time.perf_counter()
            how, line = outcome(lambda: _taken(folder, model))
            slowest, longest = max(slowest, time.perf_counter() - started), max(longest, len(line))
            ended[how] += 1
            path.write_bytes(whole[path])
        more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
    return {
        **{name: ended[name] for name in ("read", "refused", "crashed")},
        "longest line": longest,
        "slowest, ms": 1e3 * slowest,
        "peak, MB more": more,
    }


def _taken(folder: Path, model: Model) -> Update:
    """Read a capture, as an attack does."""
    found = capture.read(folder)
    return capture.update_of(found, capture.model_before(found, model))


def outcome(read: Callable[[], object]) -> tuple[str, str]:
    try:
        read()
    except UsageError as error:
        line = str(error)
        return ("crashed" if "\n" in line else "refused"), line
    except Exception as error:  # noqa: BLE001  what is counted
        return "crashed", repr(error)
    return "read", ""


def changed(content: bytes, rng: random.Random) -> bytes:
    """A file with one to four changes: bits, bytes, tokens, lengths, pieces repeated or cut out."""
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(found) + 1) if rng.random() < 0.3 else min(rng.randrange(200), len(found))
        match rng.randrange(6):
            case 0 if at < len(found):
                found[at] ^= 1 << rng.randrange(8)
            case 1:
                found[at : at + rng.randrange(4)] = rng.randbytes(rng.randrange(4))
            case 2:
                found[at:at] = rng.choice(_TOKENS)
            case 3:
                found[:8] = rng.choice((0, 2, 2**31, 2**63, 2**64 - 1, len(found))).to_bytes(8, "little")
            case 4:
                found[at:at] = found[max(0, at - 40) : at] * rng.randrange(1, 30)
            case _:
                del found[at : at + rng.randrange(60)]
    return bytes(found)
