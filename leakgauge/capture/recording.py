"""A capture from plain PyTorch, in two lines around any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from leakgauge.capture.files import private, write
from leakgauge.capture.manifest import Spent, made, plain
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Inputs


@contextmanager
def recording(
    network: nn.Module,
    folder: str | Path,
    *,
    kind: Literal["gradient", "weights"] = "weights",
    examples: int | None = None,
    learning_rate: float | None = None,
    local_steps: int | None = None,
    procedure: Mapping[str, Any] | None = None,
    defenses: Sequence[str | Mapping[str, Any]] | None = None,
    inputs: Inputs | None = None,
    round: int | None = None,
    client: object = "",
    run: str = "",
    metrics: Mapping[str, Any] | None = None,
    opacus: tuple[Any, Any] | None = None,
    truth: tuple[Tensor, Tensor] | None = None,
) -> Iterator[None]:
    """Record what training within the block makes of a network: the weights before it, and after it the weights or the gradients.

    `metrics` is read when the block ends. `opacus` is a PrivacyEngine of Opacus and the optimizer it made: the defense `dp_sgd`
    at its settings, and the ledger of its accountant when the block ends, are recorded. `truth`, the private examples as pixels and
    their classes, is recorded only where it is given: it is what an audit is judged by. A block that raises leaves no capture.
    Raises UsageError for a network whose gradients were asked for and are not there, and as `write` does.
    """
    if kind not in ("gradient", "weights"):
        raise UsageError(
            f"kind: got {kind!r}, expected gradient or weights, which a network holds; compute a delta yourself, and write it"
        )
    if truth is not None and (not isinstance(truth, tuple) or len(truth) != 2):
        raise UsageError(f"truth: got {type(truth).__name__}, expected a pair; pass (pixels, classes)")
    told = list(defenses or ()) if opacus is None else [_dp_sgd(opacus), *(defenses or ())]
    secret = None if truth is None else private(*truth)
    manifest = made(
        kind=kind,
        run=run,
        round=round,
        client=str(client),
        examples=examples,
        learning_rate=learning_rate,
        local_steps=local_steps,
        procedure=None if procedure is None else plain(procedure),
        defenses=tuple(one if isinstance(one, str) else plain(one) for one in told) if told or defenses is not None else None,
        inputs=None if inputs is None else {name: value for name, value in vars(inputs).items() if name != "classes"},
    )
    before = {name: value.detach().clone() for name, value in network.state_dict().items()}
    yield
    sent = network.state_dict() if kind == "weights" else _gradients(network)
    ended = {"metrics": plain(metrics or {}), "privacy": None if opacus is None else _ledger(opacus)}
    write(folder, manifest.model_copy(update=ended), sent, before, secret)


def _dp_sgd(opacus: tuple[Any, Any]) -> dict[str, Any]:
    """The defense that an optimizer of Opacus is."""
    if not isinstance(opacus, tuple) or len(opacus) != 2 or not hasattr(opacus[0], "accountant"):
        raise UsageError(
            "opacus: got something else, expected a pair; pass (privacy_engine, optimizer) as make_private returned it"
        )
    clip, noise = (getattr(opacus[1], name, None) for name in ("max_grad_norm", "noise_multiplier"))
    if not isinstance(clip, int | float) or not isinstance(noise, int | float):
        kind = type(opacus[1]).__name__
        raise UsageError(
            f"opacus: got the optimizer {kind}, expected one that clips examples as a whole; say its defenses yourself"
        )
    return {"name": "dp_sgd", "clip": float(clip), "noise_multiplier": float(noise)}


def _ledger(opacus: tuple[Any, Any]) -> tuple[Spent, ...]:
    return tuple(
        Spent(noise_multiplier=float(noise), sample_rate=float(rate), steps=int(steps))
        for noise, rate, steps in opacus[0].accountant.history
    )


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    found = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    if not found:
        raise UsageError(
            "network: holds no gradients when the block ends, expected those of backward(); call zero_grad() after it, not within"
        )
    return found
