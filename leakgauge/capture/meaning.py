"""From what was recorded to what an audit takes: the model as it was before, and the update with the sign of a gradient."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from torch import Tensor

from leakgauge.capture.files import Capture
from leakgauge.capture.manifest import Manifest
from leakgauge.core.adopting import with_weights
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.intake import as_kept
from leakgauge.core.types import Model, Params, Update
from leakgauge.core.weights import update_between
from leakgauge.core.wrappers import unwrapped


def model_before(capture: Capture, model: Model) -> Model:
    """Return the model at the weights that local training started from: those of the capture, and its own where none were sent.

    Raises UsageError for a capture of another network.
    """
    return with_weights(model, _matched(capture.before or {}, model)[0], str(capture.path), is_partial=True)


def named(capture: Capture, model: Model) -> Capture:
    """Return the capture with the names that its tensors have in the model. Raises UsageError for two that would have one name."""
    before = None if capture.before is None else _matched(capture.before, model)[0]
    return replace(capture, sent=_matched(capture.sent, model)[0], before=before)


def update_of(capture: Capture, model: Model) -> Update:
    """Return what the client sent, by the names of the model and with the sign of a gradient: before minus after.

    Running statistics and counters are buffers; what the client kept to itself is missing. Raises UsageError for tensors of another
    network, and for weights without those before them.
    """
    manifest = capture.manifest
    sent, matched = _matched(capture.sent, model)
    params = {name: value for name, value in sent.items() if name in model.params}
    buffers = {name: value for name, value in sent.items() if name in model.buffers}
    if not params:
        raise UsageError(
            f"{capture.path}: {next(iter(sent))!r} is no parameter of the model, nor is any other of the {len(sent)} tensors that "
            f"were sent, {suggestion(next(iter(sent)), model.params)}; pass the network that was trained"
        )
    notes = (*matched, *_told(capture, model, sent))
    match manifest.kind:
        case "gradient":
            gradient = {name: _floating(capture, name, value, model) for name, value in params.items()}
            return Update(gradient, manifest.examples, 1.0, buffers, notes=notes)
        case "delta":
            before, _ = _matched(capture.before or {}, model)
            moved = {name: before[name] + value for name, value in buffers.items() if name in before}
            delta = {name: -_floating(capture, name, value, model) for name, value in params.items()}
            return Update(delta, manifest.examples, _scale(manifest), moved, notes=notes)
        case "weights":
            between = update_between(_started(capture, model, params), params, examples=manifest.examples, scale=_scale(manifest))
            return replace(between, buffers=buffers, before=None, notes=notes)


def _floating(capture: Capture, name: str, value: Tensor, model: Model) -> Tensor:
    kept = as_kept(name, value, model.params[name])
    if not kept.is_floating_point():
        raise UsageError(
            f"{capture.path}: {name!r} holds {value.dtype}, expected floating numbers; convert it before it is recorded"
        )
    return kept


def _scale(manifest: Manifest) -> float | None:
    """The factor on a mean gradient: the learning rate, where there was one step."""
    return manifest.learning_rate if manifest.local_steps == 1 else None


def _started(capture: Capture, model: Model, sent: Params) -> Params:
    before, _ = _matched(capture.before or {}, model)
    for name in sent:
        if name not in before:
            raise UsageError(
                f"{capture.path}: holds {name!r} after training alone, expected it before as well; record the weights that "
                "training started from, as before.safetensors"
            )
    return {name: before[name] for name in sent}


def _told(capture: Capture, model: Model, sent: Params) -> Iterator[str]:
    """What does not fit between a capture and its model, a sentence each."""
    kept = [name for name in model.trained if name not in sent]
    if kept:
        yield f"{len(kept)} of the {len(model.trained)} tensors that are trained were not sent, such as {kept[0]}."
    own = model.net.state_dict().keys() | model.params.keys() | model.buffers.keys()
    foreign = [name for name in sent if name not in own]
    if foreign:
        yield f"{len(foreign)} of the {len(sent)} tensors that were sent are none of the model's, and were left out: {foreign[0]}."
    before, _ = _matched(capture.before or {}, model)
    lacking = [name for name in model.params if name not in before]
    if lacking:
        yield (
            f"The capture lacks the weights of {len(lacking)} of the {len(model.params)} parameters before training, such as "
            f"{lacking[0]}: those that the model came with were taken."
        )


def _matched(values: Params, model: Model) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Tensors under the names of the model, whatever wrappers had made of these, and what was done for that.

    Arrays that are numbered, as frameworks send them that know no names, are those of the state dict in order, or its parameters.
    """
    for order, of in ((list(model.net.state_dict()), "state dict"), (list(model.params), "parameters")):
        if values and set(values) == {str(place) for place in range(len(order))}:
            named = {name: values[str(place)] for place, name in enumerate(order)}
            return named, (f"Tensors have numbers for names: they were taken in the order of the network's {of}.",)
    match = unwrapped(values, [*model.params, *model.buffers])
    return match(values), match.notes
