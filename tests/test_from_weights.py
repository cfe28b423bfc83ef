"""Weights alone: scales that are profiled out or searched along, and replays that assume how a client trained."""

import math
from dataclasses import replace

import pytest
import torch

from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.dlm import dlm
from leakgauge.attacks.dlm_plus import dlm_plus
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.labels.counts import Counts
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.free_scale import FreeScale
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.layer_normalized import LayerNormalized
from leakgauge.attacks.likelihoods.masked import Masked
from leakgauge.attacks.likelihoods.profiled import Profiled
from leakgauge.attacks.likelihoods.sign_agreement import SignAgreement
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.replays.surrogate import Surrogate
from leakgauge.attacks.replays.unrolled import Unrolled
from leakgauge.attacks.scale_free import scale_free
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.sme import sme
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.attacks.without_jumps import WithoutJumps
from leakgauge.auditing.pipeline import run as audited
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.record import ATTACK
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.optimizers.adam import Adam, adamw
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.abilities import Adjustable, Diagnosable
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.capabilities import INFORMED, WEIGHTS
from leakgauge.core.protocols import Found
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe_update
from leakgauge.core.types import Batch, Update, no_tick
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.defenses.weight_sparsification import WeightSparsification
from leakgauge.metrics.psnr import PSNR
from leakgauge.testing import sample
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

SMOOTH = LeNet(channels=2)


def draw(seed=0):
    """Two updates in double precision that point about the same way, the first about twice as long."""
    rng = stream(seed, "updates")
    shapes = {"a": (3, 2), "b": (4,), "c": (2, 1, 2)}
    seen, noise = ({name: torch.randn(shape, generator=rng).double() for name, shape in shapes.items()} for _ in range(2))
    return tree.apply(lambda value, other: 2 * value + other, seen, noise), seen


def numbers(update, *names):
    return [float(number) for name in names or update for number in update[name].flatten()]


def times(factor, update):
    return tree.apply(lambda value: factor * value, update)


def length(update):
    return math.hypot(*numbers(update))


def check_slopes(likelihood, guess, seen, step=1e-6):
    """The gradient, number by number, against differences of the value."""
    leaves = {name: value.clone().requires_grad_() for name, value in guess.items()}
    slopes = torch.autograd.grad(likelihood(leaves, seen), list(leaves.values()))
    for (name, value), slope in zip(guess.items(), slopes, strict=True):
        for place in range(value.numel()):
            ends = []
            for sign in (1, -1):
                moved = value.clone()
                moved.view(-1)[place] += sign * step
                ends.append(float(likelihood({**guess, name: moved}, seen)))
            assert float(slope.flatten()[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=1e-4, abs=1e-7)


# Profiled

SCALES = [step / 2000 for step in range(-3000, 3000)]  # from -1.5 to 1.5


def unexplained(guess, seen, groups):
    """The least of |D - k g|^2 / |D|^2 over many k, each group with a k of its own; mirrored at 1 where the best k is below 0."""
    left = 0.0
    for names in groups:
        pairs = list(zip(numbers(guess, *names), numbers(seen, *names), strict=True))
        least, best = min((sum((theirs - scale * ours) ** 2 for ours, theirs in pairs), scale) for scale in SCALES)
        left += least if best >= 0 else 2 * sum(theirs**2 for _, theirs in pairs) - least
    return left / sum(number**2 for number in numbers(seen, *(name for names in groups for name in names)))


@pytest.mark.parametrize(("per", "groups"), [("update", ["abc"]), ("tensor", ["a", "b", "c"])])
def test_profiled_is_the_least_over_all_scales(per, groups):
    guess, seen = draw()
    likelihood = Profiled(weight=3.0, per=per)
    expected = 3 * unexplained(guess, seen, groups)
    assert 0.1 < expected < 2.9
    assert float(likelihood(guess, seen)) == pytest.approx(expected, rel=1e-5)
    check_slopes(likelihood, guess, seen)
    half_turned = {**guess, "b": -guess["b"]}
    assert float(likelihood(half_turned, seen)) == pytest.approx(3 * unexplained(half_turned, seen, groups), rel=1e-5)
    check_slopes(likelihood, half_turned, seen)
    turned = times(-1.0, guess)
    assert float(likelihood(turned, seen)) == pytest.approx(3 * unexplained(turned, seen, groups), rel=1e-5)
    check_slopes(likelihood, turned, seen)
    partly = {name: seen[name] for name in "ab"}
    left = unexplained(guess, partly, ["ab"] if per == "update" else ["a", "b"])
    assert float(likelihood(guess, partly)) == pytest.approx(3 * left, rel=1e-5)


@pytest.mark.parametrize("per", ["update", "tensor"])
def test_profiled_sees_no_scale_but_the_sign(per):
    guess, seen = draw()
    likelihood = Profiled(weight=2.0, per=per)
    for factor in (1e-12, 1e12):
        assert float(likelihood(times(factor, guess), seen)) == pytest.approx(float(likelihood(guess, seen)), rel=1e-9)
        assert float(likelihood(guess, times(factor, seen))) == pytest.approx(float(likelihood(guess, seen)), rel=1e-9)
    assert float(likelihood(times(-1.0, seen), seen)) == 4.0
    assert float(likelihood(times(0.0, seen), seen)) == 2.0
    apart = {name: (place + 1) * value for place, (name, value) in enumerate(seen.items())}
    assert (float(likelihood(apart, seen)) < 1e-12) == (per == "tensor")


@pytest.mark.parametrize("per", ["update", "tensor"])
def test_profiled_is_no_rounding_noise_near_the_truth(per):
    """What 1 - cos^2 would lose in single precision: it is 1e-12, next to a 1 with a rounding of 1e-7."""
    _, double = draw()
    seen = tree.apply(lambda value: value.float(), double)
    guess = {name: 700 * value * (1 + 1e-6 * torch.randn(value.shape, generator=stream(3, name))) for name, value in seen.items()}
    exact = float(Profiled(per=per)(*(tree.apply(lambda value: value.double(), one) for one in (guess, seen))))
    assert 1e-13 < exact < 1e-11
    assert float(Profiled(per=per)(guess, seen)) == pytest.approx(exact, rel=0.2)


# Layer-normalized


def normalized(update, names):
    """Each number over the mean norm of the layers."""
    mean = sum(math.hypot(*numbers(update, name)) for name in names) / len(names)
    return [number / mean for number in numbers(update, *names)]


def test_layer_normalized_is_the_distance_over_mean_layer_norms():
    guess, seen = draw()
    likelihood = LayerNormalized(weight=0.5)
    for names in ("abc", "ac"):
        expected = sum((ours - theirs) ** 2 for ours, theirs in zip(normalized(guess, names), normalized(seen, names), strict=True))
        found = likelihood(guess, {name: seen[name] for name in names})
        assert float(found) == pytest.approx(0.5 * expected, rel=1e-9)
    check_slopes(likelihood, guess, seen)


def test_layer_normalized_sees_no_scale_but_the_sign():
    guess, seen = draw()
    likelihood = LayerNormalized()
    for factor in (1e-9, 1e9):
        assert float(likelihood(times(factor, guess), seen)) == pytest.approx(float(likelihood(guess, seen)), rel=1e-9)
        assert float(likelihood(guess, times(factor, seen))) == pytest.approx(float(likelihood(guess, seen)), rel=1e-9)
    turned = 4 * sum(number**2 for number in normalized(seen, "abc"))
    assert float(likelihood(times(-1.0, seen), seen)) == pytest.approx(turned, rel=1e-9)


def test_a_layer_without_a_gradient_has_a_slope_that_is_a_number():
    guess, seen = draw()
    leaves = {**guess, "a": torch.zeros(3, 2).double().requires_grad_()}
    slope = torch.autograd.grad(LayerNormalized()(leaves, seen), leaves["a"])[0]
    assert bool(slope.isfinite().all())


# The free scale


def test_the_free_scale_multiplies_what_was_seen():
    guess, seen = draw()
    likelihood = FreeScale(starts=(7.0,)).at({"scale": torch.tensor(0.25), "x": torch.zeros(1)})
    expected = sum((ours - 0.25 * theirs) ** 2 for ours, theirs in zip(numbers(guess), numbers(seen), strict=True))
    assert float(likelihood(guess, seen)) == pytest.approx(expected, rel=1e-9)
    scale = torch.tensor(0.25, dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(FreeScale().at({"scale": scale})(guess, seen), scale)[0]
    by_hand = sum(-2 * theirs * (ours - 0.25 * theirs) for ours, theirs in zip(numbers(guess), numbers(seen), strict=True))
    assert float(slope) == pytest.approx(by_hand, rel=1e-9)
    assert torch.equal(FreeScale()(guess, seen), Profiled()(guess, seen))


def test_each_restart_begins_with_the_next_scale():
    seen = sample(SMOOTH).observe(FedAvg())
    likelihood = FreeScale(starts=(2.0, 3.0))
    assert isinstance(likelihood, Adjustable)
    points = [likelihood.unknowns(seen, restart=restart) for restart in range(5)]
    assert [set(point) for point in points] == [{"scale"}] * 5
    assert [point["scale"].item() for point in points] == [2.0, 3.0, 2.0, 3.0, 2.0]
    assert [likelihood.unknowns(seen, restart=0)["scale"].shape, dlm().restarts] == [(), len(dlm().likelihood.starts)]


@pytest.mark.parametrize(
    ("end", "is_told"), [(0.0, True), (0.59, True), (-0.59, True), (0.61, False), (-60.0, False), (100.0, False)]
)
def test_a_scale_that_collapsed_is_told(end, is_told):
    told = FreeScale().remarks({"scale": torch.tensor(60.0)}, {"scale": torch.tensor(end), "x": torch.zeros(1)})
    assert bool(told) is is_told
    if is_told:
        assert told[0].startswith(f"The learned scale collapsed from 60 to {end:.3g}:")


def scripted(*outcomes):
    """A search that finds what it is told, and the starts that it was given."""
    starts = []

    class Scripted:
        def minimize(self, objective, start, /, *, project, goal, rng, tick):
            starts.append((start, goal))
            point, loss = outcomes[len(starts) - 1]
            assert point.keys() == start.keys()
            return Found(point, loss, torch.tensor([loss]))

    return Scripted(), starts


def matching(likelihood, replay, search=LBFGS(steps=1), labels=Known(), **settings):
    return Matching(likelihood=likelihood, space=Pixels(), replay=replay, labels=labels, search=search, **settings)


def run(attack, seen):
    return attack.run(seen, rng=stream(0, "attack"), tick=no_tick)


def test_restarts_are_compared_by_what_no_scale_can_feign():
    """A scale that collapsed has the lower loss of its own, and must neither win nor end the restarting."""
    case, rate = sample(SMOOTH, examples=1), 0.01
    seen = case.observe(FedAvg(optimizer=SGD(learning_rate=rate)))
    collapsed = {"x": torch.zeros_like(case.batch.x), "scale": torch.tensor(0.0)}, 1e-9
    truth = {"x": seen.model.inputs.normalize(case.batch.x), "scale": torch.tensor(1 / rate)}, 1e-3
    search, starts = scripted(collapsed, truth)
    attack = matching(FreeScale(starts=(60.0, 90.0)), OneGradient(scaled=False), search, restarts=2, enough=0.5)
    found = run(attack, seen)
    torch.testing.assert_close(found.batch.x, case.batch.x)
    assert found.losses[0] > 1e-3 > 1e-9 > found.losses[1]
    assert found.notes == ()
    assert [(float(start["scale"]), goal) for start, goal in starts] == [(60.0, 0.0), (90.0, 0.0)]
    search, _ = scripted(collapsed)
    (note,) = run(replace(attack, search=search, restarts=1), seen).notes
    assert "collapsed from 60 to 0" in note


# The agreement of signs


def test_sign_agreement_is_the_share_of_the_wrong_sign():
    (guess, _), (_, seen) = draw(seed=1), draw()
    seen["a"][0, 0] = seen["b"][2] = 0.0  # says nothing
    wrong, told = 0.0, 0
    for name, value in seen.items():
        pairs = [(ours, theirs) for ours, theirs in zip(numbers(guess, name), numbers(seen, name), strict=True) if theirs]
        share = sum(abs(ours) for ours, theirs in pairs if ours * theirs < 0) / sum(abs(ours) for ours, _ in pairs)
        assert 0 < share < 1
        wrong, told = wrong + len(pairs) * share, told + value.numel() - (name in "ab")
        assert len(pairs) == value.numel() - (name in "ab")
    likelihood = SignAgreement(weight=3.0)
    assert float(likelihood(guess, seen)) == pytest.approx(3 * wrong / told, rel=1e-9)
    check_slopes(likelihood, guess, seen)
    elsewhere = {**guess, "a": guess["a"].index_fill(0, torch.tensor([0]), 50.0), "b": guess["b"]}
    elsewhere["a"][0, 1] = guess["a"][0, 1]
    assert torch.equal(likelihood(elsewhere, seen), likelihood(guess, seen))


def test_sign_agreement_runs_from_zero_to_one_over_a_half_for_nothing():
    guess, seen = draw()
    for factor, expected in ((1e-9, 0.0), (5.0, 0.0), (-1.0, 2.0), (0.0, 1.0)):
        assert float(SignAgreement(weight=2.0)(times(factor, seen), seen)) == pytest.approx(expected, abs=1e-12)
    assert float(SignAgreement()(guess, tree.apply(torch.sign, seen))) == float(SignAgreement()(guess, seen))
    assert float(SignAgreement()(guess, times(0.0, seen))) == 0.0


def test_the_first_step_of_adam_agrees_with_the_truth_alone():
    case = sample(SMOOTH, examples=3)
    seen = case.observe(FedAvg(optimizer=Adam(learning_rate=0.01)), threat=INFORMED)
    attack = matching(SignAgreement(), OneGradient(scaled=False))
    assert float(attack.loss_at(seen, case.batch)) == pytest.approx(0.0, abs=1e-6)
    assert float(attack.loss_at(seen, Batch(case.batch.x.flip(-1), case.batch.y))) > 1e-4
    assert float(matching(Gaussian(), OneGradient(scaled=False)).loss_at(seen, case.batch)) > 1e-3


# A gradient on the way


def weights_seen(case, client, sign=1.0, threat=WEIGHTS):
    """What is seen of a client without chance, as before minus after, or after minus before."""
    delta = times(sign, client(case.model, case.batch).delta)
    return observe_update(case.model, Update(delta, examples=len(case.batch)), threat=threat, client=client, labels=case.batch.y)


def gradient_at(model, delta, share, batch):
    params = {name: value - share * delta[name] if name in delta else value for name, value in model.params.items()}
    return loss_gradient(replace(model, params=params), batch).params


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_surrogate_is_the_gradient_on_the_way(share):
    case = sample(SMOOTH, examples=3)
    seen = weights_seen(case, FedAvg(epochs=3, optimizer=SGD(learning_rate=0.5)))
    expected = gradient_at(case.model, seen.update.delta, share, case.batch)
    starts = Surrogate(share=share)
    later = Surrogate(share=0.5, pace=0.02).at({"share": torch.tensor((share - 0.5) / 0.02)})
    for replay in (starts.at(starts.unknowns(seen, restart=1)), later):
        for name, value in replay(seen, case.batch).items():
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-7)
    assert starts.remarks({"share": torch.tensor(0.0)}, {"share": torch.tensor(5.0)}) == ()


def test_the_share_has_the_slope_of_its_differences():
    case = sample(SMOOTH, examples=2)
    seen = weights_seen(case, FedAvg(epochs=3, optimizer=SGD(learning_rate=0.5)))
    batch = Batch(case.batch.x.clone().requires_grad_(), case.batch.y)
    share = torch.tensor(0.3, requires_grad=True)
    total = tree.squared_norm(Surrogate().gradient(seen, batch, share))
    slopes = torch.autograd.grad(total, [share, batch.x])
    ends = [float(tree.squared_norm(gradient_at(case.model, seen.update.delta, place, case.batch))) for place in (0.35, 0.25)]
    assert float(slopes[0]) == pytest.approx((ends[0] - ends[1]) / 0.1, rel=0.02)
    assert bool(slopes[1].any())


def test_the_share_stays_on_the_way():
    case = sample(SMOOTH)
    seen = weights_seen(case, FedAvg(epochs=2))
    for point, end in ((-1e4, 0.0), (1e4, 1.0)):
        found = Surrogate().at({"share": torch.tensor(point)})(seen, case.batch)
        expected = gradient_at(case.model, seen.update.delta, end, case.batch)
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_at_the_start_of_the_way_one_step_is_explained():
    case = sample(SMOOTH, examples=3)
    seen = weights_seen(case, FedAvg(optimizer=SGD(learning_rate=0.3)))
    loss, off = (unexplained_at(seen, case.batch, share) for share in (0.0, 1.0))
    assert loss < 1e-9 < 1e-6 < off


def unexplained_at(seen, batch, share):
    return float(Profiled()(gradient_at(seen.model, seen.update.delta, share, batch), seen.update.delta))


def test_a_gradient_on_the_way_explains_several_steps_better_than_one_at_their_start():
    case = sample(SMOOTH, examples=3)
    seen = weights_seen(case, FedAvg(epochs=10, optimizer=SGD(learning_rate=0.1)))
    losses = [unexplained_at(seen, case.batch, share) for share in (0.0, 0.5, 1.0)]
    assert losses[1] < 0.1 * min(losses[0], losses[2])


@pytest.mark.parametrize("epochs", [1, 10])
def test_as_it_stands_a_surrogate_is_taken_where_it_explains_most(epochs):
    case = sample(SMOOTH, examples=3)
    seen = weights_seen(case, FedAvg(epochs=epochs, optimizer=SGD(learning_rate=0.1)))
    least = min(unexplained_at(seen, case.batch, tenths / 10) for tenths in range(11))
    assert float(Profiled()(Surrogate(share=0.9)(seen, case.batch), seen.update.delta)) == pytest.approx(least, rel=1e-4, abs=1e-9)


def test_the_way_is_along_what_was_sent():
    case = sample(SMOOTH)
    seen = case.observe(FedAvg(epochs=2), defenses=[PartialSharing(share=("0.*",))])
    assert 0 < len(seen.update.delta) < len(case.model.params)
    expected = gradient_at(case.model, seen.update.delta, 0.5, case.batch)
    halfway = Surrogate().at({"share": torch.tensor(0.0)})
    assert all(torch.equal(value, expected[name]) for name, value in halfway(seen, case.batch).items())


# Local training at an unknown rate

RATE = 0.05
PLAIN = SGD(learning_rate=RATE)
TRAINED = [
    # client, what the replay assumes of it
    (FedAvg(epochs=4, optimizer=PLAIN), Unrolled(steps=4)),
    (FedAvg(epochs=4, optimizer=PLAIN), Unrolled(steps=4, optimizer=SGD(learning_rate=0.7))),
    (FedAvg(epochs=2, batch_size=2, optimizer=PLAIN), Unrolled(steps=6, batch_size=2)),
    (FedAvg(epochs=4, optimizer=replace(PLAIN, momentum=0.9)), Unrolled(steps=4, optimizer=SGD(momentum=0.9))),
    (
        FedAvg(epochs=2, batch_size=3, optimizer=replace(PLAIN, momentum=0.9, nesterov=True, weight_decay=0.2)),
        Unrolled(steps=4, batch_size=3, optimizer=SGD(momentum=0.9, nesterov=True, weight_decay=0.2)),
    ),
    (FedAvg(epochs=3, batch_size=4, optimizer=Adam(learning_rate=RATE)), Unrolled(steps=6, batch_size=4, optimizer=Adam())),
    (
        FedAvg(epochs=3, optimizer=adamw(learning_rate=RATE, weight_decay=0.3)),
        Unrolled(steps=3, optimizer=adamw(learning_rate=0.02, weight_decay=0.3)),
    ),
]


def is_adaptive(replay):
    return isinstance(replay.optimizer, Adam)


@pytest.mark.parametrize(("client", "replay"), TRAINED, ids=repr)
def test_at_the_true_rate_local_training_is_repeated(client, replay):
    case = sample(SMOOTH, examples=5)
    expected = client(case.model, case.batch).delta
    seen = weights_seen(case, client)
    at_rate = replay.at({"log_rate": torch.tensor(math.log(RATE) / replay.pace), "x": torch.zeros(1)})
    assert at_rate.needs == replay.needs == set()
    for found in (replay.train(seen, case.batch, torch.tensor(RATE)), at_rate(seen, case.batch)):
        off = length(tree.apply(torch.sub, found, expected))
        assert off < (1e-3 if is_adaptive(replay) else 1e-5) * length(expected)


@pytest.mark.parametrize(("client", "replay"), TRAINED, ids=repr)
def test_the_length_of_the_update_gives_the_rate_away(client, replay):
    """As it stands, the replay takes the rate from the length, so that the truth explains the update whatever the likelihood."""
    case = sample(SMOOTH, examples=5)
    seen = weights_seen(case, client)
    found = replay(seen, case.batch)
    assert length(found) == pytest.approx(length(seen.update.delta), rel=1e-4)
    elsewhere = replay(seen, Batch(case.batch.x.flip(-1), case.batch.y))
    for likelihood in (Profiled(), Gaussian(weight=1 / length(seen.update.delta) ** 2)):
        loss, off = (float(likelihood(one, seen.update.delta)) for one in (found, elsewhere))
        assert loss < (1e-5 if is_adaptive(replay) else 1e-8)
        assert loss < 0.01 * off


@pytest.mark.parametrize(("order", "is_repeated"), [([0, 1, 2, 3], True), ([2, 3, 0, 1], False)])
def test_mini_batches_come_in_the_candidates_order(order, is_repeated):
    case = sample(SMOOTH, examples=4)
    seen = weights_seen(case, FedAvg(batch_size=2, optimizer=SGD(learning_rate=1.0)))
    loss = Profiled()(Unrolled(steps=2, batch_size=2)(seen, case.batch[torch.tensor(order)]), seen.update.delta)
    assert (float(loss) < 1e-8) == is_repeated


def test_the_rate_starts_where_gray_images_give_so_long_an_update():
    case = sample(SMOOTH, examples=3)
    seen = weights_seen(case, FedAvg(epochs=5, optimizer=SGD(learning_rate=0.02)))
    replay = Unrolled(steps=2, starts=(1.0, 4.0), pace=0.3)
    gray = Batch(torch.full_like(case.batch.x, 0.5), torch.tensor([0, 1, 2]))
    points = [replay.unknowns(seen, restart=restart) for restart in range(3)]
    assert torch.equal(points[0]["log_rate"], points[2]["log_rate"])
    assert length(replay.at(points[0])(seen, gray)) == pytest.approx(length(seen.update.delta), rel=1e-4)
    rates = [math.exp(0.3 * float(point["log_rate"])) for point in points]
    assert rates[1] == pytest.approx(4 * rates[0], rel=1e-5)
    expected = replay.train(seen, gray, torch.tensor(rates[1]))
    for name, value in replay.at(points[1])(seen, gray).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-7)


def test_the_rate_has_the_slope_of_its_differences():
    case = sample(SMOOTH, examples=2)
    seen = weights_seen(case, FedAvg(epochs=3, optimizer=SGD(learning_rate=0.5)))
    replay = Unrolled(steps=3)
    batch = Batch(case.batch.x.clone().requires_grad_(), case.batch.y)
    rate = torch.tensor(0.4, requires_grad=True)
    slopes = torch.autograd.grad(tree.squared_norm(replay.train(seen, batch, rate)), [rate, batch.x])
    ends = [float(tree.squared_norm(replay.train(seen, case.batch, torch.tensor(place)))) for place in (0.41, 0.39)]
    assert float(slopes[0]) == pytest.approx((ends[0] - ends[1]) / 0.02, rel=0.01)
    assert bool(slopes[1].any())


def test_the_rate_that_was_found_is_told():
    point = {"log_rate": torch.tensor(math.log(0.0125) / 0.2)}
    (told,) = Unrolled(steps=7, pace=0.2).remarks({"log_rate": torch.tensor(0.0)}, point)
    assert told == "Local training was replayed with 7 steps, at a learning rate of 0.0125 in the end."


@pytest.mark.parametrize("replay", [Unrolled(steps=1), Surrogate(share=0.0)], ids=repr)
def test_a_replay_may_use_the_statistics_of_the_batch(replay):
    case = sample(ResNet(blocks=(1,), widths=(4,)), examples=4)
    seen = weights_seen(case, FedAvg(optimizer=PLAIN, batchnorm="train"))
    normed = replace(replay, batchnorm="train")
    losses = [float(Profiled()(one(seen, case.batch), seen.update.delta)) for one in (normed, replay)]
    assert losses[0] < 1e-8 < 1e-3 < losses[1]
    (name,) = replay.unknowns(seen, restart=0)
    start = {name: torch.tensor(0.0)}
    assert float(Profiled()(normed.at(start)(seen, case.batch), seen.update.delta)) < 1e-8


def test_what_was_not_sent_does_not_count_towards_the_length():
    case = sample(SMOOTH)
    seen = case.observe(FedAvg(epochs=2, optimizer=PLAIN), defenses=[PartialSharing(share=("0.*",))], threat=INFORMED)
    assert float(Gaussian(weight=1e6)(Unrolled(steps=2)(seen, case.batch), seen.update.delta)) < 1e-5


# The engine


def test_unknowns_of_both_parts_join_the_search():
    case = sample(SMOOTH, examples=1)
    seen = case.observe(FedAvg(epochs=2))
    point = {"x": torch.zeros_like(case.batch.x), "scale": torch.tensor(2.0), "share": torch.tensor(10.0)}
    search, starts = scripted((point, 0.0))
    run(matching(FreeScale(starts=(5.0,)), Surrogate(share=0.2, pace=0.03), search), seen)
    assert {name: float(value) for name, value in starts[0][0].items() if name != "x"} == {"scale": 5.0, "share": 0.0}


def test_the_objective_is_that_of_the_parts_at_the_point():
    case = sample(SMOOTH, examples=1)
    seen = case.observe(FedAvg(epochs=2))
    losses = []

    class Asking:
        def minimize(self, objective, start, /, *, project, goal, rng, tick):
            truth = {"x": seen.model.inputs.normalize(case.batch.x), "scale": torch.tensor(2.0), "share": torch.tensor(10.0)}
            losses.append(float(objective(truth)))
            assert project(truth)["scale"] == 2.0
            return Found(truth, losses[0], torch.tensor(losses))

    found = run(matching(FreeScale(), Surrogate(share=0.2, pace=0.03), Asking()), seen)
    gradient = gradient_at(case.model, seen.update.delta, 0.5, case.batch)
    expected = length(tree.apply(lambda ours, theirs: ours - 2 * theirs, gradient, seen.update.delta)) ** 2
    assert losses[0] == pytest.approx(expected, rel=1e-4)
    assert found.losses.tolist() == [pytest.approx(float(Profiled()(gradient, seen.update.delta)), rel=1e-3)]


@pytest.mark.parametrize("likelihood", [Profiled(), LayerNormalized(), SignAgreement(), FreeScale()], ids=repr)
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_loss_at_the_truth_is_that_of_the_update_turned_around(likelihood, sign):
    """The search turns an update around that points away from a gradient; the diagnosis compares with the same objective."""
    case = sample(SMOOTH, examples=2)
    seen = weights_seen(case, FedAvg(optimizer=PLAIN), sign=sign)
    attack = matching(likelihood, OneGradient(scaled=False), labels=Counts())
    assert float(attack.loss_at(seen, case.batch)) < 1e-5
    assert float(attack.loss_at(replace(seen, earlier=(seen,)), case.batch)) < 1e-5


def test_without_jumps_the_loss_at_the_truth_is_that_of_what_was_attacked():
    case = sample(LeNet(channels=6), examples=1)
    client = FedAvg(optimizer=SGD(learning_rate=0.1))
    seen = case.observe(client, defenses=[WeightSparsification(share=0.05)], threat=INFORMED)
    plain = matching(Masked(likelihood=Profiled()), Granted())
    adaptive = WithoutJumps(attack=plain)
    assert isinstance(adaptive, Diagnosable)
    assert float(adaptive.loss_at(seen, case.batch)) < 0.1 * float(plain.loss_at(seen, case.batch))
    twice = float(adaptive.loss_at(replace(seen, earlier=(seen,)), case.batch))
    assert twice == pytest.approx(2 * float(adaptive.loss_at(seen, case.batch)), rel=1e-5)


def test_an_attack_without_an_objective_has_no_loss_at_the_truth():
    attack = WithoutJumps(attack=Analytic())
    case = sample(MLP(hidden=(16,)), examples=1)
    assert math.isnan(attack.loss_at(case.observe(FedAvg()), case.batch))
    scene = Scene(model=case.model, secret=case.batch)
    plan = Plan(client=FedAvg(), threat=INFORMED, attack=attack, blind=MeanImage(), metrics={"psnr": PSNR()})
    assert audited(scene, plan).record.trials[ATTACK].loss_at_truth is None


# L-BFGS on slopes that are small in absolute numbers

START = {"x": torch.tensor([-1.2, 1.0], dtype=torch.float64), "y": torch.tensor([0.5], dtype=torch.float64)}


def valley(factor):
    """Rosenbrock's valley, and a bowl beside it: the minimum is at (1, 1) and 0."""
    return lambda point: (
        factor * (100 * (point["x"][1] - point["x"][0] ** 2) ** 2 + (1 - point["x"][0]) ** 2 + point["y"].square().sum())
    )


def descend(search, factor):
    return search.minimize(valley(factor), START, project=lambda point: point, goal=0.0, rng=stream(0), tick=no_tick)


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
@pytest.mark.parametrize("factor", [1e-3, 1e-6, 1e-9])
def test_a_small_objective_is_searched_like_a_large_one(factor, line_search):
    search = LBFGS(steps=3, inner=10, line_search=line_search)
    large, small = (descend(search, one) for one in (1.0, factor))
    assert large.loss < 0.1 * float(valley(1.0)(START))
    torch.testing.assert_close(small.trace / factor, large.trace, rtol=1e-3, atol=1e-6)
    for name, value in large.point.items():
        torch.testing.assert_close(small.point[name], value, rtol=1e-4, atol=1e-4)
    assert small.loss == float(valley(factor)(small.point))


@pytest.mark.parametrize("factor", [1e-6, 1e-9])
def test_without_the_scaling_a_small_objective_is_not_searched_at_all(factor):
    found = descend(LBFGS(steps=3, inner=10, slope=0.0), factor)
    assert found.loss > 0.9 * float(valley(factor)(START))
    assert float((found.point["x"] - START["x"]).abs().max()) < 0.01


def test_a_steep_objective_is_left_as_it_is():
    search = LBFGS(steps=3, inner=10)
    assert torch.equal(descend(search, 1e3).trace, descend(replace(search, slope=0.0), 1e3).trace)


def test_where_there_is_no_slope_nothing_is_scaled():
    found = LBFGS(steps=2).minimize(
        lambda point: 0 * point["x"].sum() + 1, START, project=lambda point: point, goal=0.0, rng=stream(0), tick=no_tick
    )
    assert found.loss == 1.0
    assert torch.equal(found.point["x"], START["x"])


# End to end, under the threat model `weights`

POOL = Photographs(size=8).load()
TINY = MLP(hidden=(16,), activation="sigmoid")


def attacked(attack, client, *, image, sign=1.0):
    """The PSNR of one photograph that was recovered from a difference of weights and no other knowledge, and what was found."""
    model = TINY.build(POOL.inputs, rng=stream(0, "victim"))
    secret = Batch(POOL.x[image : image + 1], POOL.y[image : image + 1])
    update = Update(times(sign, client(model, secret).delta), examples=1, scale=0.1)
    found = run(attack, observe_update(model, update, threat=WEIGHTS, client=client, labels=secret.y))
    return float(PSNR()(found.batch.x, secret.x)), found


FEW = LBFGS(steps=10)


@pytest.mark.parametrize("labels", [dlm().labels, Counts()], ids=repr)
def test_dlm_finds_an_image_from_a_scale_that_is_about_right(labels):
    attack = dlm(starts=(100.0,), labels=labels, search=FEW, restarts=2)
    reached, found = attacked(attack, FedAvg(optimizer=SGD(learning_rate=0.01)), image=0)
    assert reached > 25
    assert found.notes == ()


@pytest.mark.parametrize("rate", [1e-3, 1.0])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(
    ("attack", "steps", "image"),
    [(dlm_plus(search=FEW), 1, 1), (scale_free(search=FEW, total_variation=1e-4, restarts=1), 3, 0)],
    ids=["dlm_plus", "scale_free"],
)
def test_an_image_is_found_whatever_the_rate_and_whichever_weights_were_subtracted(attack, steps, image, rate, sign):
    client = FedAvg(epochs=steps, optimizer=SGD(learning_rate=rate))
    reached, found = attacked(attack, client, image=image, sign=sign)
    assert reached > 25
    assert any("turned around" in note for note in found.notes) == (sign < 0)


def test_sme_finds_an_image_behind_several_steps():
    attack = sme(steps=200, learning_rate=0.1, total_variation=1e-5)
    reached, _ = attacked(attack, FedAvg(epochs=5, optimizer=SGD(learning_rate=0.1)), image=0)
    assert reached > 25


@pytest.mark.parametrize("rate", [0.3, 3.0])
def test_the_learning_rate_is_found_along_with_the_image(rate):
    client = FedAvg(epochs=3, optimizer=SGD(learning_rate=rate))
    attack = matching(Gaussian(weight=1e3), Unrolled(steps=3, starts=(3.0,)), FEW, Counts())
    reached, found = attacked(attack, client, image=1)
    (note,) = found.notes
    assert reached > 25
    assert float(note.removesuffix(" in the end.").rpartition(" ")[2]) == pytest.approx(rate, rel=0.02)
