"""Why an attack on a capture cannot work, or will mislead: what can be told from what was sent, each with its number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

import torch
from torch import Tensor

from leakgauge.auditing.fidelity import mismatch
from leakgauge.capture import Capture, named
from leakgauge.captured import Given, Prepared, prepare
from leakgauge.core.errors import UsageError
from leakgauge.core.types import Params
from leakgauge.spec import build

State = Literal["ok", "note", "broken"]


@final
@dataclass(frozen=True)
class Finding:
    """One check: "note" is what an attack should know, "broken" what no attack survives."""

    check: str
    state: State
    details: str


def diagnose(capture: Capture, given: Given) -> list[Finding]:
    """Examine a capture beside its network. What does not fit together at all ends the list with what is broken."""
    found = [*_kind(capture)]
    try:
        prepared = prepare(capture, given)
    except UsageError as error:
        return [*found, Finding("fit", "broken", str(error))]
    found += [Finding("fit", "note", told) for told in prepared.update.notes] or [
        Finding("fit", "ok", "All tensors are the model's.")
    ]
    capture, delta = named(capture, prepared.model), prepared.update.delta
    found += _in_clear(capture)
    return [*found, *_unknowns(prepared, delta), *_rounding(capture, delta), *_steps(capture, delta), *_truth(capture, prepared)]


def _kind(capture: Capture) -> Iterator[Finding]:
    """Whether what was sent is what it is said to be: weights lie along the weights before them, an update does not."""
    before = {name: value for name, value in (capture.before or {}).items() if name in capture.sent}
    shared = {name: value for name, value in capture.sent.items() if name in before and _is_parameter(name, value, before[name])}
    if not shared:
        return
    cosine = _cosine(shared, before)
    told = f"The cosine of what was sent to the weights before is {cosine:.3f}."
    if capture.manifest.kind == "weights":
        is_off = cosine < _ALONG
        yield Finding(
            "kind", "broken" if is_off else "ok", f"{told} {'It is no new weights: is it a delta, or a gradient?' * is_off}".strip()
        )
    else:
        is_off = cosine > _SAME
        kind = capture.manifest.kind
        yield Finding("kind", "broken" if is_off else "ok", f"{told} {f'It is no {kind}: is it the weights?' * is_off}".strip())


def _unknowns(prepared: Prepared, delta: Params) -> Iterator[Finding]:
    """Numbers that were sent, and are not zero, against unknown pixels."""
    count = prepared.update.examples or 1
    unknowns = count * torch.Size(prepared.model.inputs.shape).numel()
    numbers = sum(int((value != 0).sum()) for value in delta.values())
    whose = f"{count} example{'s' * (count > 1)}" if prepared.update.examples else "an example (how many there are was not said)"
    told = f"{numbers:,} numbers that are not zero, for {unknowns:,} unknown pixels of {whose}."
    short = " They cannot be determined without a prior of images."
    yield Finding("unknowns", "ok" if numbers >= unknowns else "note", told + short * (numbers < unknowns))


def _in_clear(capture: Capture) -> Iterator[Finding]:
    """What went along besides tensors, which no defense on these touches and no secure aggregation hides."""
    names = list(dict.fromkeys(_leaves(capture.manifest.metrics)))
    if names:
        more = f" and {len(names) - _SHOWN} more" * (len(names) > _SHOWN)
        yield Finding("in clear", "note", f"Sent along in clear: {', '.join(names[:_SHOWN])}{more}.")


def _leaves(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value)
        else:
            yield name[:_LONGEST]


def _rounding(capture: Capture, delta: Params) -> Iterator[Finding]:
    """How much of a difference of weights is rounding, which goes by the size of the weights."""
    if capture.manifest.kind != "weights" or capture.before is None:
        return
    noise = size = 0.0
    for name, value in capture.sent.items():
        if name not in delta or not value.is_floating_point():
            continue
        # An error is uniform in the gap between two numbers, and there are two, before and after: a variance of gap^2 / 6.
        gap = torch.finfo(value.dtype).eps * torch.exp2(torch.frexp(value.double()).exponent.double() - 1)
        noise += float((gap.square() / 6).sum())
        size += float(delta[name].double().square().sum())
    share = (noise / size) ** 0.5 if size else float("inf")
    dtype = str(next(iter(capture.sent.values())).dtype).removeprefix("torch.")
    told = f"The rounding of {dtype} weights is {share:.1e} of the update, in norm."
    state: State = "ok" if share < _FAINT else "note" if share < _DROWNED else "broken"
    hints = {"ok": "", "note": " It hides faint details: send float32, or the difference.", "broken": " It hides the update."}
    yield Finding("rounding", state, told + hints[state])


def _steps(capture: Capture, delta: Params) -> Iterator[Finding]:
    """Signatures of a local training that is no plain step of SGD."""
    values = torch.cat([value.flatten().double() for value in delta.values()])
    moved = values[values != 0].abs()
    if not len(moved):
        return
    alike = float(((moved - moved.median()).abs() < 0.05 * moved.median()).double().mean())
    if alike > _ALIKE:
        yield Finding(
            "optimizer",
            "note",
            f"{alike:.0%} of the numbers are equally large: they are signs, as of Adam's first step or of sign SGD. Of the "
            "gradient, sizes are gone: use an attack on signs (adam_undone, sign_agreement), or say procedure.",
        )
    decay = _decay(capture, delta)
    if decay is not None:
        share, rate = decay
        yield Finding(
            "weight decay",
            "note",
            f"{share:.0%} of the tensors' rows moved by {rate:.2e} of their weights and by nothing else: weight decay on units "
            "that the batch did not reach. Say it in `procedure`, or the attack explains it by pixels.",
        )


def _decay(capture: Capture, delta: Params) -> tuple[float, float] | None:
    """The share of rows that are a multiple of the weights before, the same for all, and that multiple."""
    multiples, rows = [], 0
    for name, value in delta.items():
        weights = (capture.before or {}).get(name)
        if weights is None or value.dim() < 2 or value[0].numel() < _WIDE:
            continue
        one, other = value.flatten(1).double(), weights.flatten(1).double()
        factor = (one * other).sum(1) / other.square().sum(1).clamp(min=1e-30)
        rest = (one - factor[:, None] * other).norm(dim=1) / one.norm(dim=1).clamp(min=1e-30)
        rows += len(one)
        multiples += factor[(rest < _EXACT) & (one.norm(dim=1) > 0)].tolist()
    if len(multiples) < 2:
        return None
    middle = float(torch.tensor(multiples).median())
    same = [one for one in multiples if abs(one - middle) < 0.05 * abs(middle)]
    return (len(same) / rows, middle) if middle > 0 and len(same) > 0.9 * len(multiples) else None


def _truth(capture: Capture, prepared: Prepared) -> Iterator[Finding]:
    """With the private examples at hand: whether this client makes this update of them, and the likeliest cause if it does not."""
    if capture.truth is None:
        yield Finding(
            "truth", "note", "Nobody recorded the private examples, so sign, scale, normalization and BatchNorm are not tested."
        )
        return
    client = build("client", prepared.procedure.client)
    defenses = tuple(build("defense", one) for one in prepared.defenses)
    wrong = mismatch(prepared.update, prepared.model, capture.truth, client=client, defenses=defenses, seed=0)
    told = (
        f"The update is not one that this client makes of these examples: {wrong}."
        if wrong
        else "The client makes this update of these examples."
    )
    yield Finding("truth", "broken" if wrong else "ok", told)


def _is_parameter(name: str, value: Tensor, before: Tensor) -> bool:
    return (
        value.is_floating_point() and before.shape == value.shape and name.rpartition(".")[2] not in ("running_mean", "running_var")
    )


def _cosine(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> float:
    first, second = (torch.cat([tree[name].flatten().double() for name in one]) for tree in (one, other))
    return float(first @ second / (first.norm() * second.norm()).clamp(min=1e-30))


_ALONG, _SAME = 0.5, 0.9
"""Cosines: of trained weights to those before, far above the first; of an update to the weights, far below the second."""
_FAINT, _DROWNED = 1e-3, 0.3
"""Shares of an update, in norm, that rounding may be before details, and before all of it, drown."""
_ALIKE, _EXACT, _WIDE = 0.5, 0.05, 8
"""The share of numbers that signs have in common; how far a row may be off a multiple of its weights, for rounding; numbers of a
row, below which it is one by chance."""
_SHOWN, _LONGEST = 8, 60
"""Names of what was sent in clear that are shown, and characters of one."""
