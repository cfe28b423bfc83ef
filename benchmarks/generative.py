"""Verdicts of generative gradient leakage: updates that know nothing must give nothing, whatever the prior makes of them."""

from __future__ import annotations

from itertools import product

from torch.nn.functional import interpolate

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown
from benchmarks.verdicts import KINDS, METRICS, UNLABELED, UPDATES, Said, Split, Unrelated, counted, share, split
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.ggl import ggl
from leakgauge.attacks.searches.adam import Adam
from leakgauge.auditing.pipeline import run as audit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs
from leakgauge.victims.cnn import CNN

COUNT, STEPS = 40, 100
OWN = "the secret's"


def run(settings: Settings, results: Results) -> Shown:
    """Audit every kind of data, `--images` times each, with updates that know nothing and the secret's own."""
    count, steps = settings.images or COUNT, settings.steps or STEPS
    rows = [
        results.row(
            "generative",
            {"data": kind, "update": said or OWN, "audits": count, "steps": steps},
            counted(lambda seed, k=kind, s=said: audited(k, s, steps, seed), count),
        )
        for kind, said in product(KINDS, (*UPDATES, None))
    ]
    nulls, own = ([row for row in rows if (row["update"] == OWN) is is_own] for is_own in (False, True))
    worst = max(nulls, key=lambda row: row["leaks"] / row["audits"])
    return Shown(
        f"Verdicts of GGL with {steps} steps, the generator of color images, a fresh CNN, batch 1, labels withheld",
        [{**row, "interval": share([row], "leaks")} for row in rows],
        {name: name for name in ("data", "update", "audits", "leaks", "partial", "interval")},
        [
            f"null audits told to leak: {share(nulls, 'leaks')}",
            f"in the worst of {len(nulls)} cells: {share([worst], 'leaks')} (goal: at most 5%)",
            f"of the secret's own update: {share(own, 'leaks')} told to leak",
        ],
    )


def audited(kind: str, said: Said | None, steps: int, seed: int) -> str:
    """The verdict of one audit: of an update that knows nothing, or of the secret's own.

    Without a positive control, what does not leak is inconclusive: only leaks are counted here.
    """
    found, inputs = split(kind, 1, seed)
    sides = Split(*(_colored(part) for part in found))
    inputs = Inputs((3, 32, 32), inputs.classes)
    plan = Plan(
        client=FedSGD(),
        defenses=() if said is None else (Unrelated(said, sides.elsewhere),),
        threat=UNLABELED,
        attack=ggl(weight=0.001, search=Adam(learning_rate=0.1, steps=steps, schedule="step")),
        controls=frozenset({"floor", "blind"}),
        blind=MeanImage(),
        metrics=METRICS,
        seed=seed,
    )
    model = CNN().build(inputs, rng=stream(seed, "victim"))
    return audit(Scene(model=model, secret=sides.secret, public=sides.public), plan).record.verdict.outcome


def _colored(batch: Batch) -> Batch:
    """Examples in color, of 32x32, as the generator makes them."""
    return Batch(interpolate(batch.x.expand(-1, 3, -1, -1), size=(32, 32), mode="nearest"), batch.y)
