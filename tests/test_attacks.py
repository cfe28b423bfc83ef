"""Attacks: the objective at the truth, what an attack may not know, and how well each does on real images."""

import math
from dataclasses import replace

import pytest
import torch
from table import FLAT, rows
from torch import nn

from leakgauge.attacks.adam_inversion import adam_inversion
from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.bayes import bayes
from leakgauge.attacks.cpl import cpl
from leakgauge.attacks.dlg import dlg
from leakgauge.attacks.dlm import dlm
from leakgauge.attacks.dlm_plus import dlm_plus
from leakgauge.attacks.epoch_copies import epoch_copies
from leakgauge.attacks.floors import MeanImage, RandomImage, prior_only
from leakgauge.attacks.general_deep_leakage import general_deep_leakage
from leakgauge.attacks.ggl import ggl
from leakgauge.attacks.gradinversion import gradinversion
from leakgauge.attacks.group import GroupConsistency
from leakgauge.attacks.idlg import idlg
from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.attacks.label_counts import LabelCounts
from leakgauge.attacks.labels.joint import Joint
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.likelihoods.laplace import Laplace
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.modern import modern
from leakgauge.attacks.priors.l2 import L2
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.attacks.refinement import Refinement
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.replays.unrolled import Unrolled
from leakgauge.attacks.scale_free import scale_free
from leakgauge.attacks.searches import adam as searching
from leakgauge.attacks.searches.adam import Adam as SearchAdam
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.sme import sme
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.auditing.judging import judge, label_accuracy
from leakgauge.auditing.rounds import Rounds, observe_rounds
from leakgauge.auditing.training import Training, train
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.adam import Adam, adamw
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.abilities import Diagnosable, Informable
from leakgauge.core.algorithm import Count, algorithm
from leakgauge.core.capabilities import ADAPTIVE, EAVESDROPPER, INFORMED, SERVER
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.protocols import Found
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe, observe_update, protect
from leakgauge.core.types import Batch, Capability, Status, ThreatModel, no_tick
from leakgauge.data.faces import Faces
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.bernoulli_pruning import BernoulliPruning
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.pruning import Pruning
from leakgauge.defenses.sign import Sign
from leakgauge.metrics.affine import Affine
from leakgauge.metrics.psnr import PSNR
from leakgauge.testing import sample
from leakgauge.victims.cnn import CNN
from leakgauge.victims.convnet import ConvNet
from leakgauge.victims.initialization import initialize
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

# The objective at the truth

SMOOTH = LeNet(channels=2)
NORMED = ResNet(blocks=(1,), widths=(4,))
CLIENTS = [
    FedSGD(),
    FedSGD(batchnorm="train"),
    FedAvg(),
    FedAvg(epochs=3, optimizer=SGD(momentum=0.9)),
    FedAvg(epochs=2, batch_size=2, optimizer=SGD(momentum=0.9, nesterov=True), batchnorm="train"),
    FedAvg(epochs=3, batch_size=2, optimizer=Adam(learning_rate=0.01)),
    FedAvg(epochs=2, batch_size=1, optimizer=adamw(learning_rate=0.01)),
]
LIKELIHOODS = [Gaussian(weight=10.0), Laplace(), Cosine()]


def deterministic(case, client, defenses=(), threat=ADAPTIVE):
    """What is seen of a client whose chance, such as the order of its examples, is that of a replay."""
    sending = protect(client, defenses)
    return observe_update(case.model, sending(case.model, case.batch), threat=threat, client=sending, labels=case.batch.y)


def matching(likelihood, *priors, replay=Granted(), labels=Known(), **settings):
    return Matching(
        likelihood=likelihood,
        priors=priors,
        space=Pixels(),
        replay=replay,
        labels=labels,
        search=searching.Adam(steps=3),
        **settings,
    )


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
@pytest.mark.parametrize("victim", [SMOOTH, NORMED], ids=repr)
def test_the_objective_vanishes_at_the_truth_alone(client, likelihood, victim):
    case = sample(victim, examples=3)
    seen = deterministic(case, client)
    attack = matching(likelihood)
    elsewhere = float(attack.loss_at(seen, Batch(case.batch.x.flip(-1), case.batch.y)))
    assert abs(float(attack.loss_at(seen, case.batch))) < min(1e-5, 0.01 * elsewhere)


@pytest.mark.parametrize("defense", [Clipping(norm=0.01), Pruning(share=0.5), Sign()], ids=repr)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_an_adversary_who_knows_the_defense_finds_zero_at_the_truth(defense, likelihood):
    case = sample(SMOOTH, examples=3)
    seen = deterministic(case, FedAvg(epochs=2, batch_size=2), [defense])
    attack = matching(likelihood)
    assert abs(float(attack.loss_at(seen, case.batch))) < 1e-5


@pytest.mark.parametrize("client", [FedSGD(), FedAvg(optimizer=SGD(learning_rate=0.3))], ids=repr)
@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=repr)
def test_one_gradient_finds_zero_at_the_truth_of_one_step(client, likelihood):
    case = sample(NORMED, examples=3)
    seen = deterministic(case, client)
    assert abs(float(matching(likelihood, replay=OneGradient()).loss_at(seen, case.batch))) < 1e-5


def test_the_priors_add_to_the_objective():
    case = sample(NORMED, examples=3)
    seen = deterministic(case, FedSGD())
    priors = L2(weight=0.5), TotalVariation(weight=0.3)
    share = sum(float(prior(case.batch, seen)) for prior in priors)
    assert float(matching(Gaussian(), *priors).loss_at(seen, case.batch)) == pytest.approx(share, rel=1e-5)


# The engine


def found_at(value, loss, status=Status.OK):
    return lambda start: Found(
        {name: torch.full_like(point, value) for name, point in start.items()}, loss, torch.tensor([loss]), status
    )


def scripted(*outcomes):
    """A search that finds what it is told, and the starts that it was given."""
    starts = []

    class Scripted:
        def minimize(self, objective, start, /, *, project, goal, rng, tick):
            starts.append(start)
            tick(1.0)
            return outcomes[len(starts) - 1](start)

    return Scripted(), starts


def run(attack, seen, seed=0, tick=no_tick):
    return attack.run(seen, rng=stream(seed, "attack"), tick=tick)


def test_the_restart_with_the_lowest_loss_wins():
    case = sample(SMOOTH)
    seen = case.observe(FedSGD())
    search, starts = scripted(found_at(0.2, math.nan, Status.DIVERGED), found_at(0.1, 3.0), found_at(0.3, 1.0), found_at(0.4, 2.0))
    shares = []
    result = run(replace(matching(Gaussian()), search=search, restarts=4), seen, tick=shares.append)
    assert torch.equal(result.batch.x, seen.model.inputs.denormalize(torch.full((2, 1, 8, 8), 0.3)))
    assert result.losses[0].isnan()
    assert result.losses.tolist()[1:] == [3.0, 1.0, 2.0]
    assert result.trace.tolist() == [1.0]
    assert result.status is Status.OK
    assert len({float(start["x"].sum()) for start in starts}) == 4
    assert shares == [0.25, 0.5, 0.75, 1.0, 1.0]


def test_an_attack_diverges_where_every_restart_does():
    seen = sample(SMOOTH).observe(FedSGD())
    search, _ = scripted(*[found_at(0.0, math.nan, Status.DIVERGED)] * 2)
    assert run(replace(matching(Gaussian()), search=search, restarts=2), seen).status is Status.DIVERGED


def test_restarting_ends_where_it_is_enough():
    case = sample(SMOOTH)
    seen = case.observe(FedSGD())
    vanishing = sum(float(value.square().sum()) for value in seen.update.delta.values())
    search, starts = scripted(found_at(0.0, 0.2 * vanishing), found_at(0.0, 0.09 * vanishing), found_at(0.0, 0.0))
    result = run(replace(matching(Gaussian()), search=search, restarts=3, enough=0.1), seen)
    assert len(starts) == len(result.losses) == 2


def test_a_restart_begins_alike_however_many_there_are():
    seen = sample(SMOOTH).observe(FedSGD())
    few = run(replace(matching(Gaussian()), restarts=2), seen).losses
    many = run(replace(matching(Gaussian()), restarts=3), seen).losses
    assert torch.equal(few, many[:2])
    assert many[2] != many[1]


def test_joint_labels_are_searched_for():
    case = sample(SMOOTH)
    seen = case.observe(FedSGD(), threat=SERVER)
    search, starts = scripted(found_at(0.5, 1.0))
    result = run(replace(matching(Gaussian(), labels=Joint()), search=search), seen)
    assert starts[0]["y"].shape == (2, 4)
    assert result.batch.y.tolist() == [[0.25] * 4] * 2


def test_the_informed_self_knows_labels_and_procedure():
    attack = dlg(restarts=3, replay=OneGradient())
    assert isinstance(attack, Informable)
    assert isinstance(attack, Diagnosable)
    assert attack.informed() == replace(attack, labels=Known(), replay=Granted())


def test_what_an_attack_needs_is_what_its_parts_need():
    assert matching(Gaussian()).needs == {"procedure", "labels"}
    assert matching(Gaussian(), replay=OneGradient(), labels=Joint()).needs == {"scale"}
    assert prior_only().needs == set()
    assert dlg().needs == idlg().needs == gradinversion().needs == {"procedure"}
    assert inverting_gradients().needs == {"procedure", "labels"}
    assert Analytic(labels=Known()).needs == {"labels"}
    assert RandomImage().needs == {"count", "public_data"}


# What an attack may not know

ATTACKS = rows("attack")


@pytest.mark.parametrize("row", ATTACKS, ids=str)
def test_overwriting_the_secret_changes_no_answer(row):
    case = sample(row.options.get("victim", NORMED), examples=row.options.get("examples", 1))
    client = row.options.get("client", FedSGD())
    kept, wiped = (case.observe(client, defenses=row.options.get("defenses", ())) for _ in range(2))
    expected = run(row.algorithm, kept)
    case.batch.x.copy_(torch.rand(case.batch.x.shape, generator=stream(9)))
    case.batch.y.zero_()
    for value in (*case.model.params.values(), *case.model.buffers.values(), case.public.x):
        value.zero_()
    found = run(row.algorithm, wiped)
    assert torch.equal(found.batch.x, expected.batch.x)
    assert torch.equal(found.batch.y, expected.batch.y)


@pytest.mark.parametrize("row", ATTACKS, ids=str)
def test_an_attack_depends_on_the_update_unless_it_is_a_floor(row):
    case = sample(row.options.get("victim", NORMED), examples=row.options.get("examples", 1))
    other = replace(case, batch=sample(row.options.get("victim", NORMED), examples=len(case.batch), seed=5).batch)
    one, two = (run(row.algorithm, each.observe(row.options.get("client", FedSGD()))).batch.x for each in (case, other))
    assert torch.equal(one, two) == (row.name in ("mean_image", "random_image", "prior_only", "label_counts"))


def test_an_ungranted_count_is_told():
    seen = sample(SMOOTH).observe(FedSGD(), threat=EAVESDROPPER)
    for attack in (MeanImage(),):
        with pytest.raises(UsageError, match=r"^threat: 'eavesdropper' does not grant count, which this attack needs"):
            run(attack, seen)


# Floors


def test_the_mean_image_is_the_mean_of_public_data_or_gray():
    case = sample(SMOOTH)
    told = run(MeanImage(), case.observe(FedSGD())).batch
    for image, label in zip(told.x, told.y, strict=True):
        members = [x for x, y in zip(case.public.x, case.public.y, strict=True) if y == label] or list(case.public.x)
        torch.testing.assert_close(image, sum(members) / len(members))
    assert torch.equal(told.y, case.batch.y.sort().values)
    untold = ThreatModel("public data", SERVER.grants | {Capability.PUBLIC_DATA})
    for image in run(MeanImage(), case.observe(FedSGD(), threat=untold)).batch.x:
        torch.testing.assert_close(image, sum(case.public.x) / len(case.public))
    blind = run(MeanImage(), case.observe(FedSGD(), threat=SERVER)).batch.x
    assert torch.equal(blind, torch.full((2, 1, 8, 8), 0.5))


def test_a_random_image_is_a_public_one():
    case = sample(SMOOTH, examples=3)
    found = run(RandomImage(), case.observe(FedSGD())).batch
    for image, label in zip(found.x, found.y, strict=True):
        assert any(torch.equal(image, x) and label == y for x, y in zip(case.public.x, case.public.y, strict=True))
    with pytest.raises(UsageError, match="does not grant public_data"):
        run(RandomImage(), case.observe(FedSGD(), threat=SERVER))


def test_the_prior_alone_flattens():
    case = sample(SMOOTH)
    found = run(prior_only(steps=60), case.observe(FedSGD())).batch.x
    assert float(found.diff(dim=-1).abs().mean()) < 0.5 * float(case.batch.x.diff(dim=-1).abs().mean())


# Analytic inversion


def psnr(guess, truth):
    judged = judge(truth, guess, candidates=None, metrics={"psnr": PSNR()})
    return judged.scores["psnr"]


def scene(data, victim, count, seed=0, steps=0):
    """Real images of different classes, and a victim that was trained on others for some steps."""
    pool = data.load()
    order = torch.randperm(len(pool), generator=stream(seed, "order"))
    chosen = [next(int(row) for row in order if pool.y[row] == label) for label in range(count)]
    rest = torch.tensor([int(row) for row in order if int(row) not in chosen])
    model = victim.build(pool.inputs, rng=stream(seed, "victim"))
    public = Batch(pool.x[rest], pool.y[rest])
    if steps:
        training = Training(steps=steps, batch_size=32)
        model = train(model, public[: len(public) // 2], training, rng=stream(seed, "training"))
    return model, Batch(pool.x[chosen], pool.y[chosen]), public


def seen_in(model, batch, public, client=FedSGD(), threat=INFORMED):
    return observe(model, batch, client=client, threat=threat, public=public, rng=stream(0, "client"))


@pytest.mark.parametrize("activation", ["relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("client", [FedSGD(), FedAvg(optimizer=SGD(learning_rate=0.01))], ids=repr)
@pytest.mark.parametrize("normalize", [False, True])
def test_one_example_is_read_off_the_first_layer(activation, client, normalize):
    case = scene(Photographs(size=12), MLP(hidden=(32,), activation=activation, normalize=normalize), 1)
    found = run(Analytic(), seen_in(*case, client=client, threat=SERVER))
    assert float(psnr(found.batch, case[1])) > 60
    assert found.batch.y.tolist() == case[1].y.tolist()


def test_a_linear_classifier_gives_its_input_away():
    case = scene(Faces(), MLP(hidden=()), 1)
    assert float(psnr(run(Analytic(), seen_in(*case)).batch, case[1])) > 60


def test_several_examples_are_read_off_a_wide_layer():
    case = scene(Photographs(size=8), MLP(hidden=(1024,)), 4)
    found = run(Analytic(), seen_in(*case))
    assert float(psnr(found.batch, case[1]).min()) > 60
    assert found.batch.y.tolist() == [0, 1, 2, 3]


class ChannelsLast(nn.Module):
    """Flattens what it sees with the channels last, into layers that are registered in the reverse of their order."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(32, 4)
        self.hidden = nn.Linear(192, 192)
        self.first = nn.Linear(192, 32)

    def forward(self, x):
        return self.head(self.first(input=x.permute(0, 2, 3, 1).flatten(1)).relu())


class Standardized(nn.Module):
    """Takes each channel to a mean and a scale of its own before a linear layer."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 0.4, 0.3]).view(3, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3, -0.4]).view(3, 1, 1))
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.Sigmoid(), nn.Linear(32, 4))

    def forward(self, x):
        return self.layers((x - self.mean) / self.std)


@pytest.mark.parametrize("net", [ChannelsLast, Standardized])
def test_an_example_is_read_whichever_way_it_reaches_the_first_layer(net):
    torch.manual_seed(0)
    model, batch, public = scene(Photographs(size=8), MLP(hidden=(32,)), 1)
    own = net()
    model = replace(model, net=own, params=dict(own.named_parameters()), buffers=dict(own.named_buffers()))
    found = run(Analytic(), seen_in(model, batch, public))
    assert float(psnr(found.batch, batch)) > 60


def test_a_defended_example_is_read_as_well_as_it_was_sent():
    model, batch, _ = scene(Photographs(size=8), MLP(hidden=(32,)), 1)
    seen = observe(model, batch, client=FedSGD(), defenses=[Clipping(norm=0.001)], threat=SERVER, rng=stream(0))
    assert float(psnr(run(Analytic(), seen).batch, batch)) > 60


@pytest.mark.parametrize(
    ("victim", "told"),
    [(ConvNet(width=2), r"first runs '0' \(Conv2d\)"), (LeNet(channels=2), "Conv2d")],
)
def test_a_convolution_is_out_of_scope(victim, told):
    with pytest.raises(OutOfScope, match=told):
        run(Analytic(), seen_in(*scene(Photographs(size=9), victim, 1)))


def test_what_was_not_sent_is_out_of_scope():
    case = sample(FLAT, examples=1)
    seen = case.observe(FedSGD())
    for name in ("1.weight", "1.bias"):
        delta = {key: value for key, value in seen.update.delta.items() if key != name}
        with pytest.raises(OutOfScope, match=f"does not hold '{name}'"):
            run(Analytic(), replace(seen, update=replace(seen.update, delta=delta)))
    silent = {**seen.update.delta, "1.bias": torch.zeros(32)}
    with pytest.raises(OutOfScope, match="no unit was active"):
        run(Analytic(), replace(seen, update=replace(seen.update, delta=silent)))


@pytest.mark.parametrize(
    ("net", "told"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 4, bias=False)), r"no linear layer with bias .* '1' \(Linear\)"),
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "first runs none"),
        (nn.Sequential(nn.Linear(8, 4), nn.Flatten()), r"sees the whole input.* '0' \(Linear\)"),
        (
            nn.Sequential(nn.Flatten(), nn.Sigmoid(), nn.Linear(64, 4)),
            r"at most reordered or scaled and shifted; .* '2' \(Linear\)",
        ),
    ],
)
def test_another_first_layer_is_out_of_scope(net, told):
    seen = sample(FLAT, examples=1).observe(FedSGD())
    with pytest.raises(OutOfScope, match=told):
        run(Analytic(), replace(seen, model=replace(seen.model, net=net, params=dict(net.named_parameters()))))


# How well each attack does: measured on one thread, with some dB to spare for other machines


@algorithm
class SmoothNormed:
    """Two convolutions with BatchNorm and sigmoid: a victim on which matching works within a second."""

    width: Count = 16

    def build(self, inputs, /, *, rng):
        (depth, side, _), width = inputs.shape, self.width
        with torch.device("meta"):
            first = nn.Conv2d(depth, width, 5, stride=2, padding=2), nn.BatchNorm2d(width), nn.Sigmoid()
            second = nn.Conv2d(width, width, 5, padding=2), nn.BatchNorm2d(width), nn.Sigmoid()
            net = nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(width * (side // 2) ** 2, inputs.classes))
        return initialize(net, inputs, normalize=True, rng=rng)


SEARCH = LBFGS(steps=40)
STEEP = {"steps": 200, "gradient": 100.0, "batchnorm": 0.01}  # the paper's weights are those of a far larger network
GENTLE = {"total_variation": 1e-4, "scale": 1e-4, "clip": 1e-4}  # one image of a small network is determined without a prior
WOLFE = LBFGS(steps=20, line_search="strong_wolfe")
HEAVY = FedAvg(epochs=4, optimizer=SGD(learning_rate=0.1, momentum=0.9))
ONCE = FedAvg(optimizer=SGD(learning_rate=0.01))
SEVERAL = replace(ONCE, epochs=5)
REPEATED = Unrolled(steps=4, optimizer=SGD(momentum=0.9))
ADAM = FedAvg(optimizer=Adam())
FALLING = SearchAdam(learning_rate=0.05, steps=400, schedule="cosine")
SIGMOID = MLP(hidden=(16,), activation="sigmoid")
GOLDENS = {
    # attack, side of the image, victim, steps of training, client, dB measured
    "dlg": (dlg(search=SEARCH, restarts=2), 8, LeNet(), 0, FedSGD(), 60.4),
    "idlg": (idlg(search=SEARCH, restarts=2), 8, LeNet(), 0, FedSGD(), 55.6),
    "cpl": (cpl(search=SEARCH, restarts=2), 8, LeNet(), 0, FedSGD(), 65.8),
    "inverting_gradients": (inverting_gradients(steps=200, total_variation=1e-4), 12, LeNet(), 0, FedSGD(), 40.8),
    "inverting_gradients fedavg": (inverting_gradients(steps=150, total_variation=1e-5), 8, LeNet(), 0, HEAVY, 40.8),
    "inverting_gradients trained": (inverting_gradients(steps=200, total_variation=1e-4), 8, SmoothNormed(), 20, FedSGD(), 22.0),
    "modern": (modern(steps=30, restarts=4), 12, LeNet(), 0, FedSGD(), 33.2),
    "gradinversion": (gradinversion(**STEEP, group=None), 8, SmoothNormed(), 3, FedSGD(), 28.4),
    "gradinversion group": (gradinversion(**STEEP, group=GroupConsistency(members=2)), 8, SmoothNormed(), 3, FedSGD(), 31.9),
    "general_deep_leakage": (general_deep_leakage(search=WOLFE, **GENTLE), 8, LeNet(), 0, FedSGD(), 42.6),
    "dlm": (dlm(starts=(100.0,), search=LBFGS(steps=15), restarts=2), 8, SIGMOID, 0, ONCE, 119.9),
    "dlm_plus": (dlm_plus(search=SEARCH, restarts=2), 8, LeNet(), 0, ONCE, 57.3),
    "sme": (sme(steps=150, learning_rate=0.1, total_variation=1e-5), 8, LeNet(), 0, SEVERAL, 31.5),
    "scale_free": (scale_free(search=LBFGS(steps=15), total_variation=1e-4, restarts=1), 8, SIGMOID, 0, HEAVY, 38.7),
    "scale_free unrolled": (scale_free(replay=REPEATED, search=LBFGS(steps=15), restarts=1), 8, SIGMOID, 0, HEAVY, 54.1),
    "epoch_copies": (epoch_copies(epochs=3, search=LBFGS(steps=15), total_variation=1e-4, restarts=1), 8, SIGMOID, 0, HEAVY, 31.7),
    "bayes": (bayes(total_variation=0.1, search=FALLING), 8, LeNet(), 0, FedSGD(), 48.5),
    "ggl": (
        ggl(
            likelihood=Cosine(),
            weight=1e-3,
            search=SearchAdam(learning_rate=0.1, steps=100, schedule="step"),
            refinement=Refinement(blocks=0, search=SearchAdam(learning_rate=0.03, steps=200, schedule="cosine")),
        ),
        32,
        CNN(),
        0,
        FedSGD(),
        17.6,  # the nearest image of the generator has 17.4
    ),
    "adam_inversion": (adam_inversion(total_variation=1e-4, search=FALLING), 8, LeNet(), 0, ADAM, 20.6),
    "analytic": (Analytic(), 16, MLP(hidden=(64,)), 0, FedSGD(), 80.0),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_an_attack_does_as_well_as_it_did(name):
    attack, side, victim, steps, client, measured = GOLDENS[name]
    case = scene(Photographs(size=side), victim, 1, steps=steps)
    seen = seen_in(*case, client=client)
    reached = float(psnr(run(attack, seen).batch, case[1]))
    blind = float(psnr(run(MeanImage(), seen).batch, case[1]))
    assert reached > measured - max(3.0, 0.2 * measured)
    assert reached > blind + 5


@pytest.mark.parametrize("name", [name for name, golden in GOLDENS.items() if isinstance(golden[0], Matching)])
def test_what_an_attack_finds_belongs_to_this_update(name):
    """The same search on the update of another image must not find the secret."""
    attack, side, victim, steps, client, _ = GOLDENS[name]
    model, batch, public = scene(Photographs(size=side), victim, 1, steps=steps)
    few = replace(attack, search=replace(attack.search, steps=min(attack.search.steps, 100)), restarts=1)
    decoy = run(few, seen_in(model, public[:1], public, client=client))
    assert float(psnr(decoy.batch, batch)) < 15


def test_every_public_attack_has_a_golden_or_is_a_floor():
    goldens = {name.partition(" ")[0] for name in GOLDENS}
    others = {"mean_image", "random_image", "prior_only", "matching", "without_jumps", "adam_undone", "label_counts"}
    assert goldens | others == {row.name for row in ATTACKS}


# What an adversary has beside the update: the defense's holes, and other rounds


def read(*, defenses=(), rounds=Rounds(), seed=0):
    """The PSNR of one photograph read off a linear layer, plainly and with brightness and contrast fitted."""
    pool = Photographs(size=16).load()
    secret = Batch(pool.x[seed : seed + 1], pool.y[seed : seed + 1])
    model = MLP(hidden=(128,)).build(pool.inputs, rng=stream(seed, "victim"))
    seen = observe_rounds(model, secret, client=FedSGD(), defenses=defenses, threat=ADAPTIVE, rounds=rounds, seed=seed)
    guess = Analytic().run(seen, rng=stream(seed), tick=no_tick).batch.x.clamp(0, 1)
    return float(PSNR()(guess, secret.x)), float(Affine(metric=PSNR())(guess, secret.x))


@pytest.mark.parametrize("seed", range(3))
def test_numbers_that_were_dropped_cost_analytic_inversion_nothing(seed):
    assert read(defenses=(BernoulliPruning(),), seed=seed)[0] > 100


@pytest.mark.parametrize("seed", range(3))
def test_noise_costs_analytic_inversion_no_contrast(seed):
    """Least squares would shrink the picture by the noise in the bias gradients: by more than half at this noise."""
    plain, fitted = read(defenses=(GaussianNoise(sigma=0.02),), seed=seed)
    assert plain > fitted - 5
    assert plain > 15


@pytest.mark.parametrize("rate", [0.0, 0.01])
def test_analytic_inversion_of_one_example_uses_all_rounds(rate):
    one = read(defenses=(GaussianNoise(sigma=0.02),))[0]
    many = read(defenses=(GaussianNoise(sigma=0.02),), rounds=Rounds(count=20, server_rate=rate))[0]
    assert many > one + 4


def test_another_round_does_not_pass_for_a_twin():
    """A unit mixes the same examples in every round: its own row of another round says nothing of how many these are."""
    pool = Photographs(size=16).load()
    secret = Batch(pool.x[:4], pool.y[:4])
    model = MLP(hidden=(512,)).build(pool.inputs, rng=stream(3, "victim"))
    for count in (1, 3):
        seen = observe_rounds(model, secret, client=FedSGD(), threat=ADAPTIVE, rounds=Rounds(count=count, server_rate=0.01), seed=0)
        found = Analytic().run(seen, rng=stream(0), tick=no_tick).batch.x
        nearest = torch.cdist(secret.x.flatten(1), found.flatten(1)).amin(1)
        assert int((nearest < 1e-2).sum()) >= 3


def test_labels_are_read_from_all_rounds():
    pool = Photographs(size=16).load()
    secret = Batch(pool.x[:6], pool.y[:6])
    model = MLP(hidden=(64,)).build(pool.inputs, rng=stream(0, "victim"))
    noise = GaussianNoise(sigma=0.15)
    right = {}
    for count in (1, 30):
        guessed = []
        for seed in range(10):
            seen = observe_rounds(
                model,
                secret,
                client=FedSGD(),
                defenses=(noise,),
                threat=SERVER,
                rounds=Rounds(count=count, server_rate=0.0),
                seed=seed,
            )
            guessed.append(LabelCounts().run(seen, rng=stream(seed), tick=no_tick).batch.y)
        right[count] = sum(label_accuracy(secret.y, one) for one in guessed) / 10
    assert right[30] > right[1]
