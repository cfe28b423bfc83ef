"""Live objects as an audit takes them: checked, in one precision, and told in a line where they do not fit together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from leakgauge.core import tree
from leakgauge.core.adopting import adopted
from leakgauge.core.errors import UsageError
from leakgauge.core.intake import taken_in
from leakgauge.core.types import Batch, Inputs, Loss, Model, Update

Examples = Batch | tuple[Tensor, Tensor]
"""Pixels [n, *shape] in [0, 1] and classes [n]."""


def recorded(update: Update, model: Model, examples: int | None, rounds: int, where: torch.device) -> Update:
    """Check a recorded update against the audit, and take it to the device; a count that it does not hold is that of the audit."""
    if not isinstance(update, Update):
        raise UsageError(f"update: got {type(update).__name__}, expected an Update; make one with update_between(before, after)")
    update = taken_in(update, model)
    if examples is not None and update.examples not in (None, examples):
        raise UsageError(
            f"update: is of {update.examples} examples, expected the {examples} of the batch; pass those it was made of"
        )
    if rounds > 1:
        raise UsageError(f"rounds: got {rounds}, expected 1 beside a recorded update, which is of one; leave it out")
    if _holds_after(model, update):
        raise UsageError("model: holds the weights after training, expected those before; load them, or audit a copy made before")
    delta, buffers, before = (
        tree.apply(lambda value: value.to(where), one) for one in (update.delta, update.buffers, update.before or {})
    )
    return Update(delta, examples or update.examples, update.scale, buffers, before or None, update.notes)


def _holds_after(model: Model, update: Update) -> bool:
    """Whether a model holds the weights after training, up to the rounding of a difference, and not those before."""
    starts = {name: value.to(model.params[name].device) for name, value in (update.before or {}).items() if name in model.params}
    kept = [name for name, value in update.delta.items() if name in starts and value.shape == model.params[name].shape]
    own = {name: model.params[name].to(starts[name]) for name in kept}
    moved = {name: starts[name] - update.delta[name].to(starts[name]) for name in kept}
    return (
        bool(own)
        and all(torch.allclose(value, moved[name], rtol=1e-6) for name, value in own.items())
        and not all(torch.equal(value, starts[name]) for name, value in own.items())
    )


def batch_of(key: str, examples: Examples) -> Batch:
    """Return examples as a batch. Raises UsageError, naming the key, for what are none."""
    if not isinstance(examples, Batch | tuple) or (isinstance(examples, tuple) and len(examples) != 2):
        kind = f"{len(examples)} entries" if isinstance(examples, tuple) else type(examples).__name__
        raise UsageError(f"{key}: got {kind}, expected a Batch or a pair; pass (examples, labels)")
    batch = examples if isinstance(examples, Batch) else Batch(*examples)
    if not isinstance(batch.x, Tensor) or not batch.x.is_floating_point():
        kind = batch.x.dtype if isinstance(batch.x, Tensor) else type(batch.x).__name__
        raise UsageError(f"{key}: got examples of {kind}, expected a floating tensor with pixels in [0, 1]; divide bytes by 255")
    if not isinstance(batch.y, Tensor):
        raise UsageError(f"{key}: got labels of {type(batch.y).__name__}, expected a tensor of classes [n]; use torch.tensor")
    if len(batch.x) == 0 or len(batch.x) != len(batch.y):
        raise UsageError(f"{key}: got {len(batch.x)} examples and {len(batch.y)} labels, expected as many of both, at least one")
    if not bool(batch.x.isfinite().all()):
        raise UsageError(f"{key}: holds nan or infinity, expected finite pixels; clean the data")
    if batch.y.is_floating_point() or batch.y.dim() != 1:
        raise UsageError(f"{key}: got labels {batch.y.dtype} {tuple(batch.y.shape)}, expected classes as integers [n]; take argmax")
    return Batch(batch.x.detach(), batch.y.detach().long())


def as_precise(batch: Batch, model: Model) -> Batch:
    """Return the examples in the precision of the model's weights."""
    weights = [value for value in model.params.values() if value.is_floating_point()]
    return Batch(batch.x.to(weights[0].dtype) if weights else batch.x.float(), batch.y)


def model_of(net: nn.Module, shape: Sequence[int], inputs: Inputs | None, loss: Loss) -> Model:
    """Take the weights of a network as values; the network itself is not changed. Without `inputs`, pixels go in as they are."""
    seen = inputs or Inputs(shape=tuple(shape), classes=1)
    model = adopted(net, seen, loss)
    return model if inputs else replace(model, inputs=replace(seen, classes=outputs(model)))


def check(key: str, model: Model, secret: Batch) -> None:
    """Raise UsageError for examples that the model does not take, or does not tell apart."""
    if tuple(secret.x.shape[1:]) != model.inputs.shape:
        raise UsageError(
            f"{key}: got examples of shape {tuple(secret.x.shape[1:])}, expected {model.inputs.shape}, as the model takes; resize"
        )
    low, high = float(secret.x.min()), float(secret.x.max())
    if low < model.inputs.low or high > model.inputs.high:
        raise UsageError(
            f"{key}: got pixels from {low:.3g} to {high:.3g}, expected {model.inputs.low:g} to {model.inputs.high:g}; "
            "pass pixels, and mean and std in `inputs`"
        )
    classes = outputs(model)
    if classes != model.inputs.classes:
        raise UsageError(f"inputs: got {model.inputs.classes} classes, but the model gives {classes}; set classes={classes}")
    worst = int(secret.y.max() if int(secret.y.min()) >= 0 else secret.y.min())
    if not 0 <= worst < classes:
        raise UsageError(f"{key}: got the label {worst}, expected 0 to {classes - 1}, one for each output of the model")


def outputs(model: Model) -> int:
    """Return how many numbers the model gives for an example. Raises UsageError where it does not take one."""
    shape = model.inputs.shape
    try:
        with torch.no_grad():
            logits = model.logits(next(iter(model.params.values()), torch.zeros(1)).new_zeros(1, *shape))
    except UsageError as error:
        if error.__cause__ is None:
            raise
        cause = str(error.__cause__).partition("\n")[0]
        raise UsageError(f"batch: the model cannot take examples of shape {tuple(shape)} ({cause}); resize them") from error
    if logits.dim() != 2:
        raise UsageError(f"model: gives outputs {tuple(logits.shape)} for one example, expected [1, classes]; wrap it")
    return logits.shape[1]
