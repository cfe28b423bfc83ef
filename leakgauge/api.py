"""The notebook's door: audit live objects, get a result that shows itself."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from leakgauge.auditing.outcome import Outcome
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.plan import Criteria, Plan, Scene
from leakgauge.auditing.record import Record, Verdict
from leakgauge.auditing.rounds import Rounds
from leakgauge.auditing.unjudged import Sent, run_unjudged
from leakgauge.core.capabilities import threat_named
from leakgauge.core.devices import device_named
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Attack, Client, Defense
from leakgauge.core.threat import copies
from leakgauge.core.types import Batch, Capability, Inputs, Loss, Model, ThreatModel, Tick, Update, no_tick
from leakgauge.live import Examples, as_precise, batch_of, check, model_of, recorded
from leakgauge.spec import DEFAULTS, build

Config = str | Mapping[str, Any]
"""An algorithm by name ("dlg") or with its fields ({"name": "dlg", "restarts": 8}), as in a YAML file."""
DEFAULT_ATTACK: dict[str, Any] = {"name": "modern"}
"""What it finds, and how long it takes, beside Inverting Gradients as published: docs/performance.md."""
UNLABELED_ATTACK: dict[str, Any] = {**DEFAULT_ATTACK, "labels": "counts"}
"""For an update whose labels nobody has."""


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
    def truth(self) -> Tensor | None:
        """The secret examples [n, *shape]; None where the update alone is there."""
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
        return fragment(self.record, images if self.truth is None else {"truth": self.truth.numpy(), **images})


def audit(
    *,
    model: nn.Module | Model,
    batch: Examples | None = None,
    update: Update | None = None,
    examples: int | None = None,
    attack: Attack | Config | None = None,
    client: Client | Config = "fedsgd",
    defenses: Sequence[Defense | Config] = (),
    rounds: Rounds | int = 1,
    threat: ThreatModel | str | None = None,
    control: Attack | Config | None = None,
    public: Examples | None = None,
    inputs: Inputs | None = None,
    loss: Loss = F.cross_entropy,
    class_names: Sequence[str] = (),
    criteria: Criteria = Criteria(),
    name: str = "audit",
    seed: int = 0,
    device: str = "auto",
    tick: Tick = no_tick,
) -> Result:
    """Audit what a client with this model would give away by sending its update on this batch.

    `update` is what was really sent, where it was recorded (see `update_between`): the attack sees it, while floor and controls are
    made by `client`, which should train as the recorded one did. Who has no more than that leaves `batch` out, and says of how many
    `examples` the update is, if that is known: the attack is run and rehearsed, and the verdict is "not judged". `public` is other
    data of the same kind: without it there is no floor from other data, no identification, no rehearsal, and no verdict of "no
    leak". `inputs` says how the model sees pixels; without it they lie in [0, 1] and go in as they are. `threat` is "informed"
    unless something else is asked for, and without a batch "server", since nobody has the labels. `tick` hears of the progress,
    from 0 to 1. Algorithms are objects or configs. Raises UsageError for whatever does not fit together.
    """
    where = device_named(device)
    secret = None if batch is None else batch_of("batch", batch)
    others = None if public is None else batch_of("public", public)
    victim = model if isinstance(model, Model) else model_of(model, _shape(secret, others, inputs), inputs, loss)
    if secret is not None:
        secret = as_precise(secret, victim)
        check("batch", victim, secret)
    if others is not None:
        others = as_precise(others, victim)
        check("public", victim, others)
    if class_names and len(class_names) != victim.inputs.classes:
        raise UsageError(f"class_names: got {len(class_names)}, expected {victim.inputs.classes}, one for each output of the model")
    if not isinstance(defenses, Sequence) or isinstance(defenses, str):
        raise UsageError(f"defenses: got {defenses!r}, expected a list of them; put it in brackets")
    if examples is not None and (examples < 1 or (secret is not None and examples != len(secret))):
        raise UsageError(f"examples: got {examples}, expected {'at least 1' if secret is None else len(secret)}; leave it out")
    threat = ("server" if secret is None else "informed") if threat is None else threat
    plan = Plan(
        client=build("client", client),
        defenses=tuple(build("defense", defense) for defense in defenses),
        rounds=rounds if isinstance(rounds, Rounds) else Rounds(count=rounds),
        threat=threat if isinstance(threat, ThreatModel) else threat_named(threat),
        attack=build("attack", (UNLABELED_ATTACK if secret is None else DEFAULT_ATTACK) if attack is None else attack),
        control=None if control is None else build("attack", control),
        blind=build("attack", "mean_image"),
        metrics={name: build("metric", metric) for name, metric in DEFAULTS["metrics"].items()},
        criteria=criteria,
        seed=seed,
    )
    count = examples if secret is None else len(secret)
    if secret is None and update is not None and None not in (examples, update.examples) and examples != update.examples:
        raise UsageError(f"examples: got {examples}, but the update is of {update.examples}; leave it out")
    sent = None if update is None else recorded(update, victim, count, plan.rounds.count, where)
    held = None if others is None else others.to(where)
    if secret is None:
        return Result(_keyed(_unjudged(victim.to(where), sent, held, plan, tuple(class_names), tick), name))
    if held is not None:
        held = held[~copies(held.x, secret.x)]
    scene = Scene(model=victim.to(where), secret=secret.to(where), public=held, class_names=tuple(class_names), update=sent)
    return Result(_keyed(run(scene, plan, tick=tick), name))


def _unjudged(
    model: Model, update: Update | None, public: Batch | None, plan: Plan, class_names: tuple[str, ...], tick: Tick
) -> Outcome:
    if update is None:
        raise UsageError("batch: got None without an update, expected one of the two; pass the private examples, or what was sent")
    if Capability.LABELS in plan.threat:
        raise UsageError(
            f"threat: {plan.threat.name!r} grants labels, which nobody has without a batch; choose server, or a model without"
        )
    return run_unjudged(Sent(model, update, public, class_names), plan, tick=tick)


def _shape(secret: Batch | None, others: Batch | None, inputs: Inputs | None) -> tuple[int, ...]:
    if inputs is not None:
        return inputs.shape
    there = others if secret is None else secret
    if there is None:
        raise UsageError(
            "inputs: got None, expected what the model takes; pass Inputs(shape=(channels, height, width), classes=...)"
        )
    return tuple(there.x.shape[1:])


def _keyed(outcome: Outcome, name: str) -> Outcome:
    """Give the audit of live objects, which has no file to take a key from, the hash of what it found."""
    record = outcome.record
    content = repr((name, record.seed, record.setting, [replace(trial, seconds=0.0) for trial in record.trials.values()]))
    key = hashlib.sha256(content.encode()).hexdigest()[:16]
    return replace(outcome, record=replace(record, key=key, name=name))
