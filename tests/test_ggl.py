"""Generative gradient leakage: products of gradients, estimates of defenses, codes, searches without gradients, audits."""

import math
from dataclasses import replace

import pytest
import torch
from generators import CLASSY, STYLED, TINY, deconvolution, written
from torch import nn

import leakgauge as lg
from leakgauge.attacks.adam_undone import AdamUndone
from leakgauge.attacks.computing import Computed
from leakgauge.attacks.engine.products import products, target
from leakgauge.attacks.estimating import estimate
from leakgauge.attacks.ggl import ggl
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.limits import nearest
from leakgauge.attacks.objective import Problem
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.refinement import Refinement
from leakgauge.attacks.replays.estimated import Estimated
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.searches.budgeted import each, search
from leakgauge.attacks.searches.cma_es import CMAES
from leakgauge.attacks.searches.turbo import TuRBO
from leakgauge.attacks.spaces.latent import Latent, in_ball
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.terms import Terms
from leakgauge.auditing.diagnosis import diagnose
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.capabilities import INFORMED, SERVER
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe, observe_update
from leakgauge.core.types import Batch, Inputs, Model, no_tick
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.pruning import Pruning
from leakgauge.defenses.soteria import Soteria
from leakgauge.defenses.topk import TopK
from leakgauge.generative.generators.generator import samples
from leakgauge.testing import sample
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet
from leakgauge.victims.vit import ViT

INPUTS = Inputs((3, 16, 16), 5, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
NETS = {
    "mlp": MLP(hidden=(20, 12)),
    "cnn": CNN(width=4, hidden=16),
    "lenet": LeNet(channels=4),
    "convnet": ConvNet(width=4),
    "resnet": ResNet(blocks=(1, 1), widths=(6, 64)),
}


def one_line(error, *words):
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


def batch_of(count, inputs=INPUTS, seed=0):
    rng = stream(seed, "batch")
    return Batch(torch.rand(count, *inputs.shape, generator=rng), torch.randint(inputs.classes, (count,), generator=rng))


def double(model):
    return Model(
        model.net.double(),
        {name: value.double() for name, value in model.params.items()},
        {name: value.double() if value.is_floating_point() else value for name, value in model.buffers.items()},
        model.loss,
        model.inputs,
    )


# Products of gradients that are never written down


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("size", [1, 3])
def test_products_are_those_of_gradients_that_are_written_down(name, size):
    model = double(NETS[name].build(INPUTS, rng=stream(0)))
    batch = batch_of(4 * size)
    batch = Batch(batch.x.double(), batch.y)
    rng = stream(1)
    update = {key: torch.randn(value.shape, generator=rng, dtype=torch.float64) for key, value in model.params.items()}
    found = products(model, batch, 4, target(update), {})
    for row in range(4):
        gradient = loss_gradient(model, batch[row * size : (row + 1) * size]).params
        for key, value in gradient.items():
            assert float(found.unit) * float(found.dots[key][row]) == pytest.approx(
                float((value * update[key]).sum()), rel=1e-9, abs=1e-12
            )
            assert float(found.squares[key][row]) == pytest.approx(float(value.square().sum()), rel=1e-9, abs=1e-12)
            assert float(found.unit) ** 2 * float(found.targets[key]) == pytest.approx(float(update[key].square().sum()))


def test_products_of_changed_gradients_are_those_of_what_they_become():
    model = double(NETS["cnn"].build(INPUTS, rng=stream(0)))
    batch = Batch(batch_of(3).x.double(), batch_of(3).y)
    update = {key: torch.ones_like(value) for key, value in model.params.items()}
    found = products(model, batch, 3, target(update), dict.fromkeys(update, lambda gradients: gradients.clamp(min=0)))
    for row in range(3):
        for key, value in loss_gradient(model, batch[row : row + 1]).params.items():
            positive = value.clamp(min=0)
            assert float(found.unit) * float(found.dots[key][row]) == pytest.approx(float(positive.sum()), rel=1e-9, abs=1e-12)
            assert float(found.squares[key][row]) == pytest.approx(float(positive.square().sum()), rel=1e-9, abs=1e-12)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one = nn.Linear(48, 48)
        self.head = nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.one(self.one(x.flatten(1)[:, :48])))


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(48))
        self.head = nn.Linear(48, 5)

    def forward(self, x):
        return self.head(self.gain * x.flatten(1)[:, :48])


class Grouped(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, groups=3)
        self.head = nn.Linear(6, 5)

    def forward(self, x):
        return self.head(self.conv(x).mean(dim=(2, 3)))


def live(net):
    return Model(net, dict(net.named_parameters()), {}, nn.functional.cross_entropy, INPUTS)


@pytest.mark.parametrize("net", [Shared(), Scaled(), Grouped()], ids=["shared", "scaled", "grouped"])
def test_what_cannot_be_followed_is_evaluated_one_by_one(net):
    model = live(net)
    update = {key: torch.ones_like(value) for key, value in model.params.items()}
    assert products(model, batch_of(2), 2, target(update), {}) is None
    seen = observe(model, batch_of(1), client=FedSGD(), threat=SERVER, rng=stream(0))
    problem = Problem(seen, Terms(Gaussian(), (), OneGradient(), None), Pixels(), torch.tensor([1]), None, stream(0))
    x = torch.randn(3, 1, *INPUTS.shape)
    assert torch.allclose(Computed((problem,)).each({"x": x}), torch.stack([problem({"x": one}) for one in x]), rtol=1e-4)


PAPER = (Clipping(norm=0.5), Pruning(share=0.8), Soteria(share=0.6), GaussianNoise(sigma=0.01))
POPULATED = [
    *((NETS[net], defense) for net in ("cnn", "resnet") for defense in (None, *PAPER)),
    *((ViT(dim=8, depth=1, heads=2), defense) for defense in (None, *PAPER) if not isinstance(defense, Soteria)),
]
"""Soteria wants a vector that enters a linear layer, which a ViT has none of."""


@pytest.mark.parametrize("likelihood", [Gaussian(weight=2.0), Cosine(weight=3.0)], ids=["gaussian", "cosine"])
@pytest.mark.parametrize(("victim", "defense"), POPULATED, ids=str)
def test_a_population_has_the_losses_of_its_candidates(victim, likelihood, defense):
    model = victim.build(INPUTS, rng=stream(0))
    seen = observe(
        model, batch_of(1), client=FedSGD(), defenses=() if defense is None else (defense,), threat=SERVER, rng=stream(0)
    )
    generator = written(deconvolution(channels=3, side=4), "population")
    terms = Terms(likelihood, (TotalVariation(),), Estimated().fixed(seen).replay, None)
    problem = Problem(seen, terms, Latent(generator=generator), torch.tensor([2]), None, stream(0))
    points = {"x": torch.randn(5, 1, 6, generator=stream(3))}
    expected = torch.stack([problem({"x": one}) for one in points["x"]]).detach()
    assert torch.allclose(each(Computed((problem,)), points), expected, rtol=2e-3, atol=1e-4)
    assert expected.std() > 1e-4, "candidates that do not differ would pass as well"


# Estimates


DEFENSES = {
    "Clipping.norm": (Clipping(norm=0.3), 0.3),
    "Pruning.share": (Pruning(share=0.9), 0.9),
    "TopK.share": (TopK(share=0.15), 0.15),
    "Soteria.share": (Soteria(share=0.8), 0.8),
    "GaussianNoise.sigma": (GaussianNoise(sigma=0.05), 0.05),
}


@pytest.mark.parametrize("name", DEFENSES)
@pytest.mark.parametrize("net", ["cnn", "lenet", "resnet"])
@pytest.mark.parametrize("count", [1, 4])
def test_the_update_tells_the_settings_of_its_defense(name, net, count):
    defense, own = DEFENSES[name]
    model = {"cnn": CNN(width=4, hidden=64), "lenet": LeNet(), "resnet": NETS["resnet"]}[net].build(INPUTS, rng=stream(0))
    seen = observe(model, batch_of(count), client=FedSGD(), defenses=(defense,), threat=SERVER, rng=stream(0))
    found = estimate(seen).parameters(seen.update.delta)
    assert found[name] == pytest.approx(own, rel=0.12)
    strange = {"Soteria.share", "GaussianNoise.sigma", "Pruning.share"} - {name, "Pruning.share" if "TopK" in name else name}
    assert not strange & found.keys(), found


@pytest.mark.parametrize("net", NETS)
def test_an_undefended_update_tells_of_no_defense_but_its_own_norm(net):
    seen = observe(NETS[net].build(INPUTS, rng=stream(0)), batch_of(2), client=FedSGD(), threat=SERVER, rng=stream(0))
    found = estimate(seen).parameters(seen.update.delta)
    assert found.keys() == {"Clipping.norm"}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("count", [1, 3])
def test_local_training_is_no_noise(net, count):
    """Each step adds directions of its own, more than there are examples."""
    seen = observe(
        NETS[net].build(INPUTS, rng=stream(0)),
        batch_of(count),
        client=FedAvg(epochs=5, batch_size=1, optimizer=SGD(learning_rate=0.1)),
        threat=SERVER,
        rng=stream(0),
    )
    found = estimate(seen)
    assert found.sigma == 0
    assert found.norm == pytest.approx(float(tree.squared_norm(seen.update.delta)) ** 0.5, rel=1e-5)


class Idle(nn.Module):
    """A layer that no forward pass uses."""

    def __init__(self):
        super().__init__()
        self.idle = nn.Linear(4, 4)
        self.head = nn.Linear(768, 5)

    def forward(self, x):
        return self.head(x.flatten(1))


def test_what_no_forward_pass_uses_tells_of_no_defense():
    model = live(Idle())
    update = {name: torch.zeros_like(value) for name, value in model.params.items()}
    update |= loss_gradient(model, batch_of(1)).params
    found = estimate(observe_update(model, lg.Update(update, examples=1, scale=1.0), threat=SERVER, client=FedSGD()))
    assert not found.kept
    assert not found.columns


@pytest.mark.parametrize("net", ["cnn", "resnet", "mlp"])
@pytest.mark.parametrize("defense", [None, *(one for one, _ in DEFENSES.values())], ids=str)
def test_the_replay_of_the_estimates_is_the_update_at_the_truth(net, defense):
    batch = batch_of(1)
    seen = observe(
        NETS[net].build(INPUTS, rng=stream(0)),
        batch,
        client=FedSGD(),
        defenses=() if defense is None else (defense,),
        threat=SERVER,
        rng=stream(0),
    )
    loss = float(ggl(generator=TINY).loss_at(seen, batch))
    if isinstance(defense, GaussianNoise):
        numbers = sum(value.numel() for value in seen.update.delta.values())
        assert loss == pytest.approx(defense.sigma**2 * numbers, rel=0.1), "what is left is the noise"
    else:
        assert loss < 1e-6


# The space of codes


def test_the_regularizers_are_those_of_the_paper_and_the_density():
    z = torch.randn(3, 50, generator=stream(0)) * 1.3 + 0.2
    kl, norm, density = (Latent(generator=TINY, regularizer=kind, weight=0.1).energy(z) for kind in ("kl", "norm", "density"))
    standard = torch.distributions.Normal(0.0, 1.0)
    most = standard.log_prob(torch.zeros(50)).sum()
    assert density.tolist() == pytest.approx((0.1 * (most - standard.log_prob(z).sum(dim=1))).tolist(), rel=1e-5)
    for row in range(3):
        numbers = z[row].tolist()
        mean = sum(numbers) / 50
        variance = sum((one - mean) ** 2 for one in numbers) / 50
        assert float(kl[row]) == pytest.approx(-0.05 * (1 + math.log(variance) - mean**2 - variance), rel=1e-4)
        assert float(norm[row]) == pytest.approx(0.1 * (sum(one**2 for one in numbers) - 50) ** 2, rel=1e-4)
    assert float(Latent(generator=TINY, regularizer="none").energy(z).abs().max()) == 0
    assert bool(Latent(generator=TINY).energy(torch.zeros(1, 6)).isfinite()), "all numbers alike have variance 0"


def test_a_label_chooses_the_image_and_a_doubtful_one_mixes():
    case = sample()
    seen, z = case.observe(FedSGD()), torch.randn(2, 6, generator=stream(0))
    space = Latent(generator=CLASSY)
    one, two = (space.given(torch.tensor(labels)).decode(z, seen) for labels in ([0, 1], [2, 1]))
    assert not torch.allclose(one[0], two[0])
    assert torch.equal(one[1], two[1])
    shares = torch.tensor([[1.0, 0, 0, 0], [0, 1, 0, 0]])
    assert torch.allclose(space.given(shares).decode(z, seen), one)
    plain = Latent(generator=TINY)
    assert torch.equal(plain.given(torch.tensor([0, 1])).decode(z, seen), plain.decode(z, seen))


def test_images_come_in_the_range_and_at_the_size_of_the_model():
    case = sample(inputs=Inputs((1, 4, 4), 4, low=-1, high=3))
    seen, z = case.observe(FedSGD()), torch.randn(2, 6)
    made = Latent(generator=TINY, resize=True).decode(z, seen)
    whole = Latent(generator=TINY).decode(z, sample().observe(FedSGD()))
    assert torch.allclose(made, -1 + 4 * nn.functional.avg_pool2d(whole, 2), atol=1e-5)


@pytest.mark.parametrize(
    ("space", "inputs", "words"),
    [
        (Latent(generator=TINY), Inputs((3, 8, 8), 4), "makes images of shape (1, 8, 8), expected (3, 8, 8)"),
        (Latent(generator=TINY), Inputs((1, 4, 4), 4), "resize"),
        (Latent(generator=CLASSY), Inputs((1, 8, 8), 10), "knows 4 classes, expected 10"),
        (Latent(), Inputs((1, 8, 8), 4), "none comes along"),
        (Latent(generator="colors"), Inputs((3, 32, 32), 4), "did you mean 'color'"),
        (Latent(generator="none.safetensors"), Inputs((1, 8, 8), 4), "expected a file that exists"),
        (Latent(generator=TINY, resize=True), Inputs((8,), 4), "expected (8,)"),
    ],
    ids=str,
)
def test_a_generator_that_does_not_fit_is_told_in_a_line(space, inputs, words):
    with pytest.raises(UsageError) as error:
        space.fitting(inputs)
    one_line(error, "latent.generator", words)


@pytest.mark.parametrize("path", [TINY, STYLED], ids=["deconvolution", "style"])
def test_a_search_goes_on_behind_a_block_from_the_same_images(path):
    seen, z = sample().observe(FedSGD()), torch.randn(2, 6, generator=stream(0))
    space = Latent(generator=path)
    images, depth = space.decode(z, seen), 0
    point = z
    while (entered := space.deeper(point, seen, radius=0.05)) is not None:
        space, point = entered
        depth += 1
        assert torch.allclose(space.decode(point, seen), images, atol=1e-6)
        far = point + torch.randn(point.shape, generator=stream(1))
        near = space.project(far, seen)
        assert torch.allclose((near - point).flatten(1).abs().mean(dim=1), torch.full((2,), 0.05), rtol=1e-3)
        assert torch.allclose(space.project(near, seen), near, atol=1e-5)
    assert depth == 2


def test_the_ball_is_that_of_the_nearest_point():
    moves = torch.randn(4, 3, 5, generator=stream(0))
    found = in_ball(moves, 0.3)
    for row in range(4):
        sizes = moves[row].abs().flatten()
        low, high = 0.0, float(sizes.max())
        for _ in range(60):  # soft thresholding, at the threshold that leaves the radius
            middle = (low + high) / 2
            low, high = (middle, high) if float((sizes - middle).clamp(min=0).mean()) > 0.3 else (low, middle)
        expected = moves[row].sign() * (moves[row].abs() - high).clamp(min=0)
        assert torch.allclose(found[row], expected, atol=1e-5)
    assert torch.allclose(in_ball(0.01 * moves, 0.3), 0.01 * moves), "what lies inside stays"


# Searches without gradients


class Counting:
    """A quadratic that counts what it is asked for."""

    def __init__(self, broken=lambda point: False):
        self.asked, self.broken = 0, broken

    def __call__(self, point):
        self.asked += 1
        return torch.tensor(torch.nan) if self.broken(point) else (point["x"] - 0.5).square().sum()


def minimized(method, objective, goal=0.0, start=None):
    start = {"x": torch.zeros(2, 3) if start is None else start}
    return search(method, objective, start, project=lambda point: point, goal=goal, rng=stream(0), tick=no_tick)


SEARCHES = [CMAES(budget=400, population=10), TuRBO(budget=120, initial=20, batch=5, proposals=100)]


@pytest.mark.parametrize("method", SEARCHES, ids=["cma_es", "turbo"])
def test_a_search_without_gradients_finds_the_minimum_within_its_budget(method):
    objective = Counting()
    found = minimized(method, objective)
    assert objective.asked <= method.budget
    assert objective.asked > 0.8 * method.budget
    assert found.loss < 0.1 * 6 * 0.25, "a tenth of what the start has"
    assert found.loss == pytest.approx(float(objective(found.point)), rel=1e-6)


@pytest.mark.parametrize("method", SEARCHES, ids=["cma_es", "turbo"])
def test_candidates_without_a_loss_do_not_end_a_search(method):
    found = minimized(method, Counting(broken=lambda point: float(point["x"][0, 0]) > 1))
    assert found.loss < 0.1 * 6 * 0.25
    assert found.status.value == "ok"
    assert minimized(method, Counting(broken=lambda point: True)).status.value == "diverged"


@pytest.mark.parametrize("method", SEARCHES, ids=["cma_es", "turbo"])
def test_a_state_can_be_stepped_by_hand(method):
    def losses(candidates):
        return (candidates - 0.5).square().sum(dim=1)

    state, best = method.init(torch.zeros(6), rng=stream(0)), math.inf
    for _ in range(6):
        state, info = method.step(state, losses, left=1000)
        assert info.candidates.shape[1] == 6
        assert torch.equal(info.losses, losses(info.candidates))
        best = min(best, float(info.losses.min()))
    _, last = method.step(state, losses, left=3)
    assert len(last.candidates) == 3
    assert best < 1.5


def test_a_trust_region_that_shrinks_away_begins_anew():
    method = TuRBO(budget=200, initial=4, batch=3, proposals=20, fitting_steps=2)
    state, sizes = method.init(torch.zeros(2), rng=stream(0)), []
    for _ in range(40):
        state, _ = method.step(state, lambda candidates: torch.ones(len(candidates), dtype=torch.float64), left=100)
        sizes.append(len(state.x))
    assert 0 in sizes, "a loss that never improves halves the region until it is given up"
    assert state.length <= 1.6


def test_turbo_stays_within_its_bounds():
    asked = []
    objective = Counting(broken=lambda point: asked.append(point["x"]))
    minimized(TuRBO(budget=40, initial=10, batch=5, low=-1, high=0.25), objective)
    everything = torch.stack(asked[1:])  # the first is the start
    assert -1 <= float(everything.min()) < -0.9
    assert float(everything.max()) <= 0.25


@pytest.mark.parametrize(("method", "package"), [(CMAES(), "cma"), (TuRBO(), "botorch")], ids=["cma_es", "turbo"])
def test_a_missing_extra_is_told(method, package, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, package, None)
    monkeypatch.setitem(__import__("sys").modules, f"{package}.models", None)
    with pytest.raises(UsageError) as error:
        minimized(method, Counting())
    one_line(error, "leakgauge[search]")


# Audits


PLANTED = written(deconvolution(latent=8, channels=3, side=4, widths=(16, 12), seed=5), "planted")


def audited(secret_of, *, attack=None, defenses=(), seed=0, **changes):
    """An audit of a small CNN whose secret is made by a generator, or drawn."""
    made = samples(deconvolution(latent=8, channels=3, side=4, widths=(16, 12), seed=5), 160, seed=9)
    x = made if secret_of == "generator" else torch.rand(160, 3, 16, 16, generator=stream(1))
    y = torch.arange(160) % 5
    model = CNN(width=16, hidden=64).build(Inputs((3, 16, 16), 5), rng=stream(seed))
    attack = attack or ggl(generator=PLANTED, weight=0.001, search=Adam(learning_rate=0.1, steps=200, schedule="step"), restarts=2)
    return lg.audit(
        model=model,
        batch=(x[seed : seed + 1], y[seed : seed + 1]),
        public=(x[10:], y[10:]),
        inputs=model.inputs,
        attack=attack,
        defenses=defenses,
        threat="server",
        **changes,
    )


def test_a_picture_that_the_generator_makes_is_found_under_every_defense_of_the_paper():
    for defense in (GaussianNoise(sigma=0.003), Clipping(norm=0.1), Pruning(share=0.9), Soteria(share=0.8)):
        result = audited("generator", defenses=[defense])
        assert result.verdict.outcome == "leaks", f"{defense}: {result}"
        found = result.record.trials["attack"].estimates
        name = next(name for name, (_, own) in found.items() if own is not None)
        assert found[name][0] == pytest.approx(found[name][1], rel=0.15)
        assert any(name in told for told in result.record.diagnosis)


def test_an_audit_tells_what_the_generator_could_make_at_best():
    result = audited("anywhere")
    limit = result.record.trials["limit"].scores["psnr"][0]
    assert result.record.trials["attack"].scores["psnr"][0] <= limit + 0.5
    assert limit < 20, "noise is no picture that this generator makes"
    assert result.record.setting.sampled[0] > 25, "pictures that it makes are found"
    assert any("nearest to the private pictures" in told for told in result.record.diagnosis)
    assert result.verdict.outcome != "no leak found by these attacks", "a generator that cannot make the picture tells nothing"


class Squares:
    """A space of pixels that are squares of codes: from the code 0, no slope leads anywhere."""

    def start(self, seen, count, /, *, rng):
        return torch.zeros(count, 6)

    def draw(self, seen, count, /, *, rng):
        return torch.randn(count, 6, generator=rng)

    def decode(self, point, seen, /):
        return point.square()

    def project(self, point, seen, /):
        return point

    def energy(self, point, /):
        return 0.5 * point.square().sum(dim=1)


def test_the_nearest_picture_is_looked_for_from_several_starts():
    seen = sample().observe(FedSGD())
    batch = Batch(torch.rand(3, 6, generator=stream(0, "squares")), torch.tensor([0, 1, 2]))
    found = nearest(Squares(), seen, batch, rng=stream(0, "limit"), tick=no_tick)
    torch.testing.assert_close(found.x, batch.x, atol=0.02, rtol=0)
    assert torch.equal(found.y, batch.y)


def test_who_comes_nearer_than_the_limit_is_told():
    result = audited("anywhere")
    limit = replace(result.record.trials["limit"], scores={"psnr": (result.record.trials["attack"].scores["psnr"][0] - 1,)})
    told = diagnose({**result.record.trials, "limit": limit}, result.record.setting)
    assert any("came nearer than that search" in line for line in told)
    assert not any("came nearer than that search" in line for line in result.record.diagnosis)


def test_an_update_that_knows_nothing_gives_nothing():
    told = []
    for seed in range(6):
        rng = stream(seed, "null")
        shapes = CNN(width=16, hidden=64).build(Inputs((3, 16, 16), 5), rng=rng).params
        update = lg.Update({name: torch.randn(value.shape, generator=rng) for name, value in shapes.items()}, examples=1, scale=1.0)
        told.append(audited("generator", seed=seed, update=update).verdict.outcome)
    assert "leaks" not in told
    assert "no leak found by these attacks" not in told, "no client makes such an update"


def test_a_secret_that_the_generator_has_learned_is_inconclusive():
    x = Photographs(size=8).load().x.mean(dim=1, keepdim=True)
    known = written(deconvolution(learned=x[:5]), "acquainted")
    model = CNN(width=4, hidden=16).build(Inputs((1, 8, 8), 5), rng=stream(0))
    for row, outcome in ((0, "inconclusive"), (7, None)):
        result = lg.audit(
            model=model,
            batch=(x[row : row + 1], torch.tensor([1])),
            public=(x[150:], torch.arange(len(x) - 150) % 5),
            inputs=model.inputs,
            attack=ggl(generator=known, search=Adam(steps=2)),
        )
        if outcome:
            assert result.verdict.outcome == outcome
            assert "has learned from 1 of the 1 private examples" in result.verdict.reason
        else:
            assert "has learned from" not in result.verdict.reason


def test_refinement_leaves_the_generator_and_never_ends_worse():
    model = CNN(width=8, hidden=64).build(Inputs((3, 16, 16), 5), rng=stream(0))
    batch = Batch(Photographs(size=16).load().x[:1], torch.tensor([3]))
    seen = observe(model, batch, client=FedSGD(), threat=SERVER, rng=stream(0))
    plain = ggl(generator=PLANTED, search=Adam(learning_rate=0.1, steps=100), likelihood=Cosine())
    refined = ggl(
        generator=PLANTED,
        search=Adam(learning_rate=0.1, steps=100),
        likelihood=Cosine(),
        refinement=Refinement(search=Adam(learning_rate=0.02, steps=100, schedule="cosine")),
    )
    first, second = (attack.run(seen, rng=stream(0), tick=no_tick) for attack in (plain, refined))
    losses = [float(plain.loss_at(seen, one.batch)) for one in (first, second)]
    errors = [float((one.batch.x - batch.x).square().mean()) for one in (first, second)]
    assert losses[1] < 0.5 * losses[0]
    assert errors[1] < errors[0]


def test_several_images_at_once():
    generator = deconvolution(latent=8, channels=3, side=4, widths=(16, 12), seed=5)
    batch = Batch(samples(generator, 2, seed=9), torch.tensor([1, 3]))
    model = CNN(width=16, hidden=64).build(Inputs((3, 16, 16), 5), rng=stream(0))
    seen = observe(model, batch, client=FedSGD(), threat=SERVER, rng=stream(0))
    attack = ggl(
        generator=PLANTED, weight=0.001, labels=Known(), search=Adam(learning_rate=0.1, steps=300, schedule="step"), restarts=3
    )
    with pytest.raises(UsageError):
        attack.run(seen, rng=stream(0), tick=no_tick)  # labels are not granted
    informed = observe(model, batch, client=FedSGD(), threat=INFORMED, rng=stream(0))
    found = attack.run(informed, rng=stream(0), tick=no_tick)
    errors = (found.batch.x - batch.x).square().flatten(1).mean(dim=1)
    assert float(-10 * errors.log10().max()) > 20


def test_labels_of_several_examples_are_no_matter_of_idlg():
    model = CNN(width=4, hidden=16).build(Inputs((1, 8, 8), 5), rng=stream(0))
    seen = observe(model, batch_of(2, model.inputs), client=FedSGD(), threat=SERVER, rng=stream(0))
    with pytest.raises(OutOfScope):
        ggl(generator=TINY).run(seen, rng=stream(0), tick=no_tick)


def test_an_attack_inside_another_says_what_it_has_learned():
    x = Photographs(size=8).load().x.mean(dim=1, keepdim=True)
    known = written(deconvolution(learned=x[:5]), "acquainted")
    model = CNN(width=4, hidden=16).build(Inputs((1, 8, 8), 5), rng=stream(0))
    result = lg.audit(
        model=model,
        batch=(x[:1], torch.tensor([1])),
        public=(x[150:], torch.arange(len(x) - 150) % 5),
        inputs=model.inputs,
        client={"name": "fedavg"},
        attack=AdamUndone(attack=ggl(generator=known, search=Adam(steps=2))),
    )
    assert "has learned from 1 of the 1 private examples" in result.verdict.reason


def test_a_refined_attack_tells_the_loss_of_what_it_gives():
    model = CNN(width=8, hidden=64).build(Inputs((3, 16, 16), 5), rng=stream(0))
    batch = Batch(Photographs(size=16).load().x[:1], torch.tensor([3]))
    seen = observe(model, batch, client=FedSGD(), threat=SERVER, rng=stream(0))
    attack = ggl(generator=PLANTED, search=Adam(steps=5), refinement=Refinement(search=Adam(steps=40)), restarts=3)
    found = attack.run(seen, rng=stream(0), tick=no_tick)
    assert float(found.losses.min()) == pytest.approx(float(attack.loss_at(seen, found.batch)), rel=1e-4)
