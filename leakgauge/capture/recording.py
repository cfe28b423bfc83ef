"""A capture from plain PyTorch, in two lines around any training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from leakgauge.capture.files import private, write
from leakgauge.capture.manifest import made, plain
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
    truth: tuple[Tensor, Tensor] | None = None,
) -> Iterator[None]:
    """Record what training within the block makes of a network: the weights before it, and after it the weights or the gradients.

    `metrics` is read when the block ends. `truth`, the private examples as pixels and their classes, is recorded only where it is
    given: it is what an audit is judged by. A block that raises leaves no capture. Raises UsageError for a network whose gradients
    were asked for and are not there, and as `write` does.
    """
    if kind not in ("gradient", "weights"):
        raise UsageError(
            f"kind: got {kind!r}, expected gradient or weights, which a network holds; compute a delta yourself, and write it"
        )
    if truth is not None and (not isinstance(truth, tuple) or len(truth) != 2):
        raise UsageError(f"truth: got {type(truth).__name__}, expected a pair; pass (pixels, classes)")
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
        defenses=None if defenses is None else tuple(one if isinstance(one, str) else plain(one) for one in defenses),
        inputs=None if inputs is None else {name: value for name, value in vars(inputs).items() if name != "classes"},
    )
    before = {name: value.detach().clone() for name, value in network.state_dict().items()}
    yield
    sent = network.state_dict() if kind == "weights" else _gradients(network)
    write(folder, manifest.model_copy(update={"metrics": plain(metrics or {})}), sent, before, secret)


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    found = {name: value.grad for name, value in network.named_parameters() if value.grad is not None}
    if not found:
        raise UsageError(
            "network: holds no gradients when the block ends, expected those of backward(); call zero_grad() after it, not within"
        )
    return found
