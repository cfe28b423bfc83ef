"""The one door between the secret and the adversary, `observe`, which opens as far as a threat model says."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from leakgauge.core import tree
from leakgauge.core.errors import UsageError, suggestion
from leakgauge.core.isolation import isolated
from leakgauge.core.protocols import Defense
from leakgauge.core.types import Batch, Capability, Client, Model, Observation, Params, Rng, ThreatModel, Update


def copies(x: Tensor, secret: Tensor) -> Tensor:
    """Return a mask [N] of the examples of `x` that are exact copies of a secret one: an adversary never holds these."""
    same = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for one in secret.to(x):
        same |= (x == one).flatten(1).all(1)
    return same


def protect(client: Client, defenses: Sequence[Defense]) -> Client:
    """Wrap a client in its defenses; the first one is applied first."""
    for defense in defenses:
        client = defense.protect(client)
    return client


def observe(
    model: Model,
    batch: Batch,
    *,
    client: Client,
    defenses: Sequence[Defense] = (),
    threat: ThreatModel,
    public: Batch | None = None,
    rng: Rng,
) -> Observation:
    """Let a client send its update on the secret batch, and return what the adversary sees of it.

    Raises UsageError if the update is not finite or does not fit the model.
    """
    sending = protect(client, defenses)
    return observe_update(
        model,
        # The client runs a network of its own: what a network remembers of a batch would reach the adversary with it.
        sending(isolated(model), batch, rng=rng),
        threat=threat,
        client=sending if Capability.DEFENSE in threat else client,
        labels=batch.y,
        public=public,
    )


def observe_update(
    model: Model,
    update: Update,
    *,
    threat: ThreatModel,
    client: Client | None = None,
    labels: Tensor | None = None,
    public: Batch | None = None,
) -> Observation:
    """Filter an update through a threat model: every tensor is a copy without a graph, every field is granted or None.

    `client` is what an adversary who knows the procedure replays. Where the update says from which weights it starts
    (`update.before`), the adversary's model holds these and no others. Raises UsageError as `observe` does.
    """
    _check_tensors("update buffers", update.buffers, model.buffers)
    _check_tensors("weights before", update.before or {}, model.params)
    received = model if update.before is None else _received(model, update.before)
    _check_tensors("update", update.delta, received.params)
    _check_kinds(update.delta, received.params)
    return Observation(
        model=replace(received, params=tree.detach(received.params), buffers=tree.detach(model.buffers)),
        update=Update(
            delta=tree.detach(update.delta),
            examples=update.examples if Capability.COUNT in threat else None,
            scale=update.scale if Capability.SCALE in threat else None,
            buffers=tree.detach(update.buffers) if Capability.BUFFERS in threat else {},
        ),
        threat=threat,
        client=client if Capability.PROCEDURE in threat else None,
        labels=labels.detach().sort().values if labels is not None and Capability.LABELS in threat else None,
        public=_copy(public) if public is not None and Capability.PUBLIC_DATA in threat else None,
    )


def _received(model: Model, before: Params) -> Model:
    """The model at the weights that were sent: the network's own, which may be those that a defense hides, are taken out of it."""
    return replace(model, net=copy.deepcopy(model.net).to("meta"), params={**model.params, **before})


def _copy(batch: Batch) -> Batch:
    # Other data may be a slice of the tensor that the secret is a slice of as well.
    return Batch(batch.x.detach().clone(), batch.y.detach().clone())


def _check_tensors(what: str, sent: Params, expected: Params) -> None:
    if not sent and expected and what == "update":
        raise UsageError(f"{what}: holds no tensor, expected at least one of {', '.join(expected)}; let the client share a layer")
    for name, value in sent.items():
        if name not in expected:
            raise UsageError(f"{what}: got a tensor {name!r} that the model does not have, {suggestion(name, expected)}")
        if value.shape != expected[name].shape:
            raise UsageError(
                f"{what}: {name!r} has shape {tuple(value.shape)}, expected {tuple(expected[name].shape)} as in the model; "
                "is it the update of another model?"
            )
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise UsageError(f"{what}: {name!r} holds nan or infinity, expected finite numbers; did local training diverge?")


def _check_kinds(sent: Params, expected: Params) -> None:
    for name, value in sent.items():
        if value.dtype != expected[name].dtype:
            raise UsageError(
                f"update: {name!r} holds {value.dtype}, expected {expected[name].dtype} as in the model; convert it, "
                "or make the update with update_between"
            )
