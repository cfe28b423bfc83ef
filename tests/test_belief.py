"""Beliefs: the density that a defense implies, against samples of what the defense makes."""

import math
from dataclasses import dataclass, replace

import pytest
import torch
from table import TABLE

from leakgauge.attacks.bayes import bayes
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.implied import Implied
from leakgauge.attacks.likelihoods.laplace import Laplace
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.replays.undefended import Undefended
from leakgauge.attacks.searches.adam import Adam as SearchAdam
from leakgauge.auditing.judging import judge
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.belief import certain, peeled
from leakgauge.core.capabilities import ADAPTIVE, INFORMED
from leakgauge.core.errors import OutOfScope
from leakgauge.core.noise import Censored, Dropped, Laplacian, Laplacians, Normal, Rounded, Signed, with_laplace, with_normal
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe, protect
from leakgauge.core.types import Batch, Inputs, Update, no_tick
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.ats import ATS
from leakgauge.defenses.bernoulli_pruning import BernoulliPruning
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.dp_sgd import DPSGD
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.defenses.mixup import Mixup
from leakgauge.defenses.noise import GaussianNoise, LaplaceNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.precode import Precode
from leakgauge.defenses.pruning import Pruning
from leakgauge.defenses.qsgd import QSGD
from leakgauge.defenses.secure_aggregation import SecureAggregation
from leakgauge.defenses.sent_weights import Cloaked
from leakgauge.defenses.sign import Sign
from leakgauge.defenses.soteria import Soteria
from leakgauge.defenses.topk import TopK
from leakgauge.defenses.weight_noise import WeightNoise
from leakgauge.defenses.weight_sparsification import WeightSparsification
from leakgauge.metrics.mse import MSE
from leakgauge.testing import sample
from leakgauge.victims.mlp import MLP

COUNT = 60_000
CENTER = 0.3


@dataclass(frozen=True)
class Constant:
    """A client that has the same number in every place, so that one update is a sample of one density."""

    count: int

    def __call__(self, model, batch, /, *, rng=None):
        return Update({"a": torch.full((self.count,), CENTER, dtype=torch.float64)}, examples=1)


class Still:
    """A client whose weights do not change."""

    def __call__(self, model, batch, /, *, rng=None):
        return Update(tree.apply(torch.zeros_like, model.params), examples=1)


def layers(defenses):
    return peeled(protect(Constant(COUNT), defenses))[1]


def surprises(defenses, values, seen):
    """-log p of some values, by the belief of an adversary who saw `seen`."""
    belief = certain({"a": torch.full_like(seen, CENTER)}, 1e-3)
    for layer in layers(defenses):
        belief = layer.spread(belief, {"a": seen}, None)
    return belief.surprises({"a": torch.cat([values, seen[len(values) :]])})["a"][: len(values)]


NOISE, ABSOLUTE, COIN = GaussianNoise(sigma=0.4), LaplaceNoise(scale=0.3), BernoulliPruning(share=0.35)
CHAINS = [
    [NOISE],
    [ABSOLUTE],
    [NOISE, GaussianNoise(sigma=0.3)],
    [NOISE, COIN],
    [ABSOLUTE, COIN],
    [COIN, NOISE],
    [COIN, ABSOLUTE],
    [NOISE, COIN, COIN],
    [NOISE, Pruning(share=0.6)],
    [ABSOLUTE, Pruning(share=0.6)],
    [NOISE, TopK(share=0.2)],
    [ABSOLUTE, TopK(share=0.2)],
    [Clipping(norm=math.sqrt(COUNT) * 0.1), NOISE],
    [NOISE, Clipping(norm=1e6)],
    [NOISE, PartialSharing(share=("a",))],
]


@pytest.mark.parametrize("defenses", CHAINS, ids=repr)
def test_a_density_is_that_of_samples(defenses):
    seen = protect(Constant(COUNT), defenses)(None, None, rng=stream(0, "samples")).delta["a"]
    zeros = int((seen == 0).sum())
    least = seen[seen != 0].abs().min() if zeros else 0.0
    if zeros:
        chance = math.exp(-float(surprises(defenses, torch.zeros(1).double(), seen)))
        assert zeros / COUNT == pytest.approx(chance, abs=5 * math.sqrt(chance / COUNT) + 2e-3)
    edges = torch.linspace(-2.5, 2.5, 41).double()
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        places = torch.linspace(low, high, 401).double() + 1e-9
        density = (-surprises(defenses, places, seen)).exp()
        if all(not isinstance(defense, BernoulliPruning) for defense in defenses):
            density = torch.where(places.abs() < least, 0, density)  # a censored number is 0, and nothing else below the limit
        expected = float(torch.trapezoid(density, places))
        found = int(((seen > low) & (seen <= high) & (seen != 0)).sum()) / COUNT
        assert found == pytest.approx(expected, abs=5 * math.sqrt(max(expected, 1e-4) / COUNT) + 1e-3)


@pytest.mark.parametrize("distribution", ["gaussian", "laplace"])
def test_noise_on_both_snapshots_has_the_density_of_its_difference(distribution):
    model = sample(MLP(hidden=(400,))).model
    client = Cloaked(Still(), WeightNoise(scale=0.001, distribution=distribution))
    update = client(model, None, rng=stream(0, "samples"))
    held = replace(model, params=update.before)
    belief = client.spread(certain(tree.apply(torch.zeros_like, model.params), 1e-3), update.delta, held)
    name = "1.weight"
    seen = update.delta[name]
    size = float(seen.std())
    for low, high in [(-3, -1.5), (-1.5, -0.5), (-0.5, 0.0), (0.0, 0.3), (0.3, 1.0), (1.0, 4.0)]:
        places = torch.linspace(low * size, high * size, 1001)
        density = (-belief.parts[0].noise[name].surprise(places, torch.zeros(()))).exp()
        found = float(((seen > low * size) & (seen <= high * size)).double().mean())
        assert found == pytest.approx(float(torch.trapezoid(density, places)), abs=5 / seen.numel() ** 0.5)


def test_weights_that_were_dropped_in_one_snapshot_say_nothing():
    case = sample(MLP(hidden=(16,)), examples=2)
    client = FedAvg(optimizer=SGD(learning_rate=1e-2))
    seen = observe(
        case.model, case.batch, client=client, defenses=[WeightSparsification(share=0.3)], threat=ADAPTIVE, rng=stream(0)
    )
    bound = Implied().bound(seen, Granted())
    truth = {**bound.replay(seen, case.batch)}
    assert float(Gaussian()(truth, seen.update.delta)) > 10 * float(tree.squared_norm(truth))  # the jumps
    assert float(bound.likelihood(truth, seen.update.delta)) < 1e-2 * float(Implied()(truth, seen.update.delta))


def test_quantized_numbers_have_their_probabilities():
    defense = QSGD(levels=200)
    values = torch.tensor([CENTER, *[0.02] * 100, 1.5, 0.013], dtype=torch.float64)
    unit = float(values.norm()) / 200
    draws = torch.stack([defense.transform({"a": values}, rng=stream(draw, "qsgd"))["a"] for draw in range(4000)])
    belief = protect(Constant(1), [defense]).spread(certain({"a": values}, 1.0), {"a": draws[0]}, None)
    for row, value in enumerate(values.tolist()):
        below = math.floor(value / unit) * unit
        for level in (below, below + unit):
            probed = draws[0].clone()
            probed[row] = level
            chance = math.exp(-float(belief.surprises({"a": probed})["a"][row]))
            found = float(((draws[:, row] - level).abs() < 1e-9).double().mean())
            assert found == pytest.approx(chance, abs=0.04)


@pytest.mark.parametrize(
    "noise",
    [
        Normal(0.5),
        Laplacian(0.4),
        Laplacians(0.4),
        Censored(Normal(0.3), torch.tensor(0.5).double()),
        Censored(Laplacian(0.3), torch.tensor(0.5).double()),
        Rounded(torch.tensor(0.25).double()),
        Signed(torch.tensor(0.7).double()),
    ],
    ids=repr,
)
def test_a_surprise_has_slopes_wherever_a_search_may_start(noise):
    seen = torch.tensor([0.0, 0.7, -0.9, 0.0, 0.5], dtype=torch.float64)
    for shift in (-3.0, -0.61, 0.013, 0.62, 3.0):
        center = (seen + shift).requires_grad_()
        value = noise.surprise(seen, center)
        slopes = torch.autograd.grad(value.sum(), center)[0]
        step = 1e-6
        numeric = (noise.surprise(seen, center + step) - noise.surprise(seen, center - step)).detach() / (2 * step)
        torch.testing.assert_close(slopes, numeric, rtol=1e-4, atol=1e-6)
        assert bool(value.isfinite().all())


def test_numbers_that_are_dropped_are_zero_and_nothing_else():
    found = Dropped().surprise(torch.tensor([0.0, 0.1]), torch.tensor([5.0, 5.0]))
    assert found.tolist() == [0, math.inf]


def test_sums_without_a_simple_density_are_told():
    for combine in (lambda: with_laplace(Normal(1.0), 1.0), lambda: with_normal(Laplacian(1.0), 1.0)):
        with pytest.raises(OutOfScope, match="has no density in closed form; choose a likelihood"):
            combine()
    with pytest.raises(OutOfScope, match="noisy numbers"):
        surprises([NOISE, Sign()], torch.zeros(1).double(), torch.ones(COUNT).double())


@pytest.mark.parametrize(
    ("client", "gain"), [(FedSGD(), 1.0), (FedAvg(epochs=3, batch_size=2, optimizer=SGD(learning_rate=1e-3)), 6**0.5 * 1e-3 * 2)]
)
def test_the_noise_of_dp_sgd_is_what_its_client_says(client, gain):
    case = sample(MLP(hidden=(6,)), examples=4)
    private = protect(client, [DPSGD(clip=0.5, noise_multiplier=2.0)])
    draws = torch.stack([tree.flatten(private(case.model, case.batch, rng=stream(draw, "dp")).delta) for draw in range(400)])
    assert private.deviation(4) == pytest.approx(gain * 2.0 * 0.5 / 4)
    assert float(draws.std(dim=0).mean()) == pytest.approx(private.deviation(4), rel=0.02)
    middle = tree.flatten(private(case.model, case.batch).delta)
    shift = (draws.mean(dim=0) - middle) / private.deviation(4) * 400**0.5
    assert float(shift.square().mean()) == pytest.approx(1, abs=0.3)


# The likelihood


def seen_of(defenses, client=FedSGD(), threat=ADAPTIVE):
    case = sample(MLP(hidden=(8,)), examples=2)
    return case, observe(case.model, case.batch, client=client, defenses=defenses, threat=threat, rng=stream(1, "client"))


PRIVATE = DPSGD(clip=1e3, noise_multiplier=1e-3)  # of a mean over two examples: a deviation of 0.5


@pytest.mark.parametrize(
    ("defense", "expected"),
    [
        (GaussianNoise(sigma=0.2), Gaussian(weight=1 / 0.08)),
        (LaplaceNoise(scale=0.2), Laplace(weight=5.0)),
        (PRIVATE, Gaussian(weight=2.0)),
    ],
    ids=repr,
)
def test_noise_implies_the_distance_that_it_is_known_for(defense, expected):
    case, seen = seen_of([defense])
    bound = Implied().bound(seen, Granted())
    guess = bound.replay(seen, case.batch)
    torch.testing.assert_close(bound.likelihood(guess, seen.update.delta), expected(guess, seen.update.delta), rtol=1e-4, atol=1e-4)
    assert bound.notes == ()


@pytest.mark.parametrize(
    "defense",
    [
        GaussianNoise(sigma=0.01),
        LaplaceNoise(scale=0.01),
        COIN,
        Pruning(share=0.5),
        TopK(share=0.3),
        Clipping(norm=0.1),
        QSGD(),
        Sign(),
        PartialSharing(share=("*weight",)),
        DPSGD(noise_multiplier=0.01),
    ],
    ids=repr,
)
def test_the_truth_is_likelier_than_another_batch(defense):
    case, seen = seen_of([defense])
    other = sample(MLP(hidden=(8,)), examples=2, seed=5).batch
    bound = Implied().bound(seen, Granted())
    losses = [float(bound.likelihood(bound.replay(seen, batch), seen.update.delta)) for batch in (case.batch, other)]
    assert losses[0] < losses[1]
    same = {**tree.apply(torch.zeros_like, case.model.params), **seen.update.delta}
    assert float(bound.likelihood(same, seen.update.delta)) == pytest.approx(0, abs=1e-4)


def test_soterias_zeros_say_nothing_and_the_mask_of_a_candidate_is_not_taken():
    case, seen = seen_of([Soteria(share=0.6)])
    bound = Implied().bound(seen, Granted())
    guess = bound.replay(seen, case.batch)
    torch.testing.assert_close(guess, FedSGD()(case.model, case.batch).delta)
    assert float(bound.likelihood(guess, seen.update.delta)) == pytest.approx(0, abs=1e-6)
    masked = next(name for name, value in seen.update.delta.items() if value.ndim == 2 and bool((value == 0).all(dim=0).any()))
    kept = (seen.update.delta[masked] != 0).any(dim=0)
    for columns, is_told in ((kept, True), (~kept, False)):
        other = {**guess, masked: guess[masked] + columns.to(guess[masked])}
        assert (float(bound.likelihood(other, seen.update.delta)) > 1) == is_told


def test_images_that_were_transformed_are_found_as_they_were():
    inputs = Inputs((3, 8, 8), 4)
    case = sample(MLP(hidden=(8,)), examples=2, inputs=inputs)
    seen = observe(
        case.model, case.batch, client=FedSGD(), defenses=[ATS(policy="7-4-15")], threat=ADAPTIVE, rng=stream(1, "client")
    )
    moved = Batch(ATS(policy="7-4-15").augment(case.batch.x, rng=stream(1, "client")), case.batch.y)
    bound = Implied().bound(seen, Granted())
    assert float(bound.likelihood(bound.replay(seen, moved), seen.update.delta)) == pytest.approx(0, abs=1e-6)


def test_the_replay_stops_where_chance_begins():
    case, seen = seen_of([Clipping(norm=0.1), COIN, NOISE])
    bound = Implied().bound(seen, Granted())
    plain = FedSGD()(case.model, case.batch).delta
    torch.testing.assert_close(bound.replay(seen, case.batch), plain)
    mixed = seen_of([Mixup(), NOISE])[1]  # candidates stand for the mixtures
    torch.testing.assert_close(Undefended()(mixed, case.batch), plain)
    together = seen_of([SecureAggregation(clients=2), NOISE])[1]  # what says nothing of chance stays in the replay
    expected = protect(FedSGD(), [SecureAggregation(clients=2)])(case.model, case.batch).delta
    torch.testing.assert_close(Undefended()(together, case.batch), expected)


def test_who_does_not_know_the_defense_takes_squared_distances():
    case, seen = seen_of([ABSOLUTE], threat=INFORMED)
    bound = Implied(width=0.5).bound(seen, Granted())
    guess = bound.replay(seen, case.batch)
    size = math.sqrt(float(tree.squared_norm(seen.update.delta)) / sum(value.numel() for value in seen.update.delta.values()))
    expected = Gaussian(weight=1 / (2 * (0.5 * size) ** 2))(guess, seen.update.delta)
    torch.testing.assert_close(bound.likelihood(guess, seen.update.delta), expected, rtol=1e-3, atol=1e-3)
    other = Implied().bound(seen, OneGradient())
    assert other == (Implied(), OneGradient(), ())


def test_a_density_that_nobody_knows_is_told():
    _, seen = seen_of([NOISE, ABSOLUTE])
    bound = Implied().bound(seen, Granted())
    assert (bound.likelihood, bound.replay) == (Implied(), Granted())
    assert "Laplace noise on top of normal numbers has no density" in bound.notes[0]


# Every defense


DEFENSES = [row.algorithm for row in TABLE if row.family == "defense" and not isinstance(row.algorithm, KeyLock | Precode)]
"""All but those that want a victim of their own (see test_lock.py and test_precode.py)."""


@pytest.mark.parametrize("defense", DEFENSES, ids=repr)
def test_to_know_the_defense_is_no_harm(defense):
    """The adaptive adversary against one who takes the update for an undefended one, on the better of two truths."""
    pool = Photographs(size=8).load()
    errors = dict.fromkeys((ADAPTIVE, INFORMED), 0.0)
    attack = bayes(total_variation=1.0, search=SearchAdam(learning_rate=0.05, steps=100, schedule="cosine"))
    for seed in range(4):
        model = MLP(hidden=(64,)).build(pool.inputs, rng=stream(seed, "victim"))
        rows = torch.randperm(len(pool), generator=stream(seed, "rows"))[:4]
        batch = Batch(pool.x[rows], pool.y[rows])
        for threat in errors:
            seen = observe(model, batch, client=FedSGD(), defenses=[defense], threat=threat, rng=stream(seed, "client"))
            guess = attack.run(seen, rng=stream(seed, "attack"), tick=no_tick).batch
            errors[threat] += float(judge(batch, guess, candidates=None, metrics={"mse": MSE()}).scores["mse"].mean()) / 4
    assert errors[ADAPTIVE] < 1.1 * errors[INFORMED] + 0.005
