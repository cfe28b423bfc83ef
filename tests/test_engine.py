"""Ways to compute an objective and its slopes: each against reverse differentiation of one candidate after the other."""

import contextlib
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.functional import fold, unfold
from torch.utils._python_dispatch import TorchDispatchMode

from leakgauge.attacks.ball import Ball
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.engine.compiled import compiled, is_worthwhile
from leakgauge.attacks.engine.descent import one_by_one, row_of
from leakgauge.attacks.engine.gathering import gathered
from leakgauge.attacks.engine.products import products, target, unwritten
from leakgauge.attacks.gradinversion import gradinversion
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.laplace import Laplace
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.restarting import Searching
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.searches.cma_es import CMAES
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.terms import Terms
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core import tree
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.kinks import kinks
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Inputs, Model, Update, no_tick
from leakgauge.core.workload import operations, threads_for
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet
from leakgauge.victims.vit import ViT

INPUTS = Inputs(shape=(3, 12, 12), classes=5, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25))
NETS = {
    "mlp": MLP(hidden=(40,)),
    "cnn": CNN(),
    "lenet": LeNet(channels=4),
    "convnet": ConvNet(width=4),
    "resnet": ResNet(blocks=(1, 1), widths=(6, 64)),
    "vit": ViT(dim=8, depth=1, heads=2),
}


def double(model):
    params, buffers = (
        {name: value.double() if value.is_floating_point() else value for name, value in tree.items()}
        for tree in (model.params, model.buffers)
    )
    return replace(model, net=model.net.double(), params=params, buffers=buffers)


def batch_of(count, seed=0, dtype=torch.float64):
    rng = stream(seed, "batch")
    return Batch(torch.rand(count, *INPUTS.shape, generator=rng).to(dtype), torch.randint(INPUTS.classes, (count,), generator=rng))


def seen_of(model, count, seed=0, scale=1.0):
    batch = batch_of(count, seed, next(iter(model.params.values())).dtype)
    seen = observe(model, batch, client=FedSGD(), threat=INFORMED, rng=stream(0))
    delta = {name: scale * value for name, value in seen.update.delta.items()}
    return replace(seen, update=replace(seen.update, delta=delta))


def problem_of(seen, likelihood=Cosine(), replay=Granted(), labels=None):
    labels = seen.labels if labels is None else labels
    return Problem(seen, Terms(likelihood, (TotalVariation(),), replay, None), Pixels(), labels, None, stream(0))


def points_of(problem, count, seed=3):
    like = next(iter(problem.seen.update.delta.values()))
    x = torch.randn(count, len(problem.labels), *INPUTS.shape, generator=stream(seed), dtype=torch.float64).to(like)
    return {"x": x, "y": torch.randn(count, *problem.labels.shape).to(like)} if problem.is_joint else {"x": x}


def alike(found, expected, rel):
    assert torch.allclose(found.losses, expected.losses, rtol=rel, atol=0)
    assert found.slopes.keys() == expected.slopes.keys()
    for name, value in expected.slopes.items():
        assert float((found.slopes[name] - value).norm()) <= rel * float(value.norm())
        assert float(value.norm()) > 0


# At once


@pytest.mark.parametrize("is_joint", [False, True], ids=["labels", "joint"])
@pytest.mark.parametrize("likelihood", [Gaussian(weight=2.0), Cosine(weight=3.0)], ids=["gaussian", "cosine"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("net", sorted(NETS.keys() - {"vit"}))
def test_slopes_of_many_are_those_of_one_after_the_other(net, size, likelihood, is_joint):
    seen = seen_of(double(NETS[net].build(INPUTS, rng=stream(0))), size)
    labels = torch.randn(size, INPUTS.classes, generator=stream(5)).double() if is_joint else None
    problem = problem_of(seen, likelihood, labels=labels)
    points = points_of(problem, 3)
    computed = Computed((problem,))
    alike(computed.descents(points), one_by_one(problem, points), 1e-9)
    assert not computed.alone, "the oracle was compared with itself"


@pytest.mark.parametrize("net", NETS)
def test_slopes_of_one_are_the_same_by_products(net, monkeypatch):
    monkeypatch.setattr("leakgauge.attacks.computing._WORTH", 0)
    problem = problem_of(seen_of(double(NETS[net].build(INPUTS, rng=stream(0))), 2))
    points = points_of(problem, 1)
    computed = Computed((problem,))
    alike(computed.descents(points), one_by_one(problem, points), 1e-9)
    assert not computed.alone
    assert problem.is_shareable


def test_the_weight_of_the_likelihood_is_that_of_many_as_well():
    problem = problem_of(seen_of(double(NETS["cnn"].build(INPUTS, rng=stream(0))), 1)).weighted(0.01)
    points = points_of(problem, 3)
    alike(Computed((problem,)).descents(points), one_by_one(problem, points), 1e-9)
    assert not torch.allclose(one_by_one(problem, points).losses, one_by_one(problem.weighted(1.0), points).losses, rtol=0.1)


@pytest.mark.parametrize(
    "loss",
    [
        nn.CrossEntropyLoss(reduction="sum"),
        nn.CrossEntropyLoss(weight=torch.linspace(0.1, 3, 5, dtype=torch.float64)),
        lambda logits, y: nn.functional.cross_entropy(logits, y) + logits.square().sum(dim=1).max(),
    ],
    ids=["sum", "weighted", "largest"],
)
def test_each_candidate_has_a_loss_of_its_own_examples(loss):
    model = replace(double(NETS["cnn"].build(INPUTS, rng=stream(0))), loss=loss)
    problem = problem_of(seen_of(model, 3))
    points, computed = points_of(problem, 4), Computed((problem,))
    alike(computed.descents(points), one_by_one(problem, points), 1e-9)
    assert not computed.alone


def test_problems_side_by_side_have_labels_of_their_own():
    seen = seen_of(double(NETS["cnn"].build(INPUTS, rng=stream(0))), 2)
    problems = tuple(problem_of(seen, labels=torch.tensor(labels)) for labels in ([0, 1], [1, 0], [4, 2]))
    points = points_of(problems[0], 3)
    found = Computed(problems).descents(points)
    for row, problem in enumerate(problems):
        expected = one_by_one(problem, {"x": points["x"][row : row + 1]})
        assert torch.allclose(found.losses[row], expected.losses[0])
        assert torch.allclose(found.slopes["x"][row], expected.slopes["x"][0], rtol=1e-6, atol=1e-12)


def test_a_candidate_that_is_no_number_spoils_no_other():
    problem = problem_of(seen_of(double(NETS["cnn"].build(INPUTS, rng=stream(0))), 1))
    points = points_of(problem, 3)
    expected = Computed((problem,)).descents(points)
    points["x"][1] = torch.nan
    found = Computed((problem,)).descents(points)
    assert found.losses.isnan().tolist() == [False, True, False]
    assert torch.equal(found.slopes["x"][[0, 2]], expected.slopes["x"][[0, 2]])


@pytest.mark.parametrize("scale", [1e-28, 1e-12, 1e12])
def test_updates_of_any_size_are_followed(scale):
    """Squares of numbers that are this small, or large, leave the range of 32 bits."""
    problem = problem_of(seen_of(NETS["cnn"].build(INPUTS, rng=stream(0)), 1, scale=scale))
    plain = problem_of(seen_of(NETS["cnn"].build(INPUTS, rng=stream(0)), 1))
    points = points_of(problem, 3)
    alike(Computed((problem,)).descents(points), one_by_one(plain, points), 1e-3)


@pytest.mark.parametrize("likelihood", [Gaussian(), Cosine()], ids=["gaussian", "cosine"])
def test_near_the_truth_no_digit_is_lost(likelihood):
    model = NETS["cnn"].build(INPUTS, rng=stream(0))
    secret = batch_of(1, dtype=torch.float32)
    problem = problem_of(seen_of(model, 1), likelihood, labels=secret.y)
    near = INPUTS.normalize(secret.x) + 1e-4 * torch.randn(4, 1, *INPUTS.shape, generator=stream(1))
    bare = replace(problem, terms=replace(problem.terms, priors=()))
    found, expected = Computed((bare,)).descents({"x": near}), one_by_one(bare, {"x": near})
    assert torch.equal(found.losses, expected.losses)
    assert torch.equal(found.slopes["x"], expected.slopes["x"])
    wide = double(model)
    exact = problem_of(seen_of(wide, 1), likelihood, labels=secret.y)
    exact = replace(exact, terms=replace(exact.terms, priors=()))
    slopes = one_by_one(exact, {"x": near.double()}).slopes["x"]
    assert float((found.slopes["x"] - slopes).norm() / slopes.norm()) < 0.05


# What products cannot follow


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(48, 48), nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.one(self.one(x.flatten(1)[:, :48])))


class Elsewhere(nn.Module):
    """The weight of a layer takes part in another operation as well."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(48, 48), nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.one(x.flatten(1)[:, :48])) * (1 + self.head.weight.square().sum())


class Given(nn.Module):
    """One layer's weight is what another one takes."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(48, 48), nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.one(x.flatten(1)[:, :48])) + self.head(self.one.weight).sum(dim=0)


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 6, 3, groups=3), nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.conv(x).mean(dim=(2, 3)))


class Gain(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain, self.head = nn.Parameter(torch.ones(48)), nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.gain * x.flatten(1)[:, :48])


class OneDimension(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv1d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.conv(x.flatten(2)).square().mean(dim=2))


class Partly(nn.Module):
    """A bias is trained, and its weight is not."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(432, 8), nn.Linear(8, 5)
        self.one.weight.requires_grad_(False)

    def forward(self, x):
        return self.head(self.one(x.flatten(1)).sigmoid())


@pytest.mark.parametrize("net", [Shared, Elsewhere, Given, Grouped, Gain, OneDimension, Partly])
@pytest.mark.parametrize("count", [1, 3])
def test_what_products_cannot_follow_is_right_as_well(net, count, monkeypatch):
    monkeypatch.setattr("leakgauge.attacks.computing._WORTH", 0)
    torch.manual_seed(0)
    made = net()
    model = double(
        Model(made, {name: value.detach() for name, value in made.named_parameters()}, {}, nn.functional.cross_entropy, INPUTS)
    )
    problem = problem_of(seen_of(model, 2))
    points = points_of(problem, count)
    alike(Computed((problem,)).descents(points), one_by_one(problem, points), 1e-9)
    found = products(model, batch_of(6), 3, target(problem.seen.update.delta), {})
    assert found is None, "several candidates share what is not known to be apart"


def test_numbers_that_are_not_written_down_are_counted():
    model = MLP(hidden=(100,)).build(INPUTS, rng=stream(0))
    assert unwritten(model, batch_of(1, dtype=torch.float32)) == 432 * 100 + 100 * 5
    assert unwritten(model, batch_of(200, dtype=torch.float32)) == 0, "as many examples have more products than numbers"


# Searches of many starts


def seen_small(seed=0):
    return seen_of(NETS["lenet"].build(INPUTS, rng=stream(seed)), 1, seed)


@pytest.mark.parametrize("langevin", [0.0, 0.01])
def test_starts_that_are_searched_together_end_where_they_end_alone(langevin):
    problem = problem_of(seen_of(double(NETS["lenet"].build(INPUTS, rng=stream(0))), 1))
    search = Adam(learning_rate=0.05, steps=20, langevin=langevin)
    points = points_of(problem, 3)
    together = search.minimize_each(
        Computed((problem,)),
        points,
        project=problem.project,
        goals=[0.0] * 3,
        targets=[0] * 3,
        rngs=[stream(row) for row in range(3)],
        tick=no_tick,
    )
    for row, found in enumerate(together):
        alone = search.minimize(problem, row_of(points, row), project=problem.project, goal=0.0, rng=stream(row), tick=no_tick)
        assert found.loss == pytest.approx(alone.loss, rel=1e-9)
        assert torch.allclose(found.trace, alone.trace, rtol=1e-6)
        assert torch.allclose(found.point["x"], alone.point["x"], atol=1e-6)


def test_a_start_that_diverges_ends_none_but_itself():
    def objective(point):
        return (point["x"] ** 2).sum() / (point["x"].detach()[0] < 5)

    search = Adam(learning_rate=0.1, steps=30)
    starts = {"x": torch.tensor([[1.0], [9.0]])}
    kept, lost = search.minimize_each(
        objective,
        starts,
        project=lambda point: point,
        goals=[0.0] * 2,
        targets=[0] * 2,
        rngs=[stream(0), stream(1)],
        tick=no_tick,
    )
    assert kept.loss < 0.5
    assert str(kept.status) == "ok"
    assert len(kept.trace) == 31
    assert str(lost.status) == "diverged"


def test_all_starts_end_where_one_reaches_the_goal():
    search = Adam(learning_rate=0.5, steps=100)
    starts = {"x": torch.tensor([[1.0], [50.0]])}
    found = search.minimize_each(
        lambda point: (point["x"] ** 2).sum(),
        starts,
        project=lambda point: point,
        goals=[0.3] * 2,
        targets=[0] * 2,
        rngs=[stream(0), stream(1)],
        tick=no_tick,
    )
    assert found[0].loss <= 0.3
    assert len(found[0].trace) == len(found[1].trace) < 10


def test_restarts_find_together_what_they_find_alone(monkeypatch):
    seen = seen_small()
    attack = inverting_gradients(steps=6, restarts=4)
    ticks = []
    together = attack.run(seen, rng=stream(0, "attack"), tick=ticks.append)
    assert ticks == sorted(ticks)
    assert ticks[-1] == 1.0
    monkeypatch.setattr(Searching, "_shares", lambda *_: False)
    alone = attack.run(seen, rng=stream(0, "attack"), tick=no_tick)
    assert torch.allclose(together.losses, alone.losses, rtol=1e-3)
    assert int(together.losses.argmin()) == int(alone.losses.argmin())
    assert len(set(together.losses.tolist())) == 4


def test_members_of_a_group_are_computed_together():
    problem = problem_of(seen_of(double(NETS["cnn"].build(INPUTS, rng=stream(0))), 1))
    group, members = GroupConsistency(members=3, weight=0.5), points_of(problem, 3)
    calls = []

    class Watched:
        def __call__(self, point):
            return problem(point)

        def descents(self, points):
            calls.append(len(points["x"]))
            return Computed((problem,)).descents(points)

    starts = [row_of(members, row) for row in range(3)]
    given = {"project": problem.project, "goal": 0.0, "tick": no_tick}
    found = group.minimize(Adam(steps=5), Watched(), starts, rng=stream(0), **given)
    plain = group.minimize(Adam(steps=5), lambda point: problem(point), starts, rng=stream(0), **given)
    assert found.loss == pytest.approx(plain.loss, rel=1e-9)
    assert set(calls) == {3}


@pytest.mark.parametrize("attack", [inverting_gradients(steps=3, restarts=2), gradinversion(steps=3)], ids=["ig", "gi"])
def test_an_update_of_training_is_replayed_one_by_one(attack):
    """A client that trains BatchNorm, or several steps, sends no gradient of which products would tell."""
    seen = seen_small()
    trained = replace(seen, client=FedSGD(batchnorm="train"))
    assert not attack.terms.can_compare(trained)
    assert replace(attack, replay=OneGradient()).terms.can_compare(trained)


class Held(TorchDispatchMode):
    """The most bytes that the results of operations held at once, views of what was there before apart."""

    def __init__(self):
        super().__init__()
        self.most, self._held = 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        given = {one.untyped_storage()._cdata for one in args if isinstance(one, torch.Tensor)}
        for one in made if isinstance(made, tuple | list) else [made]:
            if isinstance(one, torch.Tensor) and (storage := one.untyped_storage())._cdata not in given:
                self._held[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
        self._held = {key: (ref, size) for key, (ref, size) in self._held.items() if not ref.expired()}
        self.most = max(self.most, sum(size for _, size in self._held.values()))
        return made


def test_a_cosine_that_is_looked_at_copies_one_tensor_of_each_tree_at_a_time():
    one, other = ({str(at): torch.full((1000,), value) for at in range(20)} for value in (1.0, 2.0))
    with torch.no_grad(), Held() as held:
        assert float(tree.cosine(one, other)) == pytest.approx(1)
    assert 8_000 <= held.most < 20_000, "of 160,000 in both"


def test_a_step_by_products_holds_no_gradient():
    problem = problem_of(seen_of(MLP(hidden=(3000,)).build(INPUTS, rng=stream(0)), 1))
    gradient = sum(value.nbytes for value in problem.seen.update.delta.values())
    points, computed = points_of(problem, 1), Computed((problem,))
    computed.descents(points)  # the first step is compared with that of the gradient itself
    with Held() as held:
        computed.descents(points)
    assert held.most < gradient / 5
    with Held() as held:
        one_by_one(problem, points)
    assert held.most > gradient


def test_an_update_of_zero_has_no_unit():
    assert target({"a": torch.zeros(3)}).unit.tolist() == [1.0]
    assert target({"a": torch.tensor([torch.nan])}).unit.tolist() == [1.0]
    assert Update({"a": torch.zeros(3)}).delta.keys() == target({"a": torch.zeros(3)}).numbers.keys()


# Compiled


@pytest.fixture
def always(monkeypatch, tmp_path):
    monkeypatch.setenv("LEAKGAUGE_COMPILE", "always")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))


@pytest.mark.parametrize("likelihood", [Cosine(), Laplace()], ids=["at_once", "alone"])
def test_a_compiled_step_gives_what_the_step_gives(likelihood, always, monkeypatch):
    problem = problem_of(seen_of(NETS["cnn"].build(INPUTS, rng=stream(0)), 1), likelihood)
    computed = Computed((problem,))
    for seed in (3, 4):
        points = points_of(problem, 1, seed)
        alike(computed.descents(points), one_by_one(problem, points), 1e-4)
    assert len(computed.compiled) == 1
    assert None not in computed.compiled.values(), "nothing was compiled"
    other = problem_of(seen_of(NETS["cnn"].build(INPUTS, rng=stream(9)), 1, seed=9), likelihood)
    points = points_of(other, 1)
    alike(Computed((other,)).descents(points), one_by_one(other, points), 1e-4)


def test_what_looks_at_numbers_is_not_compiled():
    assert compiled(lambda x: (x * 2 if float(x.sum()) > 0 else x,), [torch.ones(3)]) is None


def test_chance_is_not_compiled(always):
    rng = stream(0)
    assert compiled(lambda x: (x + torch.randn(3, generator=rng),), [torch.ones(3)]) is None


def test_without_a_compiler_the_step_is_taken_as_it_is(always, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda *_, **__: (_ for _ in ()).throw(RuntimeError("no compiler")))
    problem = problem_of(seen_of(NETS["cnn"].build(INPUTS, rng=stream(0)), 1))
    points = points_of(problem, 1)
    computed = Computed((problem,))
    alike(computed.descents(points), one_by_one(problem, points), 1e-5)
    assert list(computed.compiled.values()) == [None]


def test_long_searches_are_compiled(monkeypatch):
    monkeypatch.delenv("LEAKGAUGE_COMPILE", raising=False)
    assert is_worthwhile(Adam(steps=24_000).evaluations)
    assert not is_worthwhile(Adam(steps=1_000).evaluations)
    monkeypatch.setenv("LEAKGAUGE_COMPILE", "always")
    assert is_worthwhile(1)
    monkeypatch.setenv("LEAKGAUGE_COMPILE", "never")
    assert not is_worthwhile(24_000)


def test_a_ball_is_drawn_anew_in_every_step(always):
    problem = replace(problem_of(seen_of(NETS["cnn"].build(INPUTS, rng=stream(0)), 1)), ball=Ball(samples=2, radius=0.1))
    points = points_of(problem, 1)
    computed = Computed((problem,))
    first, second = computed.descents(points), computed.descents(points)
    assert not torch.equal(first.losses, second.losses)
    assert not computed.compiled


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("is_guarded", [False, True], ids=["guards_skipped", "guards_kept"])
def test_no_compiled_code_adds_up_into_places(is_guarded, always, two_threads, tmp_path, monkeypatch):
    """Inductor's own code for that writes beyond the memory's end, where several threads share an image's places."""
    if is_guarded:  # as by versions of torch that cannot skip them
        monkeypatch.setattr("leakgauge.attacks.engine.compiled._UNGUARDED", None)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 16, 1, stride=2),
        nn.Flatten(),
        nn.Linear(64, INPUTS.classes),
    )
    model = Model(net, {name: value.detach() for name, value in net.named_parameters()}, {}, nn.functional.cross_entropy, INPUTS)
    problem = problem_of(seen_of(model, 1))
    points = points_of(problem, 1)
    computed = Computed((problem,))
    alike(computed.descents(points), one_by_one(problem, points), 1e-4)
    assert None not in computed.compiled.values(), "nothing was compiled"
    sources = [path.read_text() for path in tmp_path.rglob("*.cpp")]
    assert sources
    assert not any("atomic_add" in source for source in sources)
    assert not torch.are_deterministic_algorithms_enabled()


@settings(max_examples=60)
@given(
    kernel=st.tuples(*[st.integers(1, 4)] * 2),
    dilation=st.tuples(*[st.integers(1, 2)] * 2),
    padding=st.tuples(*[st.integers(0, 2)] * 2),
    stride=st.tuples(*[st.integers(1, 3)] * 2),
    extra=st.tuples(*[st.integers(0, 5)] * 2),
    batch=st.sampled_from([(), (1,), (2,)]),
)
def test_columns_are_gathered_as_they_are_summed(kernel, dilation, padding, stride, extra, batch):
    size = tuple(max(1, (k - 1) * d + 1 - 2 * p) + e for k, d, p, e in zip(kernel, dilation, padding, extra, strict=True))
    x = torch.randn(*batch, 2, *size, dtype=torch.float64, generator=stream(0))
    columns = unfold(x, kernel, dilation, padding, stride)
    found = gathered(columns, size, kernel, dilation, padding, stride)
    torch.testing.assert_close(found, fold(columns, size, kernel, dilation, padding, stride))


# Networks as people write them


class InPlace(nn.Module):
    """What torchvision's networks do: the activation is put where a layer's output lay."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 5)

    def forward(self, x):
        x = nn.functional.relu_(self.norm(self.conv(x)))
        return self.head(x.mean(dim=(2, 3))).mul_(2)


class Keywords(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)
        self.norm = nn.LayerNorm(4)

    def forward(self, x):
        x = nn.functional.conv2d(input=x, weight=self.conv.weight, bias=self.conv.bias, stride=2)
        x = x.square().mean(dim=(2, 3))
        x = nn.functional.layer_norm(input=x, normalized_shape=(4,), weight=self.norm.weight, bias=self.norm.bias)
        return nn.functional.linear(input=x, weight=self.head.weight, bias=self.head.bias)


class SequenceFirst(nn.Module):
    """The examples are the second side of what a layer is given."""

    def __init__(self):
        super().__init__()
        self.one, self.head = nn.Linear(36, 6), nn.Linear(6, 5)

    def forward(self, x):
        rows = x.flatten(2).reshape(len(x), 12, 36).transpose(0, 1)
        return self.head(self.one(rows).sigmoid().square().mean(dim=0))


class SharedBias(nn.Module):
    """A bias is that of a layer that is trained, and of one that is not."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(432, 8), nn.Linear(8, 8), nn.Linear(8, 5)
        self.two.weight.requires_grad_(False)
        self.two.bias = self.one.bias

    def forward(self, x):
        return self.head(self.two(self.one(x.flatten(1)).sigmoid()).sigmoid())


class Frozen(nn.Module):
    """Part of the network runs without derivatives."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Linear(432, 8), nn.Linear(432, 8), nn.Linear(8, 5)

    def forward(self, x):
        with torch.no_grad():
            scale = self.one(x.flatten(1)).sigmoid()
        return self.head(scale * self.two(x.flatten(1)).sigmoid())


WRITTEN = [InPlace, Keywords, SequenceFirst, SharedBias, Frozen]


@pytest.mark.parametrize("net", WRITTEN)
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("size", [1, 3])
def test_networks_as_people_write_them_are_right(net, count, size, monkeypatch):
    monkeypatch.setattr("leakgauge.attacks.computing._WORTH", 0)
    torch.manual_seed(0)
    made = net()
    params = {name: value.detach() for name, value in made.named_parameters()}
    model = double(Model(made.eval(), params, dict(made.named_buffers()), nn.functional.cross_entropy, INPUTS))
    problem = problem_of(seen_of(model, size))
    points = points_of(problem, count)
    alike(Computed((problem,)).descents(points), one_by_one(problem, points), 1e-9)
    expected = torch.stack([problem(row_of(points, row)) for row in range(count)])
    assert torch.allclose(Computed((problem,)).each(points), expected)


# Threads


@pytest.fixture
def several_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("operations", "threads"), [(0, 1), (499_999_999, 1), (500_000_000, 3)], ids=["nothing", "small", "large"])
def test_what_has_few_operations_has_one_thread(operations, threads, several_threads):
    with threads_for(operations):
        assert torch.get_num_threads() == threads
    assert torch.get_num_threads() == 3
    with pytest.raises(ZeroDivisionError), threads_for(operations):
        1 / 0  # noqa: B018
    assert torch.get_num_threads() == 3


def test_one_thread_stays_one(several_threads):
    torch.set_num_threads(1)
    with threads_for(10**12):
        assert torch.get_num_threads() == 1


def test_operations_are_counted_by_hand():
    model = MLP(hidden=(40,)).build(INPUTS, rng=stream(0))
    assert operations(model, torch.zeros(3, *INPUTS.shape)) == 3 * 2 * (432 * 40 + 40 * 5)


class Called(nn.Module):
    """Functions and methods in place of layers, one of them within another module that runs twice."""

    def __init__(self):
        super().__init__()
        self.head, self.act = nn.Linear(432, 5), nn.LeakyReLU()

    def forward(self, x):
        x = nn.functional.relu(nn.functional.max_pool2d(x, 1)).clamp(min=0).flatten(1)
        return self.act(self.act(self.head(x)))


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([nn.Sigmoid(), nn.AvgPool2d(1), nn.GELU(), nn.Tanh(), nn.Flatten(), nn.Linear(432, 5)], 0),
        ([nn.ReLU(), nn.MaxPool2d(1), nn.ReLU6(), nn.PReLU(), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(432, 5)], 5),
        ([Called()], 5),
    ],
    ids=["smooth", "layers", "functions"],
)
def test_what_jumps_is_counted_as_it_runs(layers, expected):
    net = nn.Sequential(*layers)
    model = Model(net, dict(net.named_parameters()), {}, nn.CrossEntropyLoss(), INPUTS)
    assert kinks(model) == expected
    assert kinks(model) == expected, "kept"


@pytest.mark.parametrize(
    ("attack", "candidates"),
    [
        (inverting_gradients(steps=1), 1),
        (inverting_gradients(steps=1, restarts=5), 5),
        (inverting_gradients(steps=1, restarts=40), 16),
        (replace(inverting_gradients(), search=LBFGS(steps=1), restarts=3), 1),
        (replace(inverting_gradients(), search=CMAES(budget=2, population=2)), 16),
        (replace(inverting_gradients(steps=1), group=GroupConsistency(members=4)), 4),
    ],
    ids=["one", "restarts", "many", "one_by_one", "population", "group"],
)
def test_a_search_has_the_threads_that_its_candidates_keep_busy(attack, candidates, monkeypatch):
    seen, asked = seen_small(), []

    def noted(operations):
        asked.append(operations)
        return contextlib.nullcontext()

    monkeypatch.setattr("leakgauge.attacks.restarting.threads_for", noted)
    attack.run(seen, rng=stream(0), tick=no_tick)
    assert asked[0] == candidates * operations(seen.model, torch.zeros(1, *INPUTS.shape))
