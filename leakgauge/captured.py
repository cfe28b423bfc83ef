"""From a capture and the name of a network to a result: what nobody said is read off the capture or assumed, and told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, cast, final

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leakgauge.api import UNLABELED_ATTACK, Config, Result, audit
from leakgauge.auditing.plan import Criteria
from leakgauge.capture import Capture, Manifest, model_before, named, update_of
from leakgauge.core.accounting import composed
from leakgauge.core.adopting import adopted
from leakgauge.core.capabilities import threat_named
from leakgauge.core.errors import MissingExtra, UsageError
from leakgauge.core.protocols import Pool
from leakgauge.core.rng import stream
from leakgauge.core.types import Capability, Inputs, Model, ThreatModel, Tick, Update, no_tick
from leakgauge.live import outputs
from leakgauge.spec import build

UNTOLD_ATTACK: dict[str, Any] = {**UNLABELED_ATTACK, "replay": "surrogate"}
"""For an update of which nobody knows how its client trained."""


@final
@dataclass(frozen=True, kw_only=True)
class Given:
    """What whoever attacks a capture says beside it: the network, itself or as in the victim `module`, and whatever else is known.

    `shape`, `mean` and `std` are those of the network's pixels; `data` is other data of the same kind, `client` how the client
    trains, and `defenses` what it puts on what it sends, all as in an audit file. `rehearsals` is on how many updates of other data
    the attack is tried.
    """

    model: str | nn.Module
    weights: str | None = None
    shape: tuple[int, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    data: Config | None = None
    client: Config | None = None
    defenses: Sequence[Config] | None = None
    threat: str | None = None
    attack: Config | None = None
    examples: int | None = None
    rehearsals: int = 3
    seed: int = 0
    device: str = "auto"


@final
class Procedure(NamedTuple):
    """How the client is taken to train, what was assumed for that, and whether an adversary knows it."""

    client: Config
    assumed: tuple[str, ...]
    is_known: bool


def attack(capture: Capture, given: Given, *, tick: Tick = no_tick) -> Result:
    """Attack what a client sent; where the private examples were recorded beside it, audit it against them.

    Unless a threat is named, the adversary is a server without labels, or, where nobody said how the client trains, one that sees
    weights alone; it knows the defenses that are said. Raises UsageError for what does not fit together.
    """
    model, update, procedure, defenses, pool = prepare(capture, given)
    default = UNLABELED_ATTACK if procedure.is_known else UNTOLD_ATTACK
    return audit(
        model=model,
        batch=capture.truth,
        update=update,
        examples=None if capture.truth is not None else given.examples,
        attack=default if given.attack is None else given.attack,
        client=procedure.client,
        defenses=defenses,
        threat=_threat(given, procedure, is_defended=bool(defenses)),
        public=None if pool is None else (pool.x, pool.y),
        class_names=pool.class_names if pool is not None and len(pool.class_names) == model.inputs.classes else (),
        criteria=Criteria(power=given.rehearsals),
        name=capture.path.name,
        seed=given.seed,
        device=given.device,
        tick=tick,
    )


def _defenses(capture: Capture, given: Given) -> tuple[Config, ...]:
    """What was put on the update before it was sent, as far as anybody said."""
    said = capture.manifest.defenses if given.defenses is None else given.defenses
    return tuple(cast("Sequence[Config]", said or ()))


def _ledger(manifest: Manifest) -> Iterator[str]:
    """What the accountant of a client with DP-SGD says that was spent up to here."""
    if not manifest.privacy:
        return
    steps = sum(one.steps for one in manifest.privacy)
    told = f"The client's accountant of DP-SGD counts {_plural(steps, 'step')} up to here"
    try:
        loss = composed([(one.noise_multiplier, one.sample_rate, one.steps) for one in manifest.privacy], _DELTA)
    except MissingExtra:
        yield f"{told}; what that costs takes the extra accounting."
    else:
        yield f"{told}: ε = {loss.epsilon:.3g} at δ = {loss.delta:g}, if examples are drawn one by one at the rates in its ledger."


def _threat(given: Given, procedure: Procedure, *, is_defended: bool) -> ThreatModel:
    if given.threat is not None:
        return threat_named(given.threat)
    plain = threat_named("server" if procedure.is_known else "weights")
    return ThreatModel(f"{plain.name}, defense known", plain.grants | {Capability.DEFENSE}) if is_defended else plain


@final
class Prepared(NamedTuple):
    """A capture as an audit takes it; the update says in its notes what was matched and assumed."""

    model: Model
    update: Update
    procedure: Procedure
    defenses: tuple[Config, ...]
    pool: Pool | None


def prepare(capture: Capture, given: Given) -> Prepared:
    """Load the network, other data, and the update between the weights. Raises UsageError for what does not fit together."""
    pool = None if given.data is None else build("data", given.data, "data").load()
    model, assumed = _model(capture, given, pool)
    update, procedure = update_of(capture, model), _procedure(named(capture, model), given, model)
    notes = (*update.notes, *assumed, *procedure.assumed, *_ledger(capture.manifest))
    return Prepared(model, replace(update, notes=notes), procedure, _defenses(capture, given), pool)


def _model(capture: Capture, given: Given, pool: Pool | None) -> tuple[Model, tuple[str, ...]]:
    """The network at the weights before training, and what was assumed of its pixels."""
    said = capture.manifest.inputs
    shapes = (given.shape, None if said is None else said.shape, None if capture.truth is None else capture.truth.x.shape[1:])
    shape = next((tuple(one) for one in shapes if one), None) or (None if pool is None else pool.inputs.shape)
    if shape is None:
        raise UsageError(
            "inputs: got none, and the capture does not say what the network takes, expected a shape; pass it as  --inputs 3,32,32"
        )
    mean, std = given.mean or (said.mean if said else None), given.std or (said.std if said else None)
    low, high = (said.low, said.high) if said else (0.0, 1.0)
    inputs = Inputs(shape, 1, low, high, mean=mean or Inputs.mean, std=std or Inputs.std)
    model = _network(capture, given, inputs, is_said=bool(mean or std))
    model = replace(model, inputs=replace(model.inputs, classes=outputs(model)))
    return model_before(capture, model), () if mean or std or said else (_normalized(model.inputs),)


def _normalized(inputs: Inputs) -> str:
    """What was assumed of the pixels that the network sees, where neither the capture nor whoever attacks says it."""
    if (inputs.mean, inputs.std) == (Inputs.mean, Inputs.std):
        return "Nobody said how pixels are normalized for the network: it is taken to see them as they are, from 0 to 1."
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (inputs.mean, inputs.std))
    return f"Pixels are taken to be normalized as the network's library says: mean {mean}, deviation {std}."


def _network(capture: Capture, given: Given, inputs: Inputs, *, is_said: bool) -> Model:
    """The network, told the number of classes where it asks: the first that it may be with which all that was sent fits."""
    if not isinstance(given.model, str):
        return adopted(given.model, inputs, cross_entropy)
    config: dict[str, Any] = {"name": "module", "module": given.model, "weights": given.weights}
    if is_said:  # what a network's library says is for where nobody else does
        config |= {"mean": inputs.mean, "std": inputs.std}
    victim = build("victim", config, "model")
    made: list[Model] = []
    for classes in _classes(capture):
        made.append(victim.build(replace(inputs, classes=classes), rng=stream(given.seed, "victim")))
        if _fits(capture, made[-1]):
            return made[-1]
    return made[0]


def _classes(capture: Capture) -> list[int]:
    """How many classes the network may tell apart: the rows of a matrix or, where a convolution classifies, of anything."""
    values = [value for value in (capture.before or capture.sent).values() if value.dim() > 0]
    matrices = [value for value in values if value.dim() == 2]
    return list(dict.fromkeys(int(value.shape[0]) for value in (*reversed(matrices), *reversed(values)))) or [1]


def _fits(capture: Capture, model: Model) -> bool:
    """Whether what was sent is as large as in the network, as far as it is there."""
    own = {**model.params, **model.buffers}
    return all(value.shape == own[name].shape for name, value in named(capture, model).sent.items() if name in own)


def _procedure(capture: Capture, given: Given, model: Model) -> Procedure:
    """How the client trains: as was said, or as what was recorded implies."""
    manifest = capture.manifest
    if given.client is not None:
        return Procedure(given.client, (), is_known=True)
    if manifest.procedure is not None:
        return Procedure(dict(manifest.procedure), (), is_known=True)
    mode, assumed = _batchnorm(capture, model)
    if manifest.kind == "gradient":
        return Procedure({"name": "fedsgd", "batchnorm": mode}, assumed, is_known=True)
    steps, rate = manifest.local_steps or 1, manifest.learning_rate
    client = {"name": "fedavg", "epochs": steps, "optimizer": {"name": "sgd", "learning_rate": rate or _RATE}, "batchnorm": mode}
    if manifest.local_steps == 1 and rate is not None:
        return Procedure(client, (*assumed, "The one local step is taken for one of plain SGD on the whole batch."), is_known=True)
    told = (
        f"Nobody said how the client trains: the adversary does not know it, and where other data is trained on, it is taken for "
        f"{_plural(steps, 'step')} of plain SGD on the whole batch at a rate of {rate or _RATE:g}."
    )
    return Procedure(client, (*assumed, told), is_known=False)


def _batchnorm(capture: Capture, model: Model) -> tuple[str, tuple[str, ...]]:
    """The mode of BatchNorm in local training: statistics that moved tell it; where none were sent, it is taken to train."""
    counters = [name for name in capture.sent if name.endswith("num_batches_tracked")]
    if not any(name.endswith("running_var") for name in model.buffers):
        return "eval", ()
    before = capture.before or {}
    if not counters or any(name not in before for name in counters):
        return "train", ("BatchNorm is taken to use the statistics of the batch, as it does in training.",)
    is_moved = any(not torch.equal(capture.sent[name], before[name]) for name in counters)
    return ("train" if is_moved else "eval"), ()


def data_config(text: str, shape: tuple[int, ...] | None) -> Config:
    """Return what `--data` means: a folder of images, an array file, the name of data, or a config in YAML."""
    from leakgauge.core.reading import read_yaml

    path = Path(text).expanduser()
    if path.is_dir():
        size = {"size": shape[-1], "mode": "L" if shape[0] == 1 else "RGB"} if shape and len(shape) == 3 else {}
        return {"name": "folder", "path": text, **size}
    if path.suffix in (".npz", ".safetensors"):
        return {"name": path.suffix.removeprefix("."), "path": text}
    found = read_yaml(text, "--data")
    if not isinstance(found, str | Mapping):
        raise UsageError(f"--data: got {text!r}, expected a folder of images, an .npz, or the name of data such as photographs")
    return found


def manifest_shape(manifest: Manifest) -> tuple[int, ...] | None:
    """Return the shape of the network's inputs, where the capture says it."""
    return manifest.inputs.shape if manifest.inputs else None


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


_DELTA = 1e-5
"""At which a privacy loss is told."""
_RATE = 0.01
"""The learning rate of rehearsals where nobody knows it; the default attack knows no rate."""
