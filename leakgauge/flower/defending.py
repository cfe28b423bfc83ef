"""Defenses of the client as a mod: they change what it sends, whatever it had trained."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from flwr.app import Context, Message
from torch import Tensor

from leakgauge.api import Config
from leakgauge.core.abilities import Transforming
from leakgauge.core.errors import UsageError
from leakgauge.core.reading import read_yaml
from leakgauge.core.types import Params
from leakgauge.flower.arrays import record_of, tensors
from leakgauge.flower.exchange import is_training
from leakgauge.outgoing import built, is_parameter, transformed

Mod = Callable[[Message, Context, Callable[[Message, Context], Message]], Message]


def defending(key: str = "defenses") -> Mod:
    """Return a client mod that defends updates as `run_config[key]` says, in the YAML of an audit file's `defenses`.

    An update is what was received minus what is sent, over floating tensors that are no running statistics; everything else is
    sent as it is. What a defense keeps back (partial sharing) is sent as it was received. Chance comes from the operating system.
    Training messages alone are changed. Raises UsageError, which Flower makes an error reply of, for defenses that are none, that
    change how a client trains and not only what it sends, and for replies that do not fit what was received.
    """

    def mod(message: Message, context: Context, call_next: Callable[[Message, Context], Message]) -> Message:
        if not is_training(message):
            return call_next(message, context)
        text = context.run_config.get(key)
        if text is None:
            raise UsageError(
                f"run_config: has no {key!r}, expected defenses such as  [{{name: gaussian_noise, sigma: 0.01}}]; add it"
            )
        defenses = built(configured(str(text)))  # before training: a typo costs no round
        received = {name: tensors(record) for name, record in message.content.array_records.items()}
        reply = call_next(message, context)
        if reply.has_error() or not defenses:
            return reply
        for name, record in list(reply.content.array_records.items()):
            before = received.get(name) or (next(iter(received.values())) if len(received) == 1 else None)
            if before is None:
                raise UsageError(f"reply: {name!r} is no array record that was received, expected one of {', '.join(received)}")
            reply.content[name] = record_of(defended(before, tensors(record), defenses))
        return reply

    return mod


def defended(before: Params, after: Params, defenses: tuple[Transforming, ...]) -> dict[str, Tensor]:
    """Return the weights that a defended client sends in place of those `after` training. Raises UsageError as `defending` says."""
    delta = {name: before[name] - value for name, value in after.items() if _is_parameter(name, value, before)}
    if not delta:
        raise UsageError("reply: shares no floating tensor with what was received, expected trained weights; send the state dict")
    kept = {name: before[name] for name, value in after.items() if _is_parameter(name, value, before)}
    return {
        **after,
        **kept,
        **{
            name: torch.sub(before[name], value, out=value).to(after[name].dtype)
            for name, value in transformed(delta, defenses).items()
        },
    }


def _is_parameter(name: str, value: Tensor, before: Params) -> bool:
    known = before.get(name)
    if known is None or not is_parameter(name, value):
        return False
    if known.shape != value.shape:
        raise UsageError(f"reply: {name!r} has shape {tuple(value.shape)}, expected {tuple(known.shape)} as was received")
    return True


@cache
def configured(text: str) -> tuple[Config, ...]:
    """Return the defenses that a setting names, in YAML. Raises UsageError for what is no list."""
    configs = read_yaml(text, "run_config: defenses")
    if not isinstance(configs, list):
        raise UsageError(f"run_config: defenses: got {text!r}, expected a list such as  [{{name: gaussian_noise, sigma: 0.01}}]")
    return tuple(configs)
