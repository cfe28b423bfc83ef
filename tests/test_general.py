"""General deep leakage: its priors, which the authors' program keeps from acting, and several rounds of one batch."""

import math
from collections import Counter
from dataclasses import replace

import pytest
import torch
from batches import alike
from samples import SETTING, record, trial
from table import FLAT

import leakgauge as lg
from leakgauge import spec
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.general_deep_leakage import general_deep_leakage
from leakgauge.attacks.labels.corrupted import Corrupted
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.clip import Clip
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.scale import Scale
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import ATTACK, BLIND, FLOOR
from leakgauge.auditing.rounds import Rounds, observe_rounds
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.capabilities import ADAPTIVE, INFORMED, NAMED, SERVER
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Capability, Inputs, Reconstruction, no_tick
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.metrics.psnr import PSNR
from leakgauge.spec.schema import schema
from leakgauge.studies import fusion, wrong_label
from leakgauge.studying import Results, cases
from leakgauge.testing import check_secrecy, sample
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

# Priors

RANGE = Inputs((1, 3, 4), 4, low=0.1, high=0.9, mean=(0.4,), std=(0.2,))
SEEN = sample(MLP(hidden=(4,), normalize=True), examples=2, inputs=RANGE).observe(FedSGD())
PRIORS = [Clip(weight=0.7), Scale(weight=0.7), L2(weight=0.7, form="squares")]


def pixels(low, high, *, dtype=torch.float32):
    """Pixels of two images, no two alike, from low to high."""
    spread = torch.linspace(0, 1, 24, dtype=dtype)[torch.randperm(24, generator=stream(5))]
    return (low + (high - low) * spread).reshape(2, 1, 3, 4)


def numbers(x):
    return [float(value) for value in x.flatten()]


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.4), (0.2, 0.6), (-0.5, 0.5), (2.0, 3.0)])
def test_clip_is_the_squared_distance_to_the_range_in_shares_of_it(low, high):
    x = pixels(low, high)
    expected = sum((max(0.1 - value, value - 0.9, 0) / 0.8) ** 2 for value in numbers(x))
    assert float(Clip(weight=3.0)(alike(x), SEEN)) == pytest.approx(3 * expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize(("low", "high"), [(-0.5, 1.4), (0.2, 0.6), (2.0, 3.0)])
def test_scale_is_the_squared_distance_to_the_stretched_batch_in_shares_of_the_range(low, high):
    x = pixels(low, high)
    values = numbers(x)
    stretched = [0.1 + 0.8 * (value - min(values)) / (max(values) - min(values)) for value in values]
    expected = sum(((a - b) / 0.8) ** 2 for a, b in zip(values, stretched, strict=True))
    assert float(Scale(weight=3.0)(alike(x), SEEN)) == pytest.approx(3 * expected, rel=1e-4)


def test_a_batch_that_fills_its_range_and_one_of_a_single_color_are_not_stretched():
    for x in (pixels(0.1, 0.9), torch.full((2, 1, 3, 4), 0.3)):
        leaf = x.requires_grad_()
        value = Scale()(alike(leaf), SEEN)
        assert float(value.detach()) == pytest.approx(0, abs=1e-9)
        assert torch.autograd.grad(value, leaf)[0].abs().max() < 1e-5


def test_the_sum_of_squares_is_in_normalized_pixels():
    x = pixels(-0.5, 1.4)
    expected = sum(((value - 0.4) / 0.2) ** 2 for value in numbers(x))
    assert float(L2(weight=3.0, form="squares")(alike(x), SEEN)) == pytest.approx(3 * expected, rel=1e-5)


@pytest.mark.parametrize("prior", PRIORS, ids=repr)
def test_a_prior_pulls(prior):
    """The authors' program detaches these terms, so that they change the loss and not the images."""
    x = pixels(-0.5, 1.4, dtype=torch.float64).requires_grad_()
    assert torch.autograd.grad(prior(alike(x), SEEN), x)[0].norm() > 0.1
    assert torch.autograd.gradcheck(lambda point: prior(alike(point), SEEN), x)


def measures(batch, seen):
    """What each term of the recipe is to make small."""
    return {
        "total_variation": float(TotalVariation(weight=1.0)(batch, seen)),
        "l2": float(L2(weight=1.0, form="squares")(batch, seen)),
        "scale": float(Scale(weight=1.0)(batch, seen)),
        "clip": float(Clip(weight=1.0)(batch, seen)),
    }


@pytest.mark.parametrize("term", ["total_variation", "l2", "scale", "clip"])
def test_each_term_of_the_recipe_changes_what_is_found(term):
    """From a start far out of range: a term without a gradient could only choose among the points of one path."""
    case = sample(LeNet(channels=2), examples=3)
    seen = case.observe(FedSGD())
    found = {}
    for weight in (0.0, 0.1):
        weights = {"total_variation": 0.0, "l2": 0.0, "scale": 0.0, "clip": 0.0, term: weight}
        attack = general_deep_leakage(**weights, labels=Known(), search=LBFGS(steps=10, line_search="strong_wolfe"))
        far = replace(attack, space=Pixels(boxed=False))
        found[weight] = measures(far.run(seen, rng=stream(0), tick=no_tick).batch, seen)[term]
    assert found[0.1] < 0.1 * found[0.0]


def test_the_recipe_needs_no_labels():
    case = sample(LeNet(channels=2), examples=6)  # six of four classes: two occur twice
    seen = case.observe(FedSGD(), threat=SERVER)
    attack = general_deep_leakage(search=LBFGS(steps=2))
    assert attack.needs == {Capability.PROCEDURE}
    assert attack.run(seen, rng=stream(0), tick=no_tick).batch.y.tolist() == sorted(case.batch.y.tolist())


def test_the_recipe_starts_within_the_range_and_may_leave_it():
    attack = general_deep_leakage()
    seen = sample(examples=50).observe(FedSGD())
    inputs = seen.model.inputs
    start = attack.space.decode(attack.space.start(seen, 50, rng=stream(0)), seen)
    assert inputs.low <= float(start.min()) < 0.01 < 0.99 < float(start.max()) <= inputs.high + 1e-6
    far = torch.full_like(start, 9.0)
    assert torch.equal(attack.space.project(far, seen), far)


# Labels with mistakes


def overlap(labels, truth):
    return (Counter(labels.tolist()) & Counter(truth.tolist())).total()


@pytest.mark.parametrize("examples", [1, 2, 5])
def test_one_wrong_label_is_one_wrong_label(examples):
    seen = sample(FLAT, examples=examples).observe(FedSGD())
    drawn = [Corrupted().infer(seen, examples, rng=stream(seed)) for seed in range(40)]
    assert all(overlap(labels, seen.labels) == examples - 1 for labels in drawn)
    assert all(torch.equal(labels, labels.sort().values) for labels in drawn)
    assert len({tuple(labels.tolist()) for labels in drawn}) > 2
    assert {label for labels in drawn for label in labels.tolist()} >= set(range(4)) - set(seen.labels.tolist())


@pytest.mark.parametrize("wrong", [0, 3, 5])
def test_so_many_labels_are_replaced(wrong):
    case = sample(FLAT, examples=5, inputs=Inputs((1, 8, 8), 1000))
    seen = case.observe(FedSGD())
    drawn = Corrupted(wrong=wrong).infer(seen, 5, rng=stream(0))
    assert overlap(drawn, seen.labels) == 5 - wrong
    assert torch.equal(seen.labels, case.batch.y.sort().values)


def test_mistakes_that_cannot_be_made_are_out_of_scope():
    seen = sample(FLAT, examples=2).observe(FedSGD())
    with pytest.raises(OutOfScope, match="3 labels cannot be wrong: 2 examples, 4 classes"):
        Corrupted(wrong=3).infer(seen, 2, rng=stream(0))
    alone = sample(FLAT, examples=2, inputs=Inputs((1, 8, 8), 1)).observe(FedSGD())
    with pytest.raises(OutOfScope):
        Corrupted().infer(alone, 2, rng=stream(0))
    assert Corrupted(wrong=0).infer(alone, 2, rng=stream(0)).tolist() == [0, 0]


# Rounds

SMOOTH = LeNet(channels=2)
NORMED = ResNet(blocks=(1,), widths=(4,))
CLIENTS = [
    FedSGD(),
    FedSGD(batchnorm="train"),
    FedAvg(epochs=3, optimizer=SGD(momentum=0.9)),
    FedAvg(epochs=2, optimizer=Adam(learning_rate=0.01), batchnorm="train"),
]


def rounds_of(case, client, *, count=3, server_rate=1.0, threat=ADAPTIVE, seed=0, **options):
    rounds = Rounds(count=count, server_rate=server_rate)
    return observe_rounds(case.model, case.batch, client=client, threat=threat, rounds=rounds, seed=seed, **options)


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


def close(one, other):
    return one.keys() == other.keys() and all(torch.allclose(value, other[name], atol=1e-6) for name, value in one.items())


def matching(*priors):
    return Matching(likelihood=Gaussian(), priors=priors, space=Pixels(), replay=Granted(), labels=Known(), search=LBFGS(steps=1))


def test_one_round_is_what_it_was():
    case = sample(NORMED)
    client, defenses = FedAvg(batch_size=1), [GaussianNoise(sigma=0.1)]
    seen = rounds_of(case, client, count=1, defenses=defenses)
    alone = observe(case.model, case.batch, client=client, defenses=defenses, threat=ADAPTIVE, rng=stream(0, "client"))
    assert seen.earlier == ()
    assert equal(seen.update.delta, alone.update.delta)
    assert equal(seen.model.params, alone.model.params)


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
@pytest.mark.parametrize("server_rate", [0.0, 0.3, 1.0])
def test_the_server_steps_from_round_to_round(client, server_rate):
    case = sample(NORMED, examples=3)
    seen = rounds_of(case, client, server_rate=server_rate)
    model = case.model
    assert len(seen.earlier) == 2
    for one in (*seen.earlier, seen):
        assert close(one.model.params, model.params)
        assert close(one.model.buffers, model.buffers)
        sent = client(model, case.batch)
        assert close(one.update.delta, sent.delta)
        params = {name: value - server_rate * sent.delta[name] for name, value in model.params.items()}
        model = replace(model, params=params, buffers={**model.buffers, **sent.buffers})


def test_at_a_rate_of_one_the_next_round_starts_from_the_weights_that_were_trained():
    case = sample(SMOOTH)
    seen = rounds_of(case, FedAvg(epochs=2), count=2)
    trained = tree.apply(torch.sub, case.model.params, FedAvg(epochs=2)(case.model, case.batch).delta)
    assert close(seen.model.params, trained)


def test_what_is_not_sent_stays_as_it_was():
    case = sample(SMOOTH)
    seen = rounds_of(case, FedSGD(), defenses=[PartialSharing(share=("*.bias",))])
    for name, value in seen.model.params.items():
        assert torch.equal(value, case.model.params[name]) == (not name.endswith("bias")), name


def test_buffers_that_do_not_reach_the_server_stay_as_they_were():
    case, client = sample(NORMED), FedSGD(batchnorm="train")
    for threat in NAMED.values():
        seen = rounds_of(case, client, threat=threat)
        assert equal(seen.model.buffers, case.model.buffers) == ("buffers" not in threat), threat.name


class Rewriting:
    """A client that sends its weights doubled, before training and after."""

    def __call__(self, model, batch, /, *, rng=None):
        update = FedAvg()(model, batch, rng=rng)
        doubled = {name: 2 * value for name, value in model.params.items()}
        return replace(update, delta={name: 2 * value for name, value in update.delta.items()}, before=doubled)


def test_the_server_steps_from_the_weights_as_they_are_sent():
    case = sample(SMOOTH)
    seen = rounds_of(case, Rewriting(), count=2)
    trained = tree.apply(torch.sub, case.model.params, FedAvg()(case.model, case.batch).delta)
    assert close(seen.earlier[0].model.params, {name: 2 * value for name, value in case.model.params.items()})
    assert close(seen.model.params, {name: 4 * value for name, value in trained.items()})


@pytest.mark.parametrize("threat", NAMED.values(), ids=NAMED)
def test_every_round_passes_the_same_door(threat):
    case = sample(NORMED, examples=4)
    client, defenses = FedAvg(epochs=2, batch_size=2, batchnorm="train"), [Clipping()]
    seen = rounds_of(case, client, threat=threat, defenses=defenses, public=case.public)
    check_secrecy(seen, case.batch)
    alone = observe(
        case.model, case.batch, client=client, defenses=defenses, threat=threat, public=case.public, rng=stream(0, "client")
    )
    for one in (*seen.earlier, seen):
        assert one.earlier == () or one is seen
        assert one.client == alone.client
        assert (one.labels is None) == (alone.labels is None)
        assert (one.public is None) == (alone.public is None)
        assert one.update.buffers.keys() == alone.update.buffers.keys()
        assert (one.update.examples, one.update.scale) == (alone.update.examples, alone.update.scale)


def test_every_round_has_a_chance_of_its_own():
    case = sample(SMOOTH)
    noisy = {"defenses": [GaussianNoise(sigma=0.5)], "server_rate": 0.0}
    deltas = [tree.flatten(one.update.delta) for one in (lambda seen: (*seen.earlier, seen))(rounds_of(case, FedSGD(), **noisy))]
    clean = tree.flatten(FedSGD()(case.model, case.batch).delta)
    noises = [(delta - clean) / 0.5 for delta in deltas]
    for place, noise in enumerate(noises):
        assert float(noise.std()) == pytest.approx(1, abs=0.1)
        assert all(abs(float(torch.corrcoef(torch.stack([noise, other]))[0, 1])) < 0.15 for other in noises[:place])
    again = rounds_of(case, FedSGD(), **noisy)
    assert torch.equal(tree.flatten(again.update.delta), deltas[-1])


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
@pytest.mark.parametrize("victim", [SMOOTH, NORMED], ids=repr)
def test_the_objective_vanishes_at_the_truth_of_all_rounds(client, victim):
    case = sample(victim, examples=3)
    seen = rounds_of(case, client, server_rate=0.5)
    attack = matching()
    other = Batch(case.batch.x.flip(-1), case.batch.y)
    elsewhere = float(attack.loss_at(seen, other))
    assert abs(float(attack.loss_at(seen, case.batch))) < min(1e-5, 0.01 * elsewhere)
    alone = [float(attack.loss_at(replace(one, earlier=()), other)) for one in (*seen.earlier, seen)]
    assert elsewhere == pytest.approx(sum(alone), rel=1e-5)
    assert all(loss > 0.05 * elsewhere for loss in alone)


def test_priors_count_once_however_many_rounds_there_are():
    case = sample(SMOOTH, examples=3)
    seen = rounds_of(case, FedSGD())
    prior = TotalVariation(weight=0.3)
    assert float(matching(prior).loss_at(seen, case.batch)) == pytest.approx(float(prior(case.batch, seen)), rel=1e-4)


NARROW = Inputs((1, 4, 4), 2)


def narrow():
    """A linear layer of two outputs: each round gives one mixture of two images, and another one once the model has moved."""
    case = sample(MLP(hidden=()), examples=2, inputs=NARROW)
    model = replace(case.model, params={name: value.double() for name, value in case.model.params.items()})
    return replace(case, model=model, batch=Batch(case.batch.x.double(), case.batch.y))


@pytest.mark.parametrize(("count", "rank"), [(1, 17), (2, 32), (3, 32)])
def test_a_second_round_tells_what_one_cannot(count, rank):
    case = narrow()
    seen = rounds_of(case, FedSGD(), count=count)

    def sent(x):
        batch = Batch(x, case.batch.y)
        return torch.cat([tree.flatten(FedSGD()(one.model, batch).delta) for one in (*seen.earlier, seen)])

    slopes = torch.autograd.functional.jacobian(sent, case.batch.x).reshape(-1, case.batch.x.numel())
    assert int(torch.linalg.matrix_rank(slopes, rtol=1e-9)) == rank


def test_an_attack_finds_with_two_rounds_what_it_cannot_find_with_one():
    case = narrow()
    attack = general_deep_leakage(
        total_variation=0, scale=0, clip=0, labels=Known(), search=LBFGS(steps=60, line_search="strong_wolfe"), enough=0.0
    )
    errors = []
    for count in (1, 2):
        found = attack.run(rounds_of(case, FedSGD(), count=count), rng=stream(0), tick=no_tick)
        assert float(found.losses[0]) < 1e-9
        errors.append(float((found.batch.x - case.batch.x[case.batch.y.argsort()]).abs().max()))
    assert errors[0] > 0.1
    assert errors[1] < 1e-3


@pytest.mark.parametrize("settings", [{"count": 0}, {"server_rate": -0.1}])
def test_rounds_have_bounds(settings):
    with pytest.raises(UsageError, match=rf"^Rounds\.{next(iter(settings))}: got "):
        Rounds(**settings)


def test_a_server_that_diverges_is_told():
    with pytest.raises(UsageError, match="holds nan or infinity"):
        rounds_of(sample(MLP(hidden=(4,))), FedSGD(), server_rate=1e39, count=2)


# Rounds in an audit


class Watching:
    """An attack that remembers what it saw, and guesses gray."""

    needs = frozenset()

    def __init__(self):
        self.met = []

    def run(self, seen, /, *, rng, tick):
        self.met.append(seen)
        gray = torch.full((seen.count, *seen.model.inputs.shape), 0.5)
        return Reconstruction(Batch(gray, torch.zeros(len(gray), dtype=torch.long)), torch.tensor([1.0]))


def audited(attack, **changes):
    case = sample(SMOOTH, examples=1)
    scene = Scene(model=case.model, secret=case.batch, public=case.public)
    plan = Plan(client=FedSGD(), threat=INFORMED, attack=attack, blind=MeanImage(), metrics={"psnr": PSNR()}, **changes)
    return case, run(scene, plan).record


def test_attack_and_floor_see_all_rounds_of_their_own_batch():
    watching = Watching()
    case, record = audited(watching, rounds=Rounds(count=3, server_rate=0.5))
    attack, floor = watching.met[:2]
    own = rounds_of(case, FedSGD(), server_rate=0.5, threat=INFORMED)
    for one, other in zip((*attack.earlier, attack), (*own.earlier, own), strict=True):
        assert equal(one.update.delta, other.update.delta)
    assert len(floor.earlier) == 2
    assert equal(floor.earlier[0].model.params, attack.earlier[0].model.params)
    assert not close(floor.update.delta, attack.update.delta)
    assert record.setting.rounds == 3
    assert record.setting.sent == 3 * record.setting.parameters
    assert list(record.trials)[:2] == [ATTACK, FLOOR]


def test_the_loss_at_the_truth_is_that_of_all_rounds():
    case, record = audited(matching(TotalVariation(weight=0.3)), rounds=Rounds(count=3))
    expected = float(TotalVariation(weight=0.3)(case.batch, case.observe(FedSGD())))
    assert record.trials[ATTACK].loss_at_truth == pytest.approx(expected, rel=1e-3)


FILE = {"data": {"name": "photographs", "size": 8}, "batch": {"size": 1}, "victim": "lenet", "attack": "dlg"}


def test_a_file_says_how_many_rounds():
    one, short, long = (spec.parse({**FILE, **more}) for more in ({}, {"rounds": 3}, {"rounds": {"count": 3}}))
    assert one.parts.rounds == Rounds()
    assert short.parts.rounds == Rounds(count=3)
    assert spec.key(short) == spec.key(long) != spec.key(one)
    assert spec.canonical(short)["rounds"] == {"count": 3, "server_rate": 1.0}
    damped = spec.parse({**FILE, "rounds": 3}, ["rounds.server_rate=0.1"])
    assert spec.prepare(damped)[1].rounds == Rounds(count=3, server_rate=0.1)
    assert {"type": "integer", "minimum": 1, "description": "count"} in schema()["properties"]["rounds"]["anyOf"]


@pytest.mark.parametrize(
    ("rounds", "error"),
    [
        (0, r"^rounds\.count: got 0, expected a number >= 1"),
        (True, r"^rounds: got True, expected a mapping; known: count, server_rate"),
        ({"rate": 1.0}, r"^rounds\.rate: got 1\.0, but rounds has no such setting; "),
        ({"server_rate": "fast"}, r"^rounds\.server_rate: got 'fast', expected a number"),
    ],
)
def test_rounds_that_do_not_exist_are_refused(rounds, error):
    with pytest.raises(UsageError, match=error):
        spec.parse({**FILE, "rounds": rounds})


def test_a_notebook_says_how_many_rounds():
    case = sample(SMOOTH)
    for rounds in (2, Rounds(count=2)):
        result = lg.audit(model=case.model, batch=case.batch, attack="mean_image", rounds=rounds, device="cpu")
        assert result.record.setting.rounds == 2


# What the studies measure


def results_of(study, score, losses=(0.1,), blind=0.0):
    """Results of a whole run in which each audit scored as told."""
    found = cases(study)
    records = {}
    for case in found:
        size = case.spec.parts.batch.size
        own = replace(trial(tuple(score(case, row) for row in range(size))), losses=losses(case) if callable(losses) else losses)
        trials = {ATTACK: own, BLIND: trial((blind,) * size)}
        records[case.key] = record(case.key, trials=trials, setting=replace(SETTING, examples=size))
    return Results(study.blocks, found, records)


def test_the_yardstick_of_fusion_is_the_mean_of_the_secret_batch():
    case = cases(fusion.STUDY)[0]
    secret = spec.prepare(case.spec)[0].secret.x
    mean = [sum(numbers) / len(secret) for numbers in zip(*(image.flatten().tolist() for image in secret), strict=True)]
    errors = [sum((a - b) ** 2 for a, b in zip(image.flatten().tolist(), mean, strict=True)) / len(mean) for image in secret]
    assert fusion.mean_scores(case.spec) == pytest.approx([-10 * math.log10(error) for error in errors], abs=1e-3)


def test_a_guess_that_is_the_mean_is_fused_and_a_better_one_is_not():
    few = replace(fusion.BATCHES, quick={}, factors={**fusion.BATCHES.factors, "seed": {seed: {"seed": seed} for seed in range(2)}})
    made = replace(fusion.STUDY, blocks=(few,))
    found = results_of(
        made, lambda case, row: fusion.mean_scores(case.spec)[row] + (4.0 if case.levels["classes"] == fusion.DIFFERENT else 0.5)
    )
    for size in fusion.SIZES:
        assert fusion.above_mean(found, classes=fusion.DIFFERENT, size=size).value == pytest.approx(4)
        assert fusion.above_mean(found, classes=fusion.SAME, size=size).value == pytest.approx(0.5)


def test_the_images_that_lost_most_are_not_the_others():
    """Each mistake ruins one image, another one for each seed, and costs the rest 3 dB or nothing."""
    for share in (0.0, 3.0):

        def score(case, row, share=share):
            wrong = case.levels["wrong labels"]
            ruined = row in [(case.levels["seed"] + place) % 4 for place in range(wrong)]
            return 30.0 + row - (20.0 if ruined else share if wrong else 0.0)

        found = results_of(wrong_label.STUDY, score)
        for wrong in (1, 2):
            measured = wrong_label.others(found, block="four", wrong=wrong, size=4)
            assert (measured.value, measured.count) == (share, 8)
        assert wrong_label.others(found, block="eight", wrong=1, size=8).value == share
        assert wrong_label.restored(found, wrong=0).value == 1.0
        assert wrong_label.restored(found, wrong=1).value == 0.75


def test_a_loss_that_is_no_number_is_loud():
    loud = results_of(
        wrong_label.STUDY,
        lambda case, row: 9.0,
        losses=lambda case: (0.5, 0.1) if not case.levels["wrong labels"] else (None, 4.0 + case.levels["seed"]),
        blind=10.0,
    )
    assert wrong_label.louder(loud) == pytest.approx(40)
    assert wrong_label.above_blind(loud, wrong=1).value == -1.0
    lost = results_of(wrong_label.STUDY, lambda case, row: 9.0, losses=lambda case: (None,))
    assert math.isnan(wrong_label.louder(lost))
