"""Several updates of one model, attacked at once: each ends where it ends alone."""

from dataclasses import replace

import pytest
import torch

from leakgauge.attacks.annealing import Annealing
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.engine.descent import one_by_one
from leakgauge.attacks.engine.products import target
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.modern import modern
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.restarting import Searching
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.terms import Terms
from leakgauge.auditing.pipeline import run as audit
from leakgauge.auditing.plan import Criteria, Plan, Scene
from leakgauge.auditing.record import ATTACK, CONTROL, FLOOR
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.errors import OutOfScope
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, no_tick
from leakgauge.metrics.psnr import PSNR
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP

INPUTS = Inputs((3, 12, 12), 5)
MODEL = LeNet().build(INPUTS, rng=stream(0))


def batch_of(seed, size=1):
    rng = stream(seed, "batch")
    return Batch(torch.rand(size, *INPUTS.shape, generator=rng), torch.randint(5, (size,), generator=rng).sort().values)


def seen_of(seed, model=MODEL, size=1, scale=1.0):
    seen = observe(model, batch_of(seed, size), client=FedSGD(), threat=INFORMED, rng=stream(seed, "client"))
    delta = {name: scale * value for name, value in seen.update.delta.items()}
    return replace(seen, update=replace(seen.update, delta=delta, scale=scale))


def widened(seen):
    """In double precision."""
    model, update = seen.model, seen.update
    delta = {name: value.double() for name, value in update.delta.items()}
    wide = replace(model, params={name: value.double() for name, value in model.params.items()})
    return replace(seen, model=wide, update=replace(update, delta=delta))


def problem_of(seen, likelihood, replay):
    return Problem(seen, Terms(likelihood, (TotalVariation(),), replay, None), Pixels(), seen.labels, None, stream(0))


@pytest.fixture
def crossings(monkeypatch):
    """How many targets each search was after."""
    found, together = [], Searching.together

    def noted(self, restarts, **given):
        found.append(len({one.target for one in restarts}))
        return together(self, restarts, **given)

    monkeypatch.setattr(Searching, "together", noted)
    return found


@pytest.mark.parametrize("replay", [Granted(), OneGradient()], ids=["granted", "one_gradient"])
@pytest.mark.parametrize("likelihood", [Gaussian(weight=2.0), Cosine()], ids=["gaussian", "cosine"])
def test_slopes_for_several_updates_are_those_of_each(likelihood, replay):
    """In double precision, for updates that are of different sizes as well."""
    scales = (1.0, 1e-3, 40.0) if isinstance(replay, OneGradient) else (1.0, 1.0, 1.0)
    problems = tuple(
        problem_of(widened(seen_of(seed, size=2, scale=scale)), likelihood, replay) for seed, scale in enumerate(scales)
    )
    points = {"x": torch.randn(3, 2, *INPUTS.shape, generator=stream(3), dtype=torch.float64)}
    computed = Computed(problems)
    found = computed.descents(points)
    assert not computed.alone, "the oracle was compared with itself"
    for row, problem in enumerate(problems):
        expected = one_by_one(problem, {"x": points["x"][row : row + 1]})
        assert float(found.losses[row]) == pytest.approx(float(expected.losses[0]), rel=1e-9)
        slope, own = found.slopes["x"][row], expected.slopes["x"][0]
        assert float((slope - own).norm()) <= 1e-9 * float(own.norm())


def test_targets_have_units_of_their_own():
    updates = [{"a": torch.tensor([3.0, 1e-3])}, {"a": torch.tensor([1e-12, 0.0])}, {"a": torch.tensor([-1e9, 1.0])}]
    aim = target(*updates)
    assert aim.unit.tolist() == [1.0, 2.0**-39, 2.0**30]
    for row, update in enumerate(updates):
        assert torch.equal(aim.numbers["a"][row] * aim.unit[row], update["a"])
        assert float(aim.squares["a"][row]) == float(target(update).squares["a"])


def test_an_update_of_ordinary_size_is_not_copied():
    update = {"a": torch.tensor([3.0, 1e-3])}
    assert target(update).numbers["a"].data_ptr() == update["a"].data_ptr()


ATTACKS = {
    "one_start": inverting_gradients(steps=8),
    "restarts": inverting_gradients(steps=8, restarts=3),
    "modern": modern(steps=4, restarts=4),
    "annealing": replace(inverting_gradients(steps=4, restarts=3), annealing=Annealing(start=0.1, stages=2, halving=True)),
}


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_several_updates_end_where_each_ends_alone(attack, crossings):
    seen = [widened(seen_of(seed)) for seed in (1, 2, 3)]  # L-BFGS makes rounding grow
    ticks = []
    together = attack.run_each(seen, rngs=[stream(seed, "attack") for seed in (1, 2, 3)], tick=ticks.append)
    assert crossings == [3]
    assert ticks == sorted(ticks)
    assert ticks[-1] == 1.0
    for seed, one, found in zip((1, 2, 3), seen, together, strict=True):
        alone = attack.run(one, rng=stream(seed, "attack"), tick=no_tick)
        assert torch.allclose(found.losses, alone.losses, rtol=1e-3)
        assert torch.equal(found.batch.y, alone.batch.y)
        assert PSNR()(found.batch.x, alone.batch.x) > 30
        assert len(found.trace) == len(alone.trace)


def test_targets_end_at_goals_of_their_own():
    def objective(point):
        return (point["x"] ** 2).sum()

    starts = torch.tensor([[1.0], [50.0], [2.0]])
    search = Adam(learning_rate=0.5, steps=40)
    given = {"project": lambda point: point, "tick": no_tick}
    found = search.minimize_each(objective, {"x": starts}, goals=[0.3, 0.3, 1e-9], targets=[0, 0, 1], rngs=[stream(0)] * 3, **given)
    assert found[0].loss <= 0.3
    assert len(found[0].trace) == len(found[1].trace) < 10
    alone = search.minimize(objective, {"x": starts[2]}, goal=1e-9, rng=stream(0), **given)
    assert torch.equal(found[2].trace, alone.trace)
    assert found[2].loss == alone.loss


def test_a_target_that_diverges_ends_none_but_itself():
    def objective(point):
        return (point["x"] ** 2).sum() / (point["x"].detach()[0] < 5)

    found = Adam(learning_rate=0.1, steps=30).minimize_each(
        objective,
        {"x": torch.tensor([[9.0], [1.0]])},
        project=lambda point: point,
        goals=[0.0, 0.0],
        targets=[0, 1],
        rngs=[stream(0), stream(1)],
        tick=no_tick,
    )
    assert [len(one.trace) for one in found] == [1, 31]
    assert [str(one.status) for one in found] == ["diverged", "ok"]


@pytest.mark.parametrize(
    "other",
    [
        seen_of(2, model=LeNet().build(INPUTS, rng=stream(9))),
        seen_of(2, model=MLP().build(INPUTS, rng=stream(0))),
        seen_of(2, size=2),
        replace(seen_of(2), client=FedSGD(batchnorm="train")),
        replace(seen_of(2), earlier=(seen_of(2),)),
    ],
    ids=["other_weights", "other_network", "other_size", "training_mode", "rounds"],
)
def test_what_cannot_go_together_goes_in_turn(other, crossings):
    attack, seen = inverting_gradients(steps=2), [seen_of(1), other]
    found = attack.run_each(seen, rngs=[stream(0), stream(1)], tick=no_tick)
    assert crossings == [1, 1]
    for row, one in enumerate(seen):
        assert torch.equal(found[row].batch.x, attack.run(one, rng=stream(row), tick=no_tick).batch.x)


@pytest.mark.parametrize(("count", "together"), [(20, [20]), (21, [1] * 21)], ids=["at_once", "in_turn"])
def test_updates_that_are_large_together_are_attacked_in_turn(count, together, crossings, monkeypatch):
    """Each candidate has a copy of its update beside it: of many targets, however few run at once."""
    numbers = sum(value.numel() for value in MODEL.params.values())
    monkeypatch.setattr("leakgauge.attacks.restarting._MOST", 20 * numbers)
    seen = [seen_of(seed) for seed in range(count)]
    inverting_gradients(steps=1).run_each(seen, rngs=[stream(seed) for seed in range(count)], tick=no_tick)
    assert crossings == together


def plan_of(attack, **settings):
    return Plan(
        client=FedSGD(),
        threat=INFORMED,
        attack=attack,
        blind=MeanImage(),
        metrics={"psnr": PSNR()},
        criteria=Criteria(candidates=2, power=settings.pop("power", 1)),
        **settings,
    )


def test_an_audit_attacks_its_own_and_other_data_at_once(crossings):
    """The floor is the same attack on an update of other data: one search, and scores as in turn."""
    scene = Scene(model=MODEL, secret=batch_of(1), public=batch_of(9, 30))
    attack = inverting_gradients(steps=20)
    together = audit(scene, plan_of(attack, power=4)).record
    assert max(crossings) == 3, "the positive control on three other batches"
    assert 2 in crossings, "attack and floor"
    crossings.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Searching, "crosses", lambda *_: False)
        alone = audit(scene, plan_of(attack, power=4)).record
    assert set(crossings) == {1}
    assert together.verdict.outcome == alone.verdict.outcome
    for name, trial in alone.trials.items():
        assert together.trials[name].scores["psnr"] == pytest.approx(trial.scores["psnr"], abs=0.1)


def test_of_updates_that_are_attacked_at_once_each_has_its_own_reason():
    """An update of zeros is out of scope, and no reason to leave out the floor."""
    sent = seen_of(1).update
    zeros = replace(sent, delta={name: torch.zeros_like(value) for name, value in sent.delta.items()})
    with pytest.raises(OutOfScope):
        inverting_gradients(steps=2).run_each([seen_of(1), seen_of(1, scale=0.0)], rngs=[stream(0)] * 2, tick=no_tick)
    scene = Scene(model=MODEL, secret=batch_of(1), public=batch_of(9, 30), update=zeros)
    trials = audit(scene, plan_of(inverting_gradients(steps=2))).record.trials
    assert [trials[name].status for name in (ATTACK, FLOOR, CONTROL)] == ["out_of_scope", "ok", "ok"]
