"""Every algorithm there is, held to the conformance checks that plugin authors use; and `@algorithm` itself."""

import dataclasses
import random
import sys
from dataclasses import replace
from types import SimpleNamespace
from typing import Annotated

import annotated_types as at
import numpy as np
import pytest
import torch
from plugin.installing import HERE
from table import TABLE

from leakgauge import spec, testing
from leakgauge.core import registry
from leakgauge.core.algorithm import Count, NonNegative, OpenShare, Positive, Share, algorithm
from leakgauge.core.errors import UsageError
from leakgauge.core.protocols import Found
from leakgauge.core.types import Batch, Capability, Reconstruction, Update


@pytest.mark.parametrize("family", registry.FAMILIES)
def test_the_table_has_every_registered_algorithm(family):
    listed = {row.name for row in TABLE if row.family == family}
    assert listed == set(registry.entries(family)), "give the new algorithm a row in tests/table.py"


def test_every_family_has_a_check():
    assert testing.CHECKS.keys() == registry.FAMILIES.keys()
    assert {check.__name__ for check in testing.CHECKS.values()} <= set(testing.__all__)
    assert testing.__all__ == sorted(testing.__all__)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_every_algorithm_passes_the_check_of_its_family(row):
    if row.elsewhere:
        testing.check_algorithm(row.family, row.algorithm)
    else:
        testing.CHECKS[row.family](row.algorithm, **row.options)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_every_row_is_made_by_the_name_it_stands_for(row):
    made = registry.find(row.family, row.name)
    kind = made if isinstance(made, type) else made.__annotations__["return"]
    assert type(row.algorithm).__name__ == getattr(kind, "__name__", kind)


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_no_field_can_be_set_and_none_by_position(row):
    fields = dataclasses.fields(row.algorithm)
    for one in fields:
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(row.algorithm, one.name, 1)
    if fields:
        with pytest.raises(TypeError, match="positional"):
            type(row.algorithm)(*(getattr(row.algorithm, one.name) for one in fields))


@pytest.mark.parametrize(
    "entry",
    [entry for family in registry.FAMILIES for entry in registry.entries(family).values()],
    ids=lambda e: f"{e.family} {e.name}",
)
def test_defaults_survive_the_way_through_a_file(entry):
    known = spec.parameters.parameters(entry.load())
    if any(parameter.is_required for parameter in known.values()):
        with pytest.raises(UsageError, match="is missing"):
            spec.build(entry.family, entry.name)
        return
    made = spec.build(entry.family, entry.name)
    assert spec.build(entry.family, spec.describe(entry.family, made)) == made
    assert spec.describe(entry.family, spec.build(entry.family, spec.describe(entry.family, made))) == spec.describe(
        entry.family, made
    )


def test_the_sample_plugin_passes(monkeypatch):
    monkeypatch.syspath_prepend(HERE / "sound")
    zebra = __import__("leakgauge_zebra")
    try:
        testing.check_attack(zebra.Zebra(), bounded=True, examples=3)
        testing.check_defense(zebra.silence(rest=0.5))
        testing.check_defense(zebra.Fading(keep=0.0))
    finally:
        del sys.modules["leakgauge_zebra"]


def only(value, *bounds):
    @algorithm
    class Holder:
        field: Annotated[float, *bounds]

    return Holder(field=value)


@pytest.mark.parametrize(
    ("hint", "inside", "outside", "told"),
    [
        (Count, 1, 0, ">= 1"),
        (Positive, 1e-9, 0.0, "> 0"),
        (NonNegative, 0.0, -1e-9, ">= 0"),
        (Share, 1.0, 1.1, "<= 1"),
        (Share, 0.0, -0.1, ">= 0"),
        (OpenShare, 0.99, 1.0, "< 1"),
        (Positive | None, None, -1.0, "> 0"),
        (tuple[Count, ...], (1, 2), (1, 0), ">= 1"),
    ],
)
def test_bounds_hold_from_construction_on(hint, inside, outside, told):
    holder = algorithm(type("Holder", (), {"__annotations__": {"field": hint}, "__module__": __name__}))
    assert holder(field=inside).field == inside
    with pytest.raises(UsageError, match=rf"^Holder\.field: got .*, expected a number {told}$"):
        holder(field=outside)
    with pytest.raises(UsageError):
        replace(holder(field=inside), field=outside)


def test_nan_is_in_no_bounds():
    for bound in (at.Ge(0), at.Gt(0), at.Le(1), at.Lt(1)):
        with pytest.raises(UsageError, match="got nan"):
            only(float("nan"), bound)


def test_the_own_check_of_an_algorithm_comes_after_that_of_its_bounds():
    @algorithm
    class Picky:
        count: Count = 1

        def __post_init__(self):
            raise UsageError("picky")

    with pytest.raises(UsageError, match=r"^picky$"):
        Picky()
    with pytest.raises(UsageError, match=r"Picky\.count: got 0"):
        Picky(count=0)


# What the checks find: each of these breaks one promise.


@algorithm
class Guess:
    """An attack that guesses gray, with its promises to be broken by the settings."""

    fault: str = ""

    @property
    def needs(self):
        return {"count"} if self.fault == "needs" else frozenset({Capability.COUNT})

    def run(self, seen, /, *, rng, tick):
        gray = torch.full((1 if self.fault == "count" else seen.count, *seen.model.inputs.shape), 0.5)
        labels = torch.zeros(len(gray), dtype=torch.long)
        match self.fault:
            case "global torch":
                gray = gray + 0 * torch.rand(())
            case "global numpy":
                np.random.random()
            case "global random":
                random.random()
            case "chance":
                gray = torch.from_numpy(np.random.default_rng().random(tuple(gray.shape)))
            case "changes":
                next(iter(seen.update.delta.values())).add_(1)
            case "range":
                gray = gray + 1
            case "shape":
                gray = gray.flatten(1)
            case "labels":
                labels = labels.float()
            case "graph":
                gray = gray.requires_grad_()
            case "nan":
                gray = gray * torch.nan
            case "progress":
                tick(0.9)
                tick(0.1)
            case "unsaid labels" if seen.labels is not None:
                gray = gray * seen.labels.reshape(-1, 1, 1, 1) / 10
            case "unsaid data" if seen.public is not None:
                gray = seen.public.x.mean(0).expand_as(gray)
            case "greed" if seen.labels is None:
                raise UsageError("threat: does not grant labels")
            case "replay" if seen.client is not None:
                seen.client(seen.model, Batch(gray, labels))
        return Reconstruction(Batch(gray, labels), torch.full((1,), torch.nan))


def test_a_sound_attack_passes():
    testing.check_attack(Guess(), bounded=True, examples=2)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("needs", "expected a frozenset of Capability"),
        ("global torch", "draws from a global generator"),
        ("global numpy", "draws from a global generator"),
        ("global random", "draws from a global generator"),
        ("chance", "answers that differ"),
        ("changes", r"changes what it was given \(at .*update"),
        ("range", "leave the range"),
        ("shape", "guesses shape"),
        ("labels", "guesses labels"),
        ("graph", "has a graph"),
        ("nan", "not finite"),
        ("progress", "progress falls"),
        ("unsaid labels", "other labels give another answer"),
        ("unsaid data", "other public_data give another answer"),
    ],
)
def test_a_faulty_attack_is_told(fault, told):
    with pytest.raises(AssertionError, match=told):
        testing.check_attack(Guess(fault=fault), bounded=True, examples=2)


def test_an_attack_that_wants_more_than_it_says_is_told():
    with pytest.raises(UsageError, match="does not grant labels"):
        testing.check_attack(Guess(fault="greed"))


def test_an_attack_out_of_scope_is_told():
    row = next(row for row in TABLE if row.name == "analytic")
    with pytest.raises(AssertionError, match="is out of scope here"):
        testing.check_attack(row.algorithm)


@dataclasses.dataclass(frozen=True)
class Keeping:
    """A client that keeps what it has seen."""

    client: object
    kept: list

    def __call__(self, model, batch, /, *, rng=None):
        self.kept.append(batch.x)
        return self.client(model, batch, rng=rng)


@dataclasses.dataclass(frozen=True)
class Boasting:
    """A client that says what it trained on, and says it wrong."""

    client: object
    fault: str

    def __call__(self, model, batch, /, *, rng=None):
        return self.client(model, batch, rng=rng)

    def trained_on(self, model, batch, /, *, rng):
        if self.fault == "rows":
            return batch[:1]
        return Batch(batch.x + torch.rand(batch.x.shape, generator=torch.Generator().manual_seed(random.getrandbits(30))), batch.y)


@algorithm
class Faulty:
    """A defense with one promise broken."""

    fault: str

    def protect(self, client, /):
        kept = []
        if self.fault == "keeps":
            return Keeping(client, kept)
        if self.fault in ("rows", "dice"):
            return Boasting(client, self.fault)

        def sending(model, batch, /, *, rng=None):
            update = client(model, batch, rng=rng)
            match self.fault:
                case "closure":
                    kept.append(batch.x.clone())
                case "name":
                    return replace(update, delta={"nothing": torch.ones(1)})
                case "nan":
                    return replace(update, delta={name: value * torch.nan for name, value in update.delta.items()})
                case "detached":
                    return replace(update, delta={name: value.detach() for name, value in update.delta.items()})
                case "global":
                    return replace(update, delta={name: torch.randn_like(value) for name, value in update.delta.items()})
                case "in place":
                    batch.x.mul_(0.5)
                case "replay":
                    sign = -1 if batch.x.requires_grad else 1
                    return replace(update, delta={name: sign * value for name, value in update.delta.items()})
                case "empty":
                    return Update(delta={})
                case "count":
                    return replace(update, examples=99)
            return update

        return sending


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("keeps", "shares memory with the secret"),
        ("closure", "holds a secret example"),
        ("name", "'nothing', which the model does not have"),
        ("nan", "not finite"),
        ("detached", "cannot be differentiated"),
        ("global", "global generator"),
        ("in place", "changes what it was given"),
        ("replay", "where the batch requires a gradient"),
        ("empty", "sends nothing"),
        ("count", "says 99 examples, expected 4"),
        ("rows", "says that it trained on"),
        ("dice", "global generator"),
    ],
)
def test_a_faulty_defense_is_told(fault, told):
    with pytest.raises(AssertionError, match=told):
        testing.check_defense(Faulty(fault=fault))


@algorithm
class Descent:
    """Plain gradient descent with one promise broken."""

    fault: str = ""

    def minimize(self, objective, start, /, *, project, goal, rng, tick):
        point = {name: value.clone().requires_grad_() for name, value in start.items()}
        trace, best = [], None
        for _ in range(20):
            loss = objective(point)
            trace.append(float(loss.detach()))
            held = {name: value.clone() if self.fault == "graph" else value.detach().clone() for name, value in point.items()}
            if best is None or self.fault == "last" or trace[-1] < best[1]:
                best = (held, trace[-1])
            if self.fault != "goal" and (trace[-1] <= goal or trace[-1] != trace[-1]):
                break
            slopes = torch.autograd.grad(loss, list(point.values()))
            rate = -0.1 if self.fault == "last" else 0.1
            moved = {name: (value - rate * slope).detach() for (name, value), slope in zip(point.items(), slopes, strict=True)}
            if self.fault == "off by one":
                best = ({name: value.clone() for name, value in moved.items()}, trace[-1])
            point = {name: value.requires_grad_() for name, value in (moved if self.fault == "box" else project(moved)).items()}
        status = "ok" if self.fault == "nan" or trace[-1] == trace[-1] else "diverged"
        return Found(best[0], best[1], torch.tensor(trace), testing.objectives.Status(status))


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("off by one", "for a point whose loss is"),
        ("last", "worse than its start"),
        ("box", "not allowed"),
        ("graph", "with a graph"),
        ("goal", "goes on"),
        ("nan", "no number"),
    ],
)
def test_a_faulty_search_is_told(fault, told):
    testing.check_search(Descent())
    with pytest.raises(AssertionError, match=told):
        testing.check_search(Descent(fault=fault))


@algorithm
class Half:
    """A likelihood, prior, metric and rule with a fault."""

    fault: str

    def __call__(self, first, second, /):
        match self.fault:
            case "offset":
                return 1 + sum((first[name] - value).square().sum() for name, value in second.items())
            case "norm":  # no derivative where the two agree
                return sum((first[name] - value).square().sum() for name, value in second.items()).sqrt()
            case "others":
                return sum(value.square().sum() for value in first.values()) * 0 + len(first) - 2
            case "vector":
                return first.x.flatten(1).sum(1)
            case "blind":
                return torch.zeros(())
            case "together":
                return (first - second).square().flatten(1).mean(1) / (1e-3 + (first - second).square().mean())
            case "same":
                return first.flatten(1).mean(1) * 0


@pytest.mark.parametrize(
    ("family", "fault", "told"),
    [
        ("likelihood", "offset", "where both agree, expected 0"),
        ("likelihood", "norm", "gradient that is not finite"),
        ("likelihood", "others", "not seen"),
        ("prior", "vector", "expected a finite scalar"),
        ("prior", "blind", "cannot be differentiated"),
        ("metric", "together", "by the others beside it"),
        ("metric", "same", "does not tell a perfect copy"),
    ],
)
def test_a_faulty_part_is_told(family, fault, told):
    with pytest.raises(AssertionError, match=told):
        testing.CHECKS[family](Half(fault=fault))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (SimpleNamespace(needs=frozenset()), "no frozen dataclass"),
        (dataclasses.make_dataclass("Thawed", [("size", int, 1)])(), "no frozen dataclass"),
        (
            dataclasses.make_dataclass("Listed", [("sizes", list, dataclasses.field(default_factory=list))], frozen=True)(),
            "cannot be hashed",
        ),
        (
            dataclasses.make_dataclass("Shy", [("size", int, dataclasses.field(default=1, repr=False))], frozen=True)(),
            "its repr lacks size",
        ),
        (dataclasses.make_dataclass("Alone", [("size", int, 1)], frozen=True, eq=False)(), "differs from its copy"),
    ],
)
def test_what_is_no_value_is_told(value, told):
    with pytest.raises(AssertionError, match=told):
        testing.check_algorithm("attack", value)
