"""One copy of the batch per epoch, for mini-batches whose order nobody told."""

from dataclasses import replace
from itertools import permutations

import pytest
import torch

from leakgauge.attacks.copies import EpochCopies
from leakgauge.attacks.epoch_copies import epoch_copies
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.profiled import Profiled
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.unrolled import Unrolled
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.auditing.judging import judge
from leakgauge.auditing.rounds import Rounds, observe_rounds
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import tree
from leakgauge.core.capabilities import INFORMED
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.protocols import Found
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, no_tick
from leakgauge.metrics.psnr import PSNR
from leakgauge.testing import sample
from leakgauge.victims.lenet import LeNet

SMOOTH = LeNet(channels=2)


def draw(*shape, seed=0):
    return torch.rand(*shape, generator=stream(seed, "copies"), dtype=torch.float64)


def stacked(batch, orders):
    """Copies of a batch, each in an order of its own."""
    return Batch(torch.cat([batch.x[list(order)] for order in orders]), torch.cat([batch.y[list(order)] for order in orders]))


def loss(replayed, seen):
    return float(Profiled()(replayed, seen.update.delta))


# The prior


def convolved(image, filters):
    """Every window of an image [c, h, w] times every filter, number by number, over the root of how many numbers a filter has."""
    count, depth, height, width = filters.shape
    rows, columns = image.shape[1] - height + 1, image.shape[2] - width + 1
    found = torch.zeros(count, rows, columns, dtype=image.dtype)
    for one in range(count):
        for row in range(rows):
            for column in range(columns):
                window = image[:, row : row + height, column : column + width]
                found[one, row, column] = (window * filters[one]).sum() / (depth * height * width) ** 0.5
    return found


def over_pairs(features):
    """The mean squared difference of features, a flat list an epoch, over all pairs of epochs."""
    total = 0.0
    for one in features:
        for other in features:
            total += sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) / len(one)
    return total / len(features) ** 2


@pytest.mark.parametrize(("agreement", "pool"), [("max", max), ("mean", lambda values: sum(values) / len(values))])
@pytest.mark.parametrize("filters", [0, 2])
def test_pooled_features_are_compared_over_all_pairs(agreement, pool, filters):
    x = draw(6, 2, 5, 4)  # three epochs of two
    drawn = torch.randn(2, 2, 3, 3, generator=stream(0, "epoch copies")).double()
    each = [(convolved(image, drawn) if filters else image).flatten().tolist() for image in x]
    expected = 0.7 * over_pairs([[pool(values) for values in zip(each[row], each[row + 1], strict=True)] for row in (0, 2, 4)])
    copies = EpochCopies(epochs=3, weight=0.7, agreement=agreement, filters=filters)
    assert float(copies.penalty(Batch(x, torch.tensor([0, 1, 1, 0, 0, 1])))) == pytest.approx(expected, rel=1e-6)


def nearest(copy, first):
    """Of all orders that put each label where the first copy has it, that with the least squared distance."""
    allowed = [list(order) for order in permutations(range(len(first))) if torch.equal(copy.y[list(order)], first.y)]
    return min(allowed, key=lambda order: float((copy.x[order] - first.x).square().sum()))


def test_matched_images_are_compared_over_all_pairs():
    first = Batch(draw(4, 1, 2, 3), torch.tensor([0, 1, 0, 0]))
    others = [Batch(draw(4, 1, 2, 3, seed=seed), labels) for seed, labels in ((1, first.y.flip(0)), (2, first.y.roll(1)))]
    aligned = [first.x, *(other.x[nearest(other, first)] for other in others)]
    expected = 0.7 * over_pairs([images.flatten().tolist() for images in aligned])
    copies = Batch(torch.cat([first.x, *(other.x for other in others)]), torch.cat([first.y, *(other.y for other in others)]))
    assert float(EpochCopies(epochs=3, weight=0.7).penalty(copies)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("agreement", ["matched", "max", "mean"])
@pytest.mark.parametrize("shape", [(2, 5, 4), (7,)])
def test_one_batch_in_whatever_orders_agrees_with_itself(agreement, shape):
    batch = Batch(draw(3, *shape), torch.tensor([2, 0, 2]))
    prior = EpochCopies(epochs=3, weight=1.0, agreement=agreement)
    copies = stacked(batch, [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
    assert float(prior.penalty(copies)) < 1e-14
    copies.x[-1] += 0.1
    assert float(prior.penalty(copies)) > 1e-6


@pytest.mark.parametrize("agreement", ["matched", "max", "mean"])
def test_the_prior_has_the_slope_of_its_differences(agreement):
    y = torch.tensor([0, 0, 1, 0, 1, 0])
    prior = EpochCopies(epochs=2, agreement=agreement, filters=3)
    assert torch.autograd.gradcheck(lambda x: prior.penalty(Batch(x, y)), draw(6, 1, 4, 4).requires_grad_())


# Labels and folding


def test_every_copy_has_all_labels_in_an_order_of_its_own():
    labels = torch.tensor([0, 0, 0, 1, 2, 3, 4, 5])
    seen = sample(SMOOTH).observe(FedAvg())
    copies = EpochCopies(epochs=5).labels(labels, seen, rng=stream(1)).unflatten(0, (5, 8)).tolist()
    assert all(sorted(copy) == labels.tolist() for copy in copies)
    assert len({tuple(copy) for copy in copies}) == 5
    assert EpochCopies(epochs=5).labels(labels, seen, rng=stream(1)).unflatten(0, (5, 8)).tolist() == copies


def test_folding_undoes_any_orders():
    batch = Batch(draw(5, 1, 3, 3), torch.tensor([1, 0, 1, 1, 0]))
    folded = EpochCopies(epochs=4).folded(stacked(batch, [(3, 0, 2, 4, 1), (0, 1, 2, 3, 4), (4, 3, 2, 1, 0), (1, 2, 0, 4, 3)]))
    assert torch.equal(folded.y, batch.y[[3, 0, 2, 4, 1]])
    torch.testing.assert_close(folded.x, batch.x[[3, 0, 2, 4, 1]], rtol=0, atol=1e-15)


def test_folding_averages_what_has_one_label_though_others_look_alike():
    x = torch.tensor([0.0, 1.0, 0.9, 0.2]).reshape(4, 1)  # crosswise they would be nearer
    folded = EpochCopies(epochs=2).folded(Batch(x, torch.tensor([0, 1, 0, 1])))
    torch.testing.assert_close(folded.x.flatten(), torch.tensor([0.45, 0.6]))
    assert folded.y.tolist() == [0, 1]


def test_copies_that_are_no_numbers_stay_so():
    batch = Batch(torch.full((4, 1, 2, 2), torch.nan), torch.tensor([0, 1, 1, 0]))
    assert bool(EpochCopies(epochs=2).folded(batch).x.isnan().all())
    assert bool(EpochCopies(epochs=2).penalty(batch).isnan())


# The replay


def true_orders(case, epochs):
    """The orders that the client drew: they are those of its stream."""
    rng = stream(0, "client")
    return [torch.randperm(len(case.batch), generator=rng).tolist() for _ in range(epochs)]


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_copies_in_the_orders_of_the_client_are_its_training(batch_size, momentum):
    case = sample(SMOOTH, examples=5)
    seen = case.observe(FedAvg(epochs=3, batch_size=batch_size, optimizer=SGD(learning_rate=0.5, momentum=momentum)))
    orders = true_orders(case, 3)
    replay = Unrolled(epochs=3, batch_size=batch_size, optimizer=SGD(momentum=momentum))
    assert loss(replay(seen, stacked(case.batch, orders)), seen) < 1e-7
    if batch_size < 5:
        assert loss(replay(seen, stacked(case.batch, orders[::-1])), seen) > 1e-5
        assert loss(replay(seen, case.batch), seen) > 1e-5


@pytest.mark.parametrize(("batch_size", "steps"), [(None, 3), (5, 3), (2, 9), (1, 15)])
def test_epochs_count_the_steps(batch_size, steps):
    case = sample(SMOOTH, examples=5)
    seen, rate = case.observe(FedAvg(epochs=2)), torch.tensor(0.3)
    counted = Unrolled(epochs=3, batch_size=batch_size).train(seen, case.batch, rate)
    expected = Unrolled(steps=steps, batch_size=batch_size).train(seen, case.batch, rate)
    repeated = Unrolled(epochs=3, batch_size=batch_size).train(seen, EpochCopies(epochs=3).repeated(case.batch), rate)
    for name, value in expected.items():
        torch.testing.assert_close(counted[name], value, rtol=0, atol=0)
        torch.testing.assert_close(repeated[name], value, rtol=0, atol=0)


def test_the_epochs_are_told():
    point = {"log_rate": torch.tensor(0.0)}
    assert Unrolled(epochs=7).remarks(point, point) == (
        "Local training was replayed with 7 epochs, at a learning rate of 1 in the end.",
    )


# The attack

CLIENT = FedAvg(epochs=3, batch_size=2, optimizer=SGD(learning_rate=0.3))
FEW = LBFGS(steps=2, inner=3)


def test_the_guess_is_one_batch():
    case = sample(SMOOTH, examples=5)
    seen = case.observe(CLIENT)
    attack = epoch_copies(epochs=3, labels=Known(), search=FEW)
    for one in (attack, replace(attack, group=GroupConsistency(members=2))):
        guess = one.run(seen, rng=stream(0), tick=no_tick)
        assert guess.batch.x.shape == case.batch.x.shape
        assert guess.batch.y.sort().values.tolist() == case.batch.y.sort().values.tolist()


def test_the_objective_at_the_truth_is_that_of_the_batch_in_every_epoch():
    case = sample(SMOOTH, examples=5)
    told = case.observe(CLIENT, threat=INFORMED)
    fixed = replace(told, update=replace(told.update, delta=tree.detach(CLIENT(case.model, case.batch).delta)))
    attack = epoch_copies(epochs=3, labels=Known(), total_variation=0.0)
    assert float(attack.loss_at(fixed, case.batch)) < 1e-7
    assert float(attack.loss_at(told, case.batch)) > 1e-4  # the client's orders were other ones
    uncounted = replace(fixed, update=replace(fixed.update, examples=None), labels=None)
    assert float(attack.loss_at(uncounted, case.batch)) < 1e-7


class Standing:
    """A search that stays where it starts."""

    def minimize(self, objective, start, *, project, goal, rng, tick):
        return Found(start, float(objective(start).detach()), torch.zeros(1))


@pytest.mark.parametrize("agreement", ["matched", "max"])
def test_the_weight_joins_the_objective(agreement):
    case = sample(SMOOTH, examples=4)
    losses = []
    for weight in (0.0, 2.0, 5.0):
        attack = epoch_copies(epochs=2, labels=Known(), agreement=agreement, weight=weight, search=Standing())
        losses.append(float(attack.run(case.observe(CLIENT), rng=stream(0), tick=no_tick).losses))
    assert losses[1] - losses[0] > 0.01
    assert (losses[2] - losses[0]) / (losses[1] - losses[0]) == pytest.approx(2.5, rel=1e-3)


def test_what_copies_cannot_be_made_of():
    case = sample(SMOOTH, examples=4)
    attack = epoch_copies(epochs=2, search=FEW)
    with pytest.raises(OutOfScope, match="labels that are held fixed"):
        replace(attack, labels=Joint()).run(case.observe(CLIENT), rng=stream(0), tick=no_tick)
    rounds = observe_rounds(case.model, case.batch, client=CLIENT, threat=INFORMED, rounds=Rounds(count=2), seed=0)
    with pytest.raises(OutOfScope, match="2 were seen"):
        attack.run(rounds, rng=stream(0), tick=no_tick)
    with pytest.raises(UsageError, match="take unrolled"):
        replace(attack, replay=Granted())
    assert attack.informed().copies is None


def test_copies_find_what_the_sorted_order_cannot():
    """The client took class 3 before class 2 in both epochs, and nobody told: its labels are known, in sorted order."""
    case = sample(LeNet(channels=6), examples=2)
    seen = case.observe(FedAvg(epochs=2, batch_size=1, optimizer=SGD(learning_rate=0.1)), threat=INFORMED)
    assert [case.batch.y[order].tolist() for order in true_orders(case, 2)] == [[3, 2], [3, 2]]
    attack = epoch_copies(epochs=2, batch_size=1, labels=Known(), total_variation=0.0, search=LBFGS(steps=6), restarts=3)
    copies = replace(attack, enough=1e-5)
    reached = {}
    for one in (copies, replace(copies, copies=None, restarts=1)):
        guess = one.run(seen, rng=stream(0, "attack"), tick=no_tick)
        scores = judge(case.batch, guess.batch, candidates=None, metrics={"psnr": PSNR()}).scores["psnr"]
        reached[one.copies] = float(scores.mean()), float(guess.losses.min())
    (found, explained), (lost, unexplained) = reached.values()
    assert found > 25 > 10 > lost
    assert explained < 1e-5 < 1e-2 < unexplained
