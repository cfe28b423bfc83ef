"""Verdicts of attacks that search: updates that know nothing must give nothing, whatever a prior or free factors make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import final

from torch.nn.functional import interpolate

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown
from benchmarks.verdicts import KINDS, METRICS, UNLABELED, UPDATES, Said, Split, Unrelated, counted, share, split
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.ggl import ggl
from leakgauge.attacks.labels.idlg import IDLG
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.modern import modern
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.unlocking import Unlocking
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.auditing.pipeline import run as audit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.protocols import Attack, Defense, Victim
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Client, Inputs
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.lenet import LeNet

COUNT, STEPS = 40, 100
OWN = "the secret's"


@final
@dataclass(frozen=True)
class Setup:
    """An attack, of so many steps, and what it is after."""

    victim: Victim
    client: Client
    attack: Callable[[int], Attack]
    defenses: tuple[Defense, ...] = ()


def _of_codes(steps: int) -> Attack:
    return ggl(weight=0.001, search=Adam(learning_rate=0.1, steps=steps, schedule="step"))


def _of_locks(steps: int) -> Attack:
    return Matching(
        likelihood=Cosine(),
        priors=(TotalVariation(weight=0.002),),
        space=Pixels(start_from="pink"),
        replay=Unlocking(),
        labels=IDLG(),
        search=Adam(learning_rate=0.1, steps=steps, schedule="step", signed=True),
    )


def _of_pixels(steps: int) -> Attack:
    return modern(steps=max(1, steps // 4), labels=IDLG())  # four stages


def _in_depth(steps: int) -> Attack:
    return modern(steps=max(1, steps // 8), labels=IDLG())  # each start takes those of eight stages


SETUPS: Mapping[str, Setup] = {
    "codes of a generator": Setup(CNN(), FedSGD(), _of_codes),
    "factors of a lock": Setup(KeyLocked(victim=LeNet()), FedSGD(batchnorm="train"), _of_locks, (KeyLock(),)),
    "pixels of modern": Setup(LeNet(), FedSGD(), _of_pixels),
    "pixels of modern in a deep network": Setup(ConvNet(width=8), FedSGD(), _in_depth),
}


def run(settings: Settings, results: Results) -> Shown:
    """Audit every kind of data, `--images` times each, with updates that know nothing and the secret's own."""
    count, steps = settings.images or COUNT, settings.steps or STEPS
    setups = settings.among(SETUPS)
    rows = [
        results.row(
            "searching",
            {"searched": name, "data": kind, "update": said or OWN, "audits": count, "steps": steps},
            counted(partial(audited, setups[name], kind, said, steps), count),
        )
        for name, kind, said in product(setups, KINDS, (*UPDATES, None))
    ]
    summary = []
    for name in setups:
        nulls, own = ([row for row in rows if row["searched"] == name and (row["update"] == OWN) is it] for it in (False, True))
        worst = max(nulls, key=lambda row: row["leaks"] / row["audits"])
        summary += [
            f"{name}: null audits told to leak: {share(nulls, 'leaks')}",
            f"{name}: in the worst of {len(nulls)} cells: {share([worst], 'leaks')} (goal: at most 5%)",
            f"{name}: of the secret's own update: {share(own, 'leaks')} told to leak",
        ]
    return Shown(
        f"Verdicts of attacks of {steps} steps on fresh networks, batch 1, labels withheld",
        [{**row, "interval": share([row], "leaks")} for row in rows],
        {name: name for name in ("searched", "data", "update", "audits", "leaks", "partial", "interval")},
        summary,
    )


def audited(setup: Setup, kind: str, said: Said | None, steps: int, seed: int) -> str:
    """The verdict of one audit: of an update that knows nothing, or of the secret's own.

    Without a positive control, what does not leak is inconclusive: only leaks are counted here.
    """
    found, inputs = split(kind, 1, seed)
    sides = Split(*(_colored(part) for part in found))
    inputs = Inputs((3, 32, 32), inputs.classes)
    plan = Plan(
        client=setup.client,
        defenses=(*(() if said is None else (Unrelated(said, sides.elsewhere),)), *setup.defenses),
        threat=UNLABELED,
        attack=setup.attack(steps),
        controls=frozenset({"floor", "blind"}),
        blind=MeanImage(),
        metrics=METRICS,
        seed=seed,
    )
    model = setup.victim.build(inputs, rng=stream(seed, "victim"))
    return audit(Scene(model=model, secret=sides.secret, public=sides.public), plan).record.verdict.outcome


def _colored(batch: Batch) -> Batch:
    """Examples in color, of 32x32, as the generator makes them."""
    return Batch(interpolate(batch.x.expand(-1, 3, -1, -1), size=(32, 32), mode="nearest"), batch.y)
