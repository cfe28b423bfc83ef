"""Verdicts put to the test: updates that know nothing must give nothing away, and leaks that were planted must be found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Literal, NamedTuple, final

import torch
from torch import Tensor

from benchmarks.cases import Settings
from benchmarks.results import Results, Shown, Values
from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.floors import MeanImage, RandomImage
from leakgauge.attacks.labels.known import Known
from leakgauge.auditing.pipeline import run as audit
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core import tree
from leakgauge.core.capabilities import ADAPTIVE, SERVER
from leakgauge.core.protocols import Attack, Metric, Pool
from leakgauge.core.rng import normal_like, stream
from leakgauge.core.statistics import wilson
from leakgauge.core.types import Batch, Capability, Client, Inputs, Model, Rng, ThreatModel, Update
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.metrics.affine import Affine
from leakgauge.metrics.psnr import PSNR
from leakgauge.victims.mlp import MLP

KINDS = ("natural", "near-duplicates", "gray", "one color", "2x2")
Said = Literal["noise", "other data", "same class"]
UPDATES: tuple[Said, ...] = ("noise", "other data", "same class")
METRICS: Mapping[str, Metric] = {"psnr": PSNR(), "psnr_affine": Affine(metric=PSNR())}
UNLABELED = ThreatModel("server with public data", SERVER.grants | {Capability.PUBLIC_DATA})
LABELED = ThreatModel("and labels", UNLABELED.grants | {Capability.LABELS})


class Split(NamedTuple):
    """Who has which examples."""

    secret: Batch
    public: Batch
    elsewhere: Batch  # where an update that knows nothing comes from


@final
@dataclass(frozen=True)
class Unrelated:
    """A defense that answers every batch with an update that knows nothing of it but, at most, its labels."""

    said: Said
    elsewhere: Batch

    def protect(self, client: Client, /) -> Client:
        """Return the client that sends such updates; of what it is handed, the batch only chooses which."""

        def sending(model: Model, batch: Batch, /, *, rng: Rng | None = None) -> Update:
            told = stream(int(1e6 * float(batch.x.double().sum())) % 2**31, "unrelated")
            if self.said == "noise":
                shape = client(model, batch, rng=rng)
                delta = tree.apply(lambda value: 0.01 * normal_like(value, told), shape.delta)
                return Update(delta, len(batch), 1.0)
            order = torch.randperm(len(self.elsewhere), generator=told)
            if self.said == "same class":
                places = [next(int(one) for one in order if self.elsewhere.y[one] == label) for label in batch.y]
            else:
                places = order[: len(batch)].tolist()
            return client(model, self.elsewhere[torch.tensor(places)], rng=rng)

        return sending


def run(settings: Settings, results: Results) -> Shown:
    count = settings.images or 40
    rows = []
    for kind, size, is_labeled, said in product(KINDS, (1, 8), (False, True), UPDATES):
        measure = counted(partial(null, kind, size, is_labeled, said), count)
        cell = {"data": kind, "batch": size, "labels": "granted" if is_labeled else "withheld", "update": said, "audits": count}
        rows.append(results.row("null", cell, measure))
    for kind, size in product(KINDS, (1, 8)):
        measure = counted(partial(planted, kind, size), count)
        rows.append(
            results.row(
                "planted", {"data": kind, "batch": size, "labels": "withheld", "update": "the secret's", "audits": count}, measure
            )
        )
    measure = counted(low_contrast(settings), 30)
    rows.append(
        results.row(
            "faint", {"data": "noise 0.03", "batch": 1, "labels": "granted", "update": "the secret's", "audits": 30}, measure
        )
    )
    shown = [{**row, "interval": share([row], "leaks")} for row in rows]
    nulls = [row for row in rows if row["update"] in UPDATES]
    natural = [row for row in nulls if row["data"] == "natural" and row["labels"] == "withheld"]
    worst = max(nulls, key=lambda row: row["leaks"] / row["audits"])
    return Shown(
        "Verdicts: null audits and planted leaks",
        shown,
        {
            name: name
            for name in ("data", "batch", "labels", "update", "audits", "leaks", "partial", "none", "inconclusive", "interval")
        },
        [
            f"null audits told to leak: {share(nulls, 'leaks')}, in part: {share(nulls, 'partial')}; inconclusive: "
            f"{share(nulls, 'inconclusive')}",
            f"in the worst of {len(nulls)} cells: {share([worst], 'leaks')} (goal: at most 5%)",
            f"on natural pictures without labels: {share(natural, 'leaks')} (goal: at most 1%)",
            f"planted leaks found: {share(rows[len(nulls) : -1], 'leaks')} (goal: at least 99%)",
            f"faint pictures under noise that were called no leak: {share(rows[-1:], 'none')} (goal: none)",
        ],
    )


def share(rows: Sequence[Values], said: str) -> str:
    """How many audits of several cells said so, with the interval that this allows for."""
    count, audits = sum(int(row[said]) for row in rows), sum(int(row["audits"]) for row in rows)
    low, high = wilson(count, audits)
    return f"{count:,} of {audits:,} ({low:.1%} to {high:.1%})"


def counted(audited: Callable[[int], str], count: int) -> Callable[[], Values]:
    """Return what counts the verdicts of so many audits."""

    def measure() -> Values:
        said = Counter(audited(seed) for seed in range(count))
        return {
            "leaks": said["leaks"] + said["partial leak"],  # whole or in part
            "partial": said["partial leak"],
            "none": said["no leak found by these attacks"],
            "inconclusive": said["inconclusive"],
        }

    return measure


def null(kind: str, size: int, is_labeled: bool, said: Said, seed: int) -> str:
    """The verdict on an update that knows nothing. The attack takes turns: what reads updates, and what reads the public data."""
    sides, inputs = split(kind, size, seed)
    attacks: tuple[Attack, ...] = (Analytic(labels=Known()) if is_labeled else Analytic(), MeanImage(), RandomImage())
    model = MLP(hidden=(128,)).build(inputs, rng=stream(seed, "victim"))
    plan = Plan(
        client=FedSGD(),
        defenses=(Unrelated(said, sides.elsewhere),),
        threat=LABELED if is_labeled else UNLABELED,
        attack=attacks[seed % 3],
        control=Analytic(),
        blind=MeanImage(),
        metrics=METRICS,
        seed=seed,
    )
    return audit(Scene(model=model, secret=sides.secret, public=sides.public), plan).record.verdict.outcome


def planted(kind: str, size: int, seed: int) -> str:
    """The verdict on the very update, read by an attack that can read it; units are enough for each of the examples."""
    sides, inputs = split(kind, size, seed)
    model = MLP(hidden=(256 if size == 1 else 4096,)).build(inputs, rng=stream(seed, "victim"))
    plan = Plan(client=FedSGD(), threat=UNLABELED, attack=Analytic(), blind=MeanImage(), metrics=METRICS, seed=seed)
    return audit(Scene(model=model, secret=sides.secret, public=sides.public), plan).record.verdict.outcome


def low_contrast(settings: Settings) -> Callable[[int], str]:
    """Pictures that noise leaves faint, and that a person recognizes at a glance."""
    pool = Photographs(size=32).load() if settings.data is None else settings.pool()

    def audited(seed: int) -> str:
        order = torch.randperm(len(pool), generator=stream(seed, "batch"))
        secret, public = order[:1], order[1:2000]
        model = MLP().build(pool.inputs, rng=stream(seed, "victim"))
        plan = Plan(
            client=FedSGD(),
            defenses=(GaussianNoise(sigma=0.03),),
            threat=ADAPTIVE,
            attack=Analytic(),
            blind=MeanImage(),
            metrics=METRICS,
            seed=seed,
        )
        scene = Scene(model=model, secret=_of(pool, secret), public=_of(pool, public))
        return audit(scene, plan).record.verdict.outcome

    return audited


def _of(pool: Pool, rows: Tensor) -> Batch:
    return Batch(pool.x[rows], pool.y[rows])


def split(kind: str, size: int, seed: int) -> tuple[Split, Inputs]:
    """Divide examples of a kind by chance, and tell what a model of them takes."""
    x, y = _examples(kind, seed)
    order = torch.randperm(len(x), generator=stream(seed, "split"))
    x, y, ends = x[order], y[order], (size, size + 80)
    parts = [Batch(x[start:end], y[start:end]) for start, end in ((0, ends[0]), (ends[1], None), (ends[0], ends[1]))]
    return Split(*parts), Inputs(tuple(x.shape[1:]), 10)


def _examples(kind: str, seed: int) -> tuple[Tensor, Tensor]:
    """Examples of a kind [350, *shape], with classes that go with their looks where looks tell classes apart."""
    rng, photographs = stream(seed, "examples"), Photographs(size=16).load()
    match kind:
        case "natural":
            return photographs.x, photographs.y
        case "near-duplicates":
            x = photographs.x[seed % 350] + 0.02 * torch.randn(350, 3, 16, 16, generator=rng)
        case "gray":
            x = 0.5 + 0.02 * torch.randn(350, 1, 16, 16, generator=rng)
        case "one color":
            x = torch.rand(350, 3, 1, 1, generator=rng).expand(350, 3, 16, 16)
        case _:
            x = torch.rand(350, 1, 2, 2, generator=rng)
    x = x.clamp(0, 1).contiguous()
    return x, (x.flatten(1).mean(1).argsort().argsort() * 10 // 350)
