"""Restoring labels from an update: rules against counts that are known, on models small enough to be quick."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from leakgauge import spec
from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.dummies import answers, draw
from leakgauge.attacks.label_counts import LabelCounts
from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.geng import Geng
from leakgauge.attacks.labels.ilrg import ILRG
from leakgauge.attacks.labels.integers import Posterior, expected_right, weigh
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.labels.last_layer import look, readings, scatter
from leakgauge.attacks.labels.llg import LLG
from leakgauge.attacks.labels.rounding import spelled_out, whole
from leakgauge.attacks.labels.signs import keeps_signs, present
from leakgauge.attacks.settling import settle, sign_odds
from leakgauge.auditing.judging import label_accuracy
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.capabilities import EAVESDROPPER, SERVER, WEIGHTS
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs, ThreatModel, no_tick
from leakgauge.testing import sample
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

INPUTS = Inputs((3, 12, 12), 10, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
VICTIMS = {"lenet": LeNet(channels=6), "convnet": ConvNet(width=4), "resnet": ResNet(blocks=(1, 1), widths=(4, 8))}
ONE_STEP = FedAvg(optimizer=SGD(learning_rate=0.03))
RULES = [Geng(), Geng(using="weight"), Geng(images="pink"), ILRG(), LLG(), Counts()]


def case_of(victim, labels, seed=0):
    """Smooth images (coarse noise, enlarged), which no rule draws."""
    case = sample(victim, examples=1, inputs=INPUTS, seed=seed)
    coarse = torch.rand(len(labels), 3, 4, 4, generator=stream(seed, "images"))
    x = torch.nn.functional.interpolate(coarse, size=(12, 12), mode="bilinear")
    return replace(case, batch=Batch(x, torch.tensor(labels)))


def chance_labels(count, seed):
    return torch.randint(10, (count,), generator=stream(seed, "labels", count)).tolist()


def overlap(found, true):
    return (Counter(found.tolist()) & Counter(true)).total() / len(true)


def without(seen, *names):
    delta = {key: value for key, value in seen.update.delta.items() if key not in names}
    return replace(seen, update=replace(seen.update, delta=delta))


def head_bias(seen):
    return [name for name in seen.model.params if name.endswith("bias")][-1]


def accuracy(rule, victim, client, threat, count, *, bias=True, seeds=range(4)):
    shares = []
    for seed in seeds:
        true = chance_labels(count, seed)
        seen = case_of(victim, true, seed).observe(client, threat=threat)
        found = rule.infer(seen if bias else without(seen, head_bias(seen)), count, rng=stream(seed, "rule"))
        assert found.tolist() == sorted(found.tolist())
        assert len(found) == count
        shares.append(overlap(found, true))
    return sum(shares) / len(shares)


# Rounding


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12), st.integers(1, 600))
def test_rounded_counts_are_counts_of_the_batch(estimate, count):
    counts = whole(torch.tensor(estimate, dtype=torch.float64), count)
    assert int(counts.sum()) == count
    assert int(counts.min()) >= 0


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any))
def test_counts_that_are_whole_stay(counts):
    assert whole(torch.tensor(counts), sum(counts)).tolist() == counts
    assert spelled_out(torch.tensor(counts)).tolist() == [label for label, n in enumerate(counts) for _ in range(n)]


def test_the_largest_remainders_get_the_rest():
    assert whole(torch.tensor([1.4, 2.45, 0.15, -3.0]), 4).tolist() == [1, 3, 0, 0]
    assert whole(torch.tensor([0.0, 0.0, -1.0]), 4).tolist() == [2, 1, 1]


# Dummies


def test_pink_noise_falls_with_frequency_as_photographs_do():
    x = draw(Inputs((3, 32, 32), 10), 200, "pink", rng=stream(0))
    spectrum = torch.fft.fft2(x - x.mean(dim=(2, 3), keepdim=True)).abs().square().mean(dim=(0, 1))
    slope = math.log(float(spectrum[0, 8] / spectrum[0, 2])) / math.log(4) / 2
    assert slope == pytest.approx(-1.2, abs=0.25)
    assert 0 <= float(x.min()) < float(x.max()) <= 1


def test_dummies_lie_in_the_range_of_the_pixels():
    inputs = Inputs((1, 8, 8), 4, low=-2, high=6)
    uniform = draw(inputs, 100, "uniform", rng=stream(0))
    assert (float(uniform.min()), float(uniform.max())) == (pytest.approx(-2, abs=0.1), pytest.approx(6, abs=0.1))
    assert draw(Inputs((7,), 4), 5, "pink", rng=stream(0)).shape == (5, 7)


def test_what_enters_the_last_layer_gives_what_leaves_it():
    model = case_of(VICTIMS["lenet"], [0]).model
    found = answers(model, torch.rand(300, 3, 12, 12, generator=stream(1)))
    weight, bias = [name for name in model.params if name.startswith("7.")]
    torch.testing.assert_close(found.embeddings @ model.params[weight].T + model.params[bias], found.logits)
    assert not any(module._forward_pre_hooks for module in model.net.modules())


# Integers


def test_a_scale_is_found_by_the_counts_being_integers():
    chances = torch.tensor([0.05, 0.31, 0.24, 0.4])
    true = torch.tensor([3.0, 9.0, 1.0, 19.0])  # no class is absent, which would make the bound exact
    slope = 0.01 * (32 * chances - true)
    found = weigh(32 * chances, slope, torch.full((4,), 0.02), 32, factor=None)
    assert found.factor == pytest.approx(100, rel=1e-2)
    torch.testing.assert_close(found.counts.round(), true.double())
    torch.testing.assert_close(weigh(32 * chances, slope, torch.full((4,), 0.02), 32, factor=100.0).counts, true.double())


def test_scatter_says_how_large_a_scale_is_that_integers_leave_open():
    true = torch.tensor([10.0, 15.0, 12.0, 9.0, 13.0, 16.0, 11.0, 14.0, 12.0, 16.0])
    offset = torch.full((10,), 12.8)
    slope, errors = (offset - true) / 50, torch.full((10,), 1.5)  # the factor is 50; errors hide the integers
    alone = weigh(offset, slope, errors, 128, factor=None)
    told = weigh(offset, slope, errors, 128, factor=None, scatter=50 / 0.9**0.5)
    assert told.factor == pytest.approx(50, rel=0.35)
    assert abs(math.log(alone.factor / 50)) > 2 * abs(math.log(told.factor / 50))
    assert (told.counts - true).abs().sum() < (alone.counts - true).abs().sum()


@pytest.mark.parametrize("rate", [0.03, 1e-3])
@pytest.mark.parametrize("count", [16, 64])
def test_scatter_is_the_factor_of_the_update(count, rate):
    found = []
    for seed in range(4):
        seen = case_of(VICTIMS["lenet"], chance_labels(count, seed), seed).observe(
            FedAvg(optimizer=SGD(learning_rate=rate)), threat=WEIGHTS
        )
        found.append(math.log(scatter(look(seen, 256, "pink", rng=stream(seed)), count) * 0.9**0.5 * rate))
    assert abs(sum(found) / 4) < 0.5  # within a factor of 1.6 of 1 / rate; these images are no photographs


def test_one_example_does_not_scatter():
    seen = case_of(VICTIMS["lenet"], [3]).observe(ONE_STEP, threat=WEIGHTS)
    layer = look(seen, 64, "pink", rng=stream(0))
    assert scatter(layer, 1) is None


def test_nothing_moves_no_class():
    with pytest.raises(OutOfScope, match="moves no class"):
        weigh(torch.ones(4), torch.zeros(4), torch.ones(4), 4, factor=None)


# Rules


@pytest.mark.parametrize("rule", RULES, ids=repr)
@pytest.mark.parametrize("count", [8, 32])
def test_rules_restore_duplicates_from_gradients_of_fresh_nets(rule, count):
    assert accuracy(rule, VICTIMS["lenet"], FedSGD(), SERVER, count) >= 0.85


@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
@pytest.mark.parametrize("count", [8, 32, 128])
def test_counts_restores_fresh_nets(victim, count):
    for client, threat in ((FedSGD(), SERVER), (ONE_STEP, WEIGHTS)):
        assert accuracy(Counts(), victim, client, threat, count) >= 0.95


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_rules_do_not_need_the_scale(rule):
    client = FedAvg(optimizer=SGD(learning_rate=0.003))
    assert accuracy(rule, VICTIMS["convnet"], client, WEIGHTS, 8) >= 0.75


@pytest.mark.parametrize("rule", [Geng(), Geng(images="pink"), LLG(), Counts()], ids=repr)
def test_rules_do_without_a_bias(rule):
    assert accuracy(rule, VICTIMS["lenet"], FedSGD(), SERVER, 32, bias=False) >= 0.85


def test_the_scale_does_not_matter():
    seen = case_of(VICTIMS["lenet"], chance_labels(8, 0)).observe(FedSGD(), threat=WEIGHTS)
    tiny = replace(seen, update=replace(seen.update, delta=tree.apply(lambda value: 1e-4 * value, seen.update.delta)))
    one, other = (Geng().infer(each, 8, rng=stream(0)) for each in (seen, tiny))
    assert torch.equal(one, other)


@pytest.mark.parametrize("labels", [[3] * 8, [1, 1, 2, 2, 3, 3, 4, 4], [1, 1, 1, 1, 2, 3, 4, 5], list(range(8))], ids=str)
def test_counts_restores_every_pattern(labels):
    for client, threat in ((FedSGD(), SERVER), (ONE_STEP, WEIGHTS)):
        seen = case_of(VICTIMS["convnet"], labels).observe(client, threat=threat)
        assert Counts().infer(seen, 8, rng=stream(0)).tolist() == labels


def test_several_steps_are_followed_along_their_path():
    client = FedAvg(epochs=10, optimizer=SGD(learning_rate=0.05))
    assert accuracy(Counts(), VICTIMS["convnet"], client, WEIGHTS, 32) >= 0.85


@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
@pytest.mark.parametrize("steps", [1, 10])
@pytest.mark.parametrize("seed", range(3))
def test_signs_say_which_class_is_there(victim, steps, seed):
    """What Adam sends has one size everywhere: read as a gradient, it would say something else."""
    true = chance_labels(1, seed)
    seen = case_of(victim, true, seed).observe(FedAvg(epochs=steps, optimizer=Adam(learning_rate=1e-3)), threat=WEIGHTS)
    assert keeps_signs(seen.update.delta)
    assert Counts().infer(seen, 1, rng=stream(seed, "rule")).tolist() == true
    assert not keeps_signs(case_of(victim, true, seed).observe(ONE_STEP).update.delta)


@pytest.mark.parametrize("seed", range(3))
def test_signs_name_every_class_that_is_not_expected(seed):
    true = sorted(set(chance_labels(6, seed)))
    seen = case_of(VICTIMS["resnet"], true, seed).observe(FedAvg(optimizer=Adam(learning_rate=1e-3)), threat=WEIGHTS)
    assert Counts().infer(seen, len(true), rng=stream(seed, "rule")).tolist() == true


def test_of_signs_duplicates_are_shared_out():
    layer = look(case_of(VICTIMS["lenet"], [1]).observe(FedSGD()), 4, "pink", rng=stream(0))
    sums = torch.tensor([1.0, -1, 1, -1, 1, -0.9, 1, 1, 1, 1])
    assert present(layer._replace(sums=sums), 8).tolist() == [1, 1, 1, 3, 3, 3, 5, 5]
    assert present(layer._replace(sums=sums), 2).tolist() == [1, 3]


@pytest.mark.parametrize("count", [1, 3])
def test_signs_are_turned_around_where_they_name_too_many_classes(count):
    for sign in (1.0, -1.0):
        case = case_of(VICTIMS["lenet"], list(range(count)))
        seen = case.observe(FedAvg(optimizer=Adam(learning_rate=1e-3)), threat=WEIGHTS)
        turned = replace(
            seen, update=replace(seen.update, delta=tree.apply(lambda value, sign=sign: sign * value, seen.update.delta))
        )
        assert (sign_odds(turned) < 0) == (sign < 0)


def test_rules_know_more_classes_than_examples_and_fewer():
    seen = case_of(VICTIMS["lenet"], [7]).observe(FedSGD(), threat=SERVER)
    for rule in RULES:
        assert rule.infer(seen, 1, rng=stream(0)).tolist() == [7]


def test_geng_is_its_formula():
    case = case_of(VICTIMS["lenet"], chance_labels(16, 3))
    seen = replace(case.observe(FedSGD(), threat=SERVER))
    dummies = draw(INPUTS, 50, "uniform", rng=stream(5))
    logits = case.model.logits(dummies)
    counts = 16 * (logits.softmax(1).mean(0) - seen.update.delta[head_bias(seen)])
    found = Geng(samples=50).infer(seen, 16, rng=stream(5))
    assert torch.bincount(found, minlength=10).tolist() == whole(counts, 16).tolist()
    with pytest.raises(OutOfScope, match="bias of the last layer was not sent"):
        Geng(using="bias").infer(without(seen, head_bias(seen)), 16, rng=stream(0))


def test_public_images_stand_in_where_they_are_granted():
    case = case_of(VICTIMS["lenet"], chance_labels(16, 3))
    threat = ThreatModel("holds data", SERVER.grants | {"public_data"})
    seen = case.observe(FedSGD(), threat=threat)
    assert seen.public is not None
    counts = 16 * (case.model.logits(seen.public.x).softmax(1).mean(0) - seen.update.delta[head_bias(seen)])
    assert torch.bincount(Geng().infer(seen, 16, rng=stream(5)), minlength=10).tolist() == whole(counts, 16).tolist()


@pytest.mark.parametrize("rule", [Geng(using="weight", images="normal"), LLG(images="normal")], ids=repr)
def test_no_rule_divides_by_an_embedding_of_zero(rule):
    odd = MLP(hidden=(16,), activation="tanh")  # without biases, and with inputs around 0, an odd function
    case = sample(odd, examples=4, inputs=Inputs((1, 8, 8), 4, low=-1, high=1))
    params = {name: torch.zeros_like(value) if name.endswith("bias") else value for name, value in case.model.params.items()}
    seen = replace(case, model=replace(case.model, params=params)).observe(FedSGD(), threat=SERVER)
    with pytest.raises(OutOfScope, match="mean of what enters that layer is 0"):
        replace(rule, samples=4096).infer(seen, 4, rng=stream(0))


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_a_rule_of_counts_needs_a_head_that_moved(rule):
    seen = case_of(VICTIMS["lenet"], [1, 2]).observe(FedSGD(), threat=SERVER)
    weight = head_bias(seen).replace("bias", "weight")
    with pytest.raises(OutOfScope, match="does not hold"):
        rule.infer(without(seen, weight, head_bias(seen)), 2, rng=stream(0))
    still = replace(seen, update=replace(seen.update, delta=tree.apply(torch.zeros_like, seen.update.delta)))
    with pytest.raises(OutOfScope, match="exactly zero"):
        rule.infer(still, 2, rng=stream(0))


# Sign and count


@pytest.mark.parametrize("victim", VICTIMS.values(), ids=VICTIMS)
@pytest.mark.parametrize("count", [2, 8, 32])
def test_the_sign_is_that_of_a_gradient_whichever_way_it_came(victim, count):
    seen = case_of(victim, chance_labels(count, 1), seed=1).observe(ONE_STEP, threat=WEIGHTS)
    swapped = replace(seen, update=replace(seen.update, delta=tree.apply(torch.neg, seen.update.delta)))
    assert sign_odds(seen) > 5
    assert sign_odds(swapped) == -sign_odds(seen)
    settled, plain = settle(swapped), settle(seen)
    for name, value in seen.update.delta.items():
        assert torch.equal(settled.seen.update.delta[name], value)
        assert torch.equal(plain.seen.update.delta[name], value)
    assert "turned around" in " ".join(settled.notes)
    assert plain.notes == ()


@pytest.mark.parametrize("seed", range(6))
def test_the_sign_of_many_local_steps_is_not_taken_for_reversed(seed):
    client = FedAvg(epochs=10, optimizer=SGD(learning_rate=0.03))
    assert sign_odds(case_of(LeNet(), chance_labels(8, seed), seed).observe(client, threat=WEIGHTS)) > -5


def test_the_sign_is_kept_where_the_scale_is_granted_or_nothing_tells():
    seen = case_of(VICTIMS["convnet"], [1, 1, 2]).observe(ONE_STEP, threat=SERVER)
    backward = replace(seen, update=replace(seen.update, delta=tree.apply(torch.neg, seen.update.delta)))
    assert settle(backward) == (backward, ())
    headless = without(replace(backward, threat=WEIGHTS), head_bias(seen), head_bias(seen).replace("bias", "weight"))
    assert sign_odds(headless) == 0
    assert settle(headless).seen.update.delta == headless.update.delta
    assert "does not tell the sign" in settle(headless).notes[-1]


@pytest.mark.parametrize("victim", ["convnet", "lenet"])
def test_a_rule_says_how_many_of_its_labels_it_expects_to_be_right(victim):
    labels = chance_labels(32, 4)
    seen = case_of(VICTIMS[victim], labels).observe(ONE_STEP, threat=WEIGHTS)
    believed = Counts().believe(seen, 32, rng=stream(0))
    assert torch.equal(believed.labels, Counts().infer(seen, 32, rng=stream(0)))
    assert 0.5 < believed.share <= 1
    assert label_accuracy(torch.tensor(labels), believed.labels) >= believed.share - 0.1
    found = LabelCounts().run(seen, rng=stream(0), tick=no_tick)
    assert f"the rule expects {believed.share:.0%} of them to be right." in found.notes[-1]


def test_batch_statistics_are_taken_where_the_client_took_them():
    """Fresh running statistics, of mean 0 and variance 1, make other embeddings than a client in training mode has."""
    labels = chance_labels(16, 2)
    for mode, size in (("eval", None), ("train", 16)):
        client = replace(ONE_STEP, batchnorm=mode)
        seen = case_of(ConvNet(width=8), labels).observe(client, threat=WEIGHTS)
        before = {name: value.clone() for name, value in seen.model.buffers.items()}
        layer = look(seen, 64, "pink", rng=stream(0))
        assert layer.statistics_of == size
        assert all(torch.equal(value, before[name]) for name, value in seen.model.buffers.items())
        assert not any(module.training for module in seen.model.net.modules())
        assert label_accuracy(torch.tensor(labels), Counts().infer(seen, 16, rng=stream(0))) > 0.9


def test_the_weights_tell_the_bias_update_up_to_the_lengths_of_embeddings():
    labels = chance_labels(16, 3)
    seen = case_of(VICTIMS["lenet"], labels).observe(FedSGD(), threat=SERVER)
    layer = look(seen, 256, "pink", rng=stream(0))
    (sent, even), (told, uneven) = readings(layer)
    assert torch.equal(sent, layer.sums)
    assert even == 0
    torch.testing.assert_close(told, sent, atol=float(sent.abs().max()) * 3 * uneven, rtol=0)
    lengths = layer.found.embeddings @ layer.found.embeddings.mean(dim=0)
    assert uneven == pytest.approx(float(lengths.std() / lengths.mean()))
    alone = look(without(seen, head_bias(seen)), 256, "pink", rng=stream(0))
    ((found, unevenness),) = readings(alone)
    torch.testing.assert_close(found, told)
    assert unevenness == pytest.approx(uneven)
    centered = layer._replace(found=layer.found._replace(embeddings=layer.found.embeddings - layer.found.embeddings.mean(dim=0)))
    assert len(readings(centered)) == 1


def test_expected_right_is_the_mean_over_counts_that_are_drawn():
    chances = torch.tensor([[0.5, 0.25, 0.25], [0.25, 0.25, 0.5]], dtype=torch.float64)
    guess = torch.tensor([1, 1])
    drawn = torch.cartesian_prod(torch.arange(3), torch.arange(3))
    weights = chances[0][drawn[:, 0]] * chances[1][drawn[:, 1]]
    expected = float((weights[:, None] * torch.minimum(drawn, guess)).sum()) / 2
    assert expected_right(Posterior(chances, 1.0, 0.0), guess) == pytest.approx(expected)


def test_a_count_that_is_withheld_is_estimated_for_the_analytic_attack():
    case = sample(MLP(hidden=(64,)), examples=2)
    found = Analytic().run(case.observe(FedSGD(), threat=EAVESDROPPER), rng=stream(0), tick=no_tick)
    assert len(found.batch) <= 2
    assert "rank of the linear layers' update says 2" in " ".join(found.notes)


@pytest.mark.parametrize(("examples", "told"), [(2, "says 2."), (8, "says at least 3"), (40, "says at least 3")])
def test_a_rank_that_is_full_says_at_least(examples, told):
    seen = sample(LeNet(), examples=examples).observe(FedSGD(), threat=EAVESDROPPER)
    assert seen.model.inputs.classes == 4
    note = settle(seen).notes[0]
    assert told in note


def test_whoever_knows_the_labels_knows_how_many_they_are():
    seen = case_of(VICTIMS["lenet"], [1] * 12).observe(FedAvg(epochs=3), threat=ThreatModel("labels", frozenset({"labels"})))
    settled = settle(seen)
    assert settled.seen.count == 12
    assert settled.notes == ()


def test_an_attack_that_restores_labels_alone():
    true = chance_labels(8, 2)
    seen = case_of(VICTIMS["lenet"], true, seed=2).observe(FedSGD(), threat=SERVER)
    found = LabelCounts(labels=Geng()).run(seen, rng=stream(0), tick=no_tick)
    assert overlap(found.batch.y, true) >= 0.8
    assert torch.equal(found.batch.x, torch.full((8, 3, 12, 12), 0.5))
    assert LabelCounts(labels=Known()).needs == {"labels"}
    blind = case_of(VICTIMS["lenet"], [3], seed=2).observe(FedSGD(), threat=EAVESDROPPER)
    guess = LabelCounts().run(blind, rng=stream(0), tick=no_tick)
    assert "rank of the linear layers' update says 1" in " ".join(guess.notes)
    assert guess.batch.y.tolist() == [3]


# Patterns of duplicates


def demo(size, labels, seed=0):
    """Twelve images in three classes."""
    return spec.parse(
        {
            "data": "algorithms:Checkers",
            "batch": {"size": size, "labels": labels},
            "victim": "algorithms:Flat",
            "attack": "mean_image",
            "seed": seed,
        }
    )


@pytest.mark.parametrize("seed", range(3))
def test_duplicates_can_be_drawn(seed):
    pairs, _ = spec.prepare(demo(6, "pairs", seed))
    repeated, _ = spec.prepare(demo(4, "one_repeated", seed))
    assert sorted(Counter(pairs.secret.y.tolist()).values()) == [2, 2, 2]
    assert sorted(Counter(repeated.secret.y.tolist()).values()) == [1, 1, 2]
    assert len(pairs.secret.x.unique(dim=0)) == 6


@pytest.mark.parametrize(("size", "labels", "most"), [(3, "pairs", 6), (8, "pairs", 6), (10, "one_repeated", 8)])
def test_patterns_that_the_data_do_not_have(size, labels, most):
    with pytest.raises(UsageError) as caught:
        spec.prepare(demo(size, labels))
    expected = f"got {size}, expected an even number up to {most} for {labels} labels of this data; change it"
    assert str(caught.value) == f"batch.size: {expected}"
