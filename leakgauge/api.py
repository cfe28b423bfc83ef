"""The notebook's door: audit live objects, get a result that shows itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from leakgauge.auditing.outcome import Outcome
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.plan import Criteria, Plan, Scene
from leakgauge.auditing.record import Record, Verdict
from leakgauge.auditing.rounds import Rounds
from leakgauge.core import tree
from leakgauge.core.adopting import adopted
from leakgauge.core.devices import device_named
from leakgauge.core.errors import UsageError
from leakgauge.core.intake import taken_in
from leakgauge.core.protocols import Attack, Client, Defense
from leakgauge.core.threat import copies, threat_named
from leakgauge.core.types import Batch, Inputs, Loss, Model, ThreatModel, Update
from leakgauge.spec import DEFAULTS, build

Config = str | Mapping[str, Any]
"""An algorithm by name ("dlg") or with its fields ({"name": "dlg", "restarts": 8}), as in a YAML file."""
DEFAULT_ATTACK: Config = {"name": "inverting_gradients", "steps": 1000}
"""Quick enough to try; the paper takes 24,000 steps."""
Examples = Batch | tuple[Tensor, Tensor]
"""Pixels [n, *shape] in [0, 1] and classes [n]."""


@final
@dataclass(frozen=True)
class Result:
    """What an audit found. Shown as a report in a notebook, as a sentence when printed."""

    outcome: Outcome

    @property
    def verdict(self) -> Verdict:
        """The answer, with its reason."""
        return self.outcome.record.verdict

    @property
    def record(self) -> Record:
        """All numbers."""
        return self.outcome.record

    @property
    def truth(self) -> Tensor:
        """The secret examples [n, *shape]."""
        return self.outcome.images.truth

    @property
    def reconstruction(self) -> Tensor:
        """The attack's guesses [n, *shape], in the order of the truths they were matched to."""
        return self.outcome.images.guesses["attack"]

    def save(self, folder: str | Path) -> Path:
        """Write record, images and report into a folder; return the path of the report."""
        from leakgauge.report import write_report
        from leakgauge.results.store import Store

        store = Store(Path(folder))
        store.open()
        store.save(self.record, self.outcome.images)
        return write_report(Path(folder))

    def __str__(self) -> str:
        return f"{self.verdict.outcome}: {self.verdict.reason}"

    def _repr_html_(self) -> str:
        from leakgauge.report import fragment

        images = {f"guess.{name}": pixels.numpy() for name, pixels in self.outcome.images.guesses.items()}
        return fragment(self.record, {"truth": self.truth.numpy(), **images})


def audit(
    *,
    model: nn.Module | Model,
    batch: Examples,
    update: Update | None = None,
    attack: Attack | Config = DEFAULT_ATTACK,
    client: Client | Config = "fedsgd",
    defenses: Sequence[Defense | Config] = (),
    rounds: Rounds | int = 1,
    threat: ThreatModel | str = "informed",
    control: Attack | Config | None = None,
    public: Examples | None = None,
    inputs: Inputs | None = None,
    loss: Loss = F.cross_entropy,
    class_names: Sequence[str] = (),
    criteria: Criteria = Criteria(),
    seed: int = 0,
    device: str = "auto",
) -> Result:
    """Audit what a client with this model would give away by sending its update on this batch.

    `update` is what was really sent, where it was recorded (see `update_between`): the attack sees it, while floor and controls are
    made by `client`, which should train as the recorded one did. `public` is other data of the same kind: without it there is no
    floor from other data, no identification, and no verdict of "no leak". `inputs` says how the model sees pixels;
    without it they lie in [0, 1] and go in as they are. Algorithms are objects or configs. Raises UsageError for whatever does not
    fit together.
    """
    where = device_named(device)
    secret = _examples("batch", batch)
    victim = model if isinstance(model, Model) else _model(model, secret, inputs, loss)
    secret = _as_precise(secret, victim)
    _check("batch", victim, secret)
    others = None if public is None else _as_precise(_examples("public", public), victim)
    if others is not None:
        _check("public", victim, others)
        others = others[~copies(others.x, secret.x)]
    if class_names and len(class_names) != victim.inputs.classes:
        raise UsageError(f"class_names: got {len(class_names)}, expected {victim.inputs.classes}, one for each output of the model")
    if not isinstance(defenses, Sequence) or isinstance(defenses, str):
        raise UsageError(f"defenses: got {defenses!r}, expected a list of them; put it in brackets")
    blind: Attack = build("attack", "mean_image")
    plan = Plan(
        client=build("client", client),
        defenses=tuple(build("defense", defense) for defense in defenses),
        rounds=rounds if isinstance(rounds, Rounds) else Rounds(count=rounds),
        threat=threat if isinstance(threat, ThreatModel) else threat_named(threat),
        attack=build("attack", attack),
        control=None if control is None else build("attack", control),
        blind=blind,
        metrics={name: build("metric", metric) for name, metric in DEFAULTS["metrics"].items()},
        criteria=criteria,
        seed=seed,
    )
    scene = Scene(
        model=victim.to(where),
        secret=secret.to(where),
        public=None if others is None else others.to(where),
        class_names=tuple(class_names),
        update=None if update is None else _recorded(update, victim, secret, plan, where),
    )
    return Result(_keyed(run(scene, plan)))


def _recorded(update: Update, model: Model, secret: Batch, plan: Plan, where: torch.device) -> Update:
    """Check a recorded update against the audit, and take it to the device; a count that it does not hold is that of the batch."""
    if not isinstance(update, Update):
        raise UsageError(f"update: got {type(update).__name__}, expected an Update; make one with update_between(before, after)")
    update = taken_in(update, model)
    if update.examples not in (None, len(secret)):
        raise UsageError(
            f"update: is of {update.examples} examples, expected the {len(secret)} of the batch; pass those it was made of"
        )
    if plan.rounds.count > 1:
        raise UsageError(f"rounds: got {plan.rounds.count}, expected 1 beside a recorded update, which is of one; leave it out")
    if _holds_after(model, update):
        raise UsageError("model: holds the weights after training, expected those before; load them, or audit a copy made before")
    delta, buffers, before = (
        tree.apply(lambda value: value.to(where), one) for one in (update.delta, update.buffers, update.before or {})
    )
    return Update(delta, len(secret), update.scale, buffers, before or None, update.notes)


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


def _keyed(outcome: Outcome) -> Outcome:
    """Give the audit of live objects, which has no file to take a key from, the hash of what it found."""
    record = outcome.record
    content = repr((record.seed, record.setting, [replace(trial, seconds=0.0) for trial in record.trials.values()]))
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return replace(outcome, record=replace(record, key=key, name="audit"))


def _examples(key: str, examples: Examples) -> Batch:
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


def _as_precise(batch: Batch, model: Model) -> Batch:
    """The examples in the precision of the model's weights."""
    weights = [value for value in model.params.values() if value.is_floating_point()]
    return Batch(batch.x.to(weights[0].dtype) if weights else batch.x.float(), batch.y)


def _model(net: nn.Module, secret: Batch, inputs: Inputs | None, loss: Loss) -> Model:
    """Take the weights of a network as values; the network itself is not changed."""
    seen = inputs or Inputs(shape=tuple(secret.x.shape[1:]), classes=1)
    model = adopted(net, seen, loss)
    secret = _as_precise(secret, model)
    return model if inputs else replace(model, inputs=replace(seen, classes=_outputs(model, secret)))


def _check(key: str, model: Model, secret: Batch) -> None:
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
    classes = _outputs(model, secret)
    if classes != model.inputs.classes:
        raise UsageError(f"inputs: got {model.inputs.classes} classes, but the model gives {classes}; set classes={classes}")
    worst = int(secret.y.max() if int(secret.y.min()) >= 0 else secret.y.min())
    if not 0 <= worst < classes:
        raise UsageError(f"{key}: got the label {worst}, expected 0 to {classes - 1}, one for each output of the model")


def _outputs(model: Model, secret: Batch) -> int:
    first = next(iter(model.params.values()), secret.x)
    try:
        with torch.no_grad():
            logits = model.logits(torch.zeros_like(secret.x[:1]).to(first))
    except UsageError as error:
        if error.__cause__ is None:
            raise
        cause = str(error.__cause__).partition("\n")[0]
        raise UsageError(
            f"batch: the model cannot take examples of shape {tuple(secret.x.shape[1:])} ({cause}); resize them"
        ) from error
    if logits.dim() != 2:
        raise UsageError(f"model: gives outputs {tuple(logits.shape)} for one example, expected [1, classes]; wrap it")
    return logits.shape[1]
