"""Defenses: properties over the table of all of them, and an exact oracle for each."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass

import pytest
import torch
from scipy import stats
from torch import nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.errors import UsageError
from leakgauge.core.magnitude import keep_largest
from leakgauge.core.registry import entries
from leakgauge.core.rng import stream
from leakgauge.core.threat import protect
from leakgauge.core.types import Batch, Inputs, Model, Update
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
from leakgauge.defenses.sign import Sign
from leakgauge.defenses.soteria import Soteria
from leakgauge.defenses.topk import TopK
from leakgauge.defenses.weight_noise import WeightNoise
from leakgauge.defenses.weight_sparsification import WeightSparsification

INPUTS = Inputs(shape=(1, 4, 4), classes=3, mean=(0.4,), std=(0.5,))

DEFENSES = {
    "gaussian_noise": GaussianNoise(sigma=0.1),
    "laplace_noise": LaplaceNoise(scale=0.1),
    "clipping": Clipping(norm=0.05),
    "topk": TopK(share=0.3),
    "bernoulli_pruning": BernoulliPruning(share=0.4),
    "pruning": Pruning(share=0.6),
    "qsgd": QSGD(levels=4),
    "sign": Sign(),
    "sign_scaled": Sign(scaled=True),
    "dp_sgd": DPSGD(clip=0.3, noise_multiplier=0.5),
    "mixup": Mixup(),
    "ats": ATS(policy="21-13-3+7-4-15"),
    "partial_sharing": PartialSharing(share=("*.weight",)),
    "secure_aggregation": SecureAggregation(clients=2),
    "soteria": Soteria(share=0.5),
    "weight_noise": WeightNoise(),
    "weight_sparsification": WeightSparsification(share=0.4),
}
CHANCE = {"bernoulli_pruning", "gaussian_noise", "laplace_noise", "qsgd", "dp_sgd", "mixup", "ats", "weight_noise"}
CLIENTS = {"fedsgd": FedSGD(), "fedavg": FedAvg(epochs=2, batch_size=3, optimizer=SGD(learning_rate=0.2))}

every_defense = pytest.mark.parametrize("name", DEFENSES)
every_client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


def build(*layers: nn.Module, seed: int = 1) -> Model:
    net = nn.Sequential(*layers)
    rng = stream(seed, "model")
    params = {name: 0.5 * torch.randn(value.shape, generator=rng) for name, value in net.named_parameters()}
    buffers = {name: value.clone() for name, value in net.named_buffers()}
    return Model(net=net, params=params, buffers=buffers, loss=cross_entropy, inputs=INPUTS)


@pytest.fixture
def model() -> Model:
    return build(nn.Conv2d(1, 3, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(12, 3))


@pytest.fixture
def batch() -> Batch:
    return Batch(torch.rand(6, 1, 4, 4, generator=stream(2, "x")), torch.tensor([0, 1, 2, 0, 1, 1]))


@dataclass(frozen=True)
class Sends:
    """A client that sends given numbers."""

    delta: dict[str, torch.Tensor]

    def __call__(self, model, batch, /, *, rng=None):
        return Update(delta=self.delta, examples=len(batch))


def sent(defense, delta, rng=None):
    nothing = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64))
    return defense.protect(Sends(delta))(None, nothing, rng=rng).delta


def equal(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------------------- all of them


def test_the_table_holds_every_registered_defense():
    registered = {entry.load() for entry in entries("defense").values() if entry.target.startswith("leakgauge.")}
    with_victims_of_their_own = {Precode, KeyLock}  # see test_precode.py and test_lock.py
    assert {type(defense) for defense in DEFENSES.values()} == registered - with_victims_of_their_own


@every_defense
@every_client
def test_an_update_has_names_and_shapes_of_the_model(name, client, model, batch):
    update = DEFENSES[name].protect(client)(model, batch, rng=stream(0))
    assert update.delta
    for key, value in update.delta.items():
        assert value.shape == model.params[key].shape
        assert value.isfinite().all()
        assert not value.requires_grad
    assert update.examples == len(batch)


@every_defense
@every_client
def test_the_same_rng_gives_the_same_update(name, client, model, batch):
    defended = DEFENSES[name].protect(client)
    first, again, other = (defended(model, batch, rng=stream(seed)).delta for seed in (3, 3, 4))
    assert equal(first, again)
    if name in CHANCE:
        assert not equal(first, other)


@every_defense
def test_the_global_generator_is_left_alone(name, model, batch):
    before = torch.get_rng_state()
    DEFENSES[name].protect(CLIENTS["fedavg"])(model, batch, rng=stream(0))
    assert torch.equal(torch.get_rng_state(), before)


@every_defense
@every_client
def test_without_rng_a_defense_is_deterministic(name, client, model, batch):
    defended = DEFENSES[name].protect(client)
    assert equal(defended(model, batch).delta, defended(model, batch).delta)


@every_defense
@every_client
def test_a_replay_equals_the_update_and_has_a_useful_gradient(name, client, model, batch):
    defended = DEFENSES[name].protect(client)
    x = batch.x.clone().requires_grad_()
    replayed = defended(model, Batch(x, batch.y)).delta
    plain = defended(model, batch).delta
    for key, value in plain.items():
        torch.testing.assert_close(replayed[key], value)
    weights = {key: torch.randn(value.shape, generator=stream(5, key)) for key, value in plain.items()}
    loss = sum((value * weights[key]).sum() for key, value in replayed.items())
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.isfinite().all()
    assert (gradient.flatten(1).norm(dim=1) > 0).all()


@every_defense
def test_nothing_is_mutated(name, model, batch):
    inner = FedSGD()(model, batch).delta
    kept = tree.detach(inner)
    params = tree.detach(model.params)
    if name not in {"ats", "dp_sgd", "mixup", "secure_aggregation", "soteria", "weight_noise", "weight_sparsification"}:
        sent(DEFENSES[name], inner, rng=stream(0))
    DEFENSES[name].protect(FedSGD())(model, batch, rng=stream(0))
    assert equal(inner, kept)
    assert equal(model.params, params)


@every_defense
def test_a_defended_client_says_what_it_is(name):
    defended = DEFENSES[name].protect(FedSGD())
    assert repr(DEFENSES[name]) in repr(defended)
    assert "FedSGD" in repr(defended)
    assert defended == DEFENSES[name].protect(FedSGD())
    with pytest.raises(FrozenInstanceError):
        defended.client = None


@every_defense
def test_the_gradient_rule_can_be_exchanged_inside_every_defense(name, model, batch):
    rule = DPSGD(clip=0.2, noise_multiplier=0.0)
    outer = protect(FedSGD(), [DEFENSES[name], rule])
    inner = protect(FedSGD(), [rule, DEFENSES[name]])
    if name != "dp_sgd":
        assert outer == inner
    undefended = DEFENSES[name].protect(FedSGD())(model, batch, rng=stream(0)).delta
    assert not equal(outer(model, batch, rng=stream(0)).delta, undefended)


@every_defense
def test_a_client_without_gradient_rule_is_refused_by_dp_sgd_alone(name):
    with pytest.raises(UsageError, match="with_gradient"):
        protect(Sends({}), [DEFENSES[name], DPSGD()])


# ---------------------------------------------------------------------------------------------------- noise


@pytest.mark.parametrize(
    ("defense", "law"),
    [(GaussianNoise(sigma=0.3), stats.norm(scale=0.3)), (LaplaceNoise(scale=0.3), stats.laplace(scale=0.3))],
)
def test_noise_follows_its_law(defense, law):
    delta = {"a": torch.full((20_000,), 2.0)}
    noise = sent(defense, delta, stream(7))["a"].double() - 2
    assert stats.kstest(noise.numpy(), law.cdf).pvalue > 0.01
    assert sent(defense, delta)["a"] is delta["a"]


@pytest.mark.parametrize("defense", [GaussianNoise(sigma=1.0), LaplaceNoise(scale=1.0)])
def test_noise_is_drawn_anew_for_each_tensor(defense):
    noise = sent(defense, {"a": torch.zeros(5_000), "b": torch.zeros(5_000)}, stream(8))
    correlation = torch.corrcoef(torch.stack([noise["a"], noise["b"]]))[0, 1]
    assert abs(correlation) < 0.05


@pytest.mark.parametrize("defense", [GaussianNoise(sigma=0.0), LaplaceNoise(scale=0.0)])
def test_no_noise_changes_nothing(defense):
    delta = {"a": torch.rand(5, generator=stream(0))}
    assert equal(sent(defense, delta, stream(9)), delta)


# ---------------------------------------------------------------------------------------------------- clipping


def test_clipping_scales_the_whole_update_to_the_norm():
    clipped = sent(Clipping(norm=1.0), {"a": torch.tensor([3.0]), "b": torch.tensor([[4.0]])})
    torch.testing.assert_close(clipped["a"], torch.tensor([0.6]))
    torch.testing.assert_close(clipped["b"], torch.tensor([[0.8]]))


def test_a_small_update_is_not_clipped():
    delta = {"a": torch.tensor([0.3, -0.4])}
    assert equal(sent(Clipping(norm=0.6), delta), delta)
    zero = torch.zeros(2, requires_grad=True)
    (gradient,) = torch.autograd.grad(sent(Clipping(), {"a": zero})["a"].sum(), zero)
    assert torch.equal(gradient, torch.ones(2))


# ---------------------------------------------------------------------------------------------------- sparsification


def test_topk_keeps_the_largest_numbers_of_the_whole_update():
    delta = {"a": torch.tensor([1.0, -5.0]), "b": torch.tensor([[4.0, 0.5], [-3.0, 2.0]])}
    sparse = sent(TopK(share=0.5), delta)
    assert sparse["a"].tolist() == [0.0, -5.0]
    assert sparse["b"].tolist() == [[4.0, 0.0], [-3.0, 0.0]]


def test_pruning_keeps_the_largest_numbers_of_each_tensor():
    delta = {"a": torch.tensor([1.0, -5.0]), "b": torch.tensor([[4.0, 0.5], [-3.0, 2.0]]), "c": torch.tensor(0.1)}
    sparse = sent(Pruning(share=0.5), delta)
    assert sparse["a"].tolist() == [0.0, -5.0]
    assert sparse["b"].tolist() == [[4.0, 0.0], [-3.0, 0.0]]
    assert sparse["c"] == delta["c"]


def test_exactly_so_many_are_kept_among_ties():
    values = torch.tensor([2.0, -2.0, 2.0, 1.0, -2.0])
    for count in range(1, 6):
        assert int(keep_largest(values, count).count_nonzero()) == count
    assert keep_largest(values, 4).tolist() == [2.0, -2.0, 2.0, 0.0, -2.0]


@pytest.mark.parametrize(("share", "kept"), [(0.001, 1), (0.07, 7), (0.29, 29), (1.0, 100)])
def test_topk_counts(share, kept):
    sparse = sent(TopK(share=share), {"a": torch.rand(60, generator=stream(1)), "b": torch.rand(40, generator=stream(2))})
    assert sum(int(value.count_nonzero()) for value in sparse.values()) == kept


@pytest.mark.parametrize(("share", "kept"), [(0.0, 50), (0.9, 5), (0.999, 1)])
def test_pruning_counts(share, kept):
    assert int(sent(Pruning(share=share), {"a": 0.1 + torch.rand(50, generator=stream(1))})["a"].count_nonzero()) == kept


def test_the_gradient_passes_to_the_numbers_kept():
    value = torch.tensor([3.0, 1.0, -2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(keep_largest(value, 2).sum(), value)
    assert gradient.tolist() == [1.0, 0.0, 1.0]


# ---------------------------------------------------------------------------------------------------- quantization


def test_qsgd_sends_one_of_the_two_nearest_levels():
    value = torch.tensor([3.0, -4.0, 0.0])  # norm 5; with 2 levels: 0, 2.5 and 5
    seen = {tuple(sent(QSGD(levels=2), {"a": value}, stream(seed))["a"].tolist()) for seed in range(60)}
    assert seen == {(a, b, 0.0) for a in (2.5, 5.0) for b in (-2.5, -5.0)}


def test_qsgd_is_unbiased():
    value = torch.randn(8, generator=stream(3))
    draws = torch.stack([sent(QSGD(levels=3), {"a": value}, stream(seed))["a"] for seed in range(3_000)])
    error = (draws.mean(0) - value) / (draws.std(0) / 3_000**0.5)
    assert (draws.std(0) > 0).all()
    assert error.abs().max() < 4
    assert sent(QSGD(levels=3), {"a": value})["a"] is value


def test_qsgd_leaves_extremes_alone():
    delta = {"zero": torch.zeros(3), "one": torch.tensor([-0.3])}
    quantized = sent(QSGD(levels=5), delta, stream(0))
    assert torch.equal(quantized["zero"], delta["zero"])
    torch.testing.assert_close(quantized["one"], delta["one"])


def test_sign():
    delta = {"a": torch.tensor([2.0, -4.0, 0.0])}
    assert sent(Sign(), delta)["a"].tolist() == [1.0, -1.0, 0.0]
    assert sent(Sign(scaled=True), delta)["a"].tolist() == [2.0, -2.0, 0.0]


@pytest.mark.parametrize("scaled", [False, True])
def test_a_replayed_sign_is_exact_and_passes_the_gradient_straight_through(scaled):
    value = torch.tensor([1e-4, -0.7, 30.0], requires_grad=True)
    weights = torch.tensor([1.0, 2.0, 3.0])
    replayed = sent(Sign(scaled=scaled), {"a": value})["a"]
    assert torch.equal(replayed, sent(Sign(scaled=scaled), {"a": value.detach()})["a"])
    (gradient,) = torch.autograd.grad((weights * replayed).sum(), value)
    assert torch.equal(gradient, weights)


# ---------------------------------------------------------------------------------------------------- DP-SGD


def naive_dp(model, batch, clip):
    total = {name: torch.zeros_like(value) for name, value in model.params.items()}
    norms = []
    for row in range(len(batch)):
        params = {name: value.clone().requires_grad_() for name, value in model.params.items()}
        x = (batch.x[row : row + 1] - 0.4) / 0.5
        loss = cross_entropy(functional_call(model.net, params, (x,)), batch.y[row : row + 1])
        gradients = torch.autograd.grad(loss, list(params.values()))
        norm = sum(float((g**2).sum()) for g in gradients) ** 0.5
        norms.append(norm)
        for name, g in zip(params, gradients, strict=True):
            total[name] += g / max(1.0, norm / clip) / len(batch)
    return total, norms


@pytest.mark.parametrize("clip", [0.05, 0.9, 100.0])
def test_dp_sgd_equals_the_loop_over_examples(clip, model, batch):
    expected, _ = naive_dp(model, batch, clip)
    defended = DPSGD(clip=clip).protect(FedSGD())
    for replayed in (False, True):
        delta = defended(model, Batch(batch.x.clone().requires_grad_(replayed), batch.y)).delta
        for name, value in delta.items():
            torch.testing.assert_close(value.detach(), expected[name])


def test_the_middle_clip_of_that_test_clips_some_examples_only(model, batch):
    _, norms = naive_dp(model, batch, 1.0)
    assert min(norms) < 0.9 < max(norms)


def test_dp_sgd_without_a_bound_is_the_mean_gradient(model, batch):
    mean = FedSGD()(model, batch).delta
    for labels in (batch.y, nn.functional.one_hot(batch.y, 3).float()):
        delta = DPSGD(clip=1e3, noise_multiplier=0.0).protect(FedSGD())(model, Batch(batch.x, labels), rng=stream(0)).delta
        for name, value in delta.items():
            torch.testing.assert_close(value, mean[name])


def test_dp_sgd_noise_has_the_deviation_of_the_paper(model, batch):
    defended = DPSGD(clip=0.5, noise_multiplier=3.0).protect(FedSGD())
    still = tree.flatten(defended(model, batch).delta)
    noise = torch.cat([tree.flatten(defended(model, batch, rng=stream(seed)).delta) - still for seed in range(60)])
    assert stats.kstest(noise.numpy(), stats.norm(scale=3.0 * 0.5 / 6).cdf).pvalue > 0.01


def test_dp_sgd_acts_in_every_local_step(model, batch):
    rule = DPSGD(clip=0.05, noise_multiplier=0.0)
    first = rule(model, batch, training=False, rng=None).params
    moved = Model(
        net=model.net,
        params={name: value - 0.2 * first[name] for name, value in model.params.items()},
        buffers={},
        loss=model.loss,
        inputs=INPUTS,
    )
    second = rule(moved, batch, training=False, rng=None).params
    delta = rule.protect(FedAvg(epochs=2, optimizer=SGD(learning_rate=0.2)))(model, batch).delta
    for name, value in delta.items():
        torch.testing.assert_close(value, 0.2 * (first[name] + second[name]))


def test_dp_sgd_refuses_batch_statistics(batch):
    usual = build(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    always = build(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.Flatten(), nn.Linear(8, 3))
    DPSGD().protect(FedSGD(batchnorm="eval"))(usual, batch)
    for model, mode in ((usual, "train"), (always, "eval")):
        with pytest.raises(UsageError, match="batchnorm: eval"):
            DPSGD().protect(FedSGD(batchnorm=mode))(model, batch)


# ---------------------------------------------------------------------------------------------------- the others


def test_mixup_mixes_examples_and_labels_with_one_share(batch):
    mixed = Mixup(alpha=1.0).mix(batch, 3, rng=stream(6))
    hard = nn.functional.one_hot(batch.y, 3).float()
    found = []
    for row in range(len(batch)):
        for other in range(len(batch)):
            if row == other:
                continue
            difference = (batch.x[row] - batch.x[other]).flatten()
            share = float((mixed.x[row] - batch.x[other]).flatten() @ difference / (difference @ difference))
            if torch.allclose(mixed.x[row], share * batch.x[row] + (1 - share) * batch.x[other], atol=1e-5):
                torch.testing.assert_close(mixed.y[row], share * hard[row] + (1 - share) * hard[other])
                found.append((other, share))
    partners, shares = zip(*found, strict=True)
    assert len(set(partners)) == len(partners) >= 2
    assert max(shares) - min(shares) < 1e-4
    assert 0 < shares[0] < 1


def test_mixup_draws_its_share_from_beta():
    batch = Batch(torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1), torch.tensor([0, 1]))
    mixed = [Mixup(alpha=0.4).mix(batch, 2, rng=stream(seed)).x.flatten() for seed in range(600)]
    shares = [float(x[1]) for x in mixed if x[1] != 1]  # a permutation may leave both where they are
    assert 200 < len(shares) < 400
    assert stats.kstest(shares, stats.beta(0.4, 0.4).cdf).pvalue > 0.01


def test_mixup_without_chance_is_its_expectation(batch):
    draws = [Mixup().mix(batch, 3, rng=stream(seed)) for seed in range(3_000)]
    expected = Mixup().mix(batch, 3, rng=None)
    torch.testing.assert_close(torch.stack([draw.x for draw in draws]).mean(0), expected.x, atol=0.03, rtol=0)
    torch.testing.assert_close(torch.stack([draw.y for draw in draws]).mean(0), expected.y, atol=0.03, rtol=0)
    soft = Batch(batch.x, nn.functional.one_hot(batch.y, 3).float())
    assert torch.equal(Mixup().mix(soft, 3, rng=None).y, expected.y)


def test_mixup_needs_a_partner(model, batch):
    with pytest.raises(UsageError, match="partner"):
        Mixup().protect(FedSGD())(model, batch[:1], rng=stream(0))


def test_partial_sharing_sends_what_matches(model, batch):
    plain = FedSGD()(model, batch).delta
    assert list(plain) == ["0.weight", "0.bias", "3.weight", "3.bias"]
    delta = PartialSharing(share=("3.*", "0.bias")).protect(FedSGD())(model, batch).delta
    assert equal(delta, {name: plain[name] for name in ("0.bias", "3.weight", "3.bias")})


def test_partial_sharing_names_a_pattern_that_matches_nothing(model, batch):
    with pytest.raises(UsageError, match=r"'fc\*' matches no parameter.*0\.weight"):
        PartialSharing(share=("0.*", "fc*")).protect(FedSGD())(model, batch)
    with pytest.raises(UsageError, match="no pattern"):
        PartialSharing(share=())


def test_secure_aggregation_of_gradients_is_the_gradient_of_all(model, batch):
    together = FedSGD()(model, batch)
    update = SecureAggregation(clients=3).protect(FedSGD())(model, batch)
    for name, value in update.delta.items():
        torch.testing.assert_close(value, together.delta[name])
    assert (update.examples, update.scale) == (6, 1.0)


def test_secure_aggregation_averages_the_clients(batch):
    model = build(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    client = FedAvg(epochs=2, batchnorm="train")
    update = SecureAggregation(clients=2).protect(client)(model, batch)
    one, two = client(model, batch[:3]), client(model, batch[3:])
    for name, value in update.delta.items():
        torch.testing.assert_close(value, (one.delta[name] + two.delta[name]) / 2)
    assert update.buffers.keys() == model.buffers.keys()
    for name in ("1.running_mean", "1.running_var"):
        torch.testing.assert_close(update.buffers[name], (one.buffers[name] + two.buffers[name]) / 2)
    assert int(update.buffers["1.num_batches_tracked"]) == int(one.buffers["1.num_batches_tracked"])
    assert update.scale == one.scale


def test_secure_aggregation_needs_equal_parts(model, batch):
    with pytest.raises(UsageError, match="got 4 for 6 examples"):
        SecureAggregation(clients=4).protect(FedSGD())(model, batch)


def test_the_first_defense_is_applied_first():
    delta = {"a": torch.tensor([3.0, 4.0])}
    nothing = Batch(torch.zeros(1, 1, 4, 4), torch.zeros(1, dtype=torch.int64))
    clip_last = protect(Sends(delta), [TopK(share=0.5), Clipping()])(None, nothing).delta["a"]
    clip_first = protect(Sends(delta), [Clipping(), TopK(share=0.5)])(None, nothing).delta["a"]
    torch.testing.assert_close(clip_last, torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(clip_first, torch.tensor([0.0, 0.8]))


def test_other_capabilities_of_an_update_are_sent_as_they_were(batch):
    model = build(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    client = FedAvg(epochs=2, batchnorm="train")
    plain, defended = client(model, batch), Clipping(norm=0.01).protect(client)(model, batch)
    assert defended.scale == plain.scale
    assert equal(defended.buffers, plain.buffers)


def test_pruning_by_chance_drops_its_share_and_keeps_the_rest():
    delta = {"a": torch.arange(1.0, 20_001), "b": torch.ones(3)}
    found = sent(BernoulliPruning(share=0.3), delta, rng=stream(0))
    dropped = found["a"] == 0
    assert float(dropped.double().mean()) == pytest.approx(0.3, abs=0.02)
    assert torch.equal(found["a"][~dropped], delta["a"][~dropped])
    torch.testing.assert_close(sent(BernoulliPruning(share=0.3), delta)["a"], 0.7 * delta["a"])
