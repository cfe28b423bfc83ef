"""The key-lock: the layer, the victims that have it, the client that keeps it, and the attack that searches what it is set to."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

from leakgauge.attacks.bayes import bayes
from leakgauge.attacks.floors import MeanImage
from leakgauge.attacks.forging import biases, forge
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.gaussian import Gaussian
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.priors.batchnorm import BatchNormStatistics
from leakgauge.attacks.replays.estimated import Estimated
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.replays.one_gradient import OneGradient
from leakgauge.attacks.replays.undefended import Undefended
from leakgauge.attacks.replays.unlocking import Forging, Unlocking
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.searches.lbfgs import LBFGS
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.auditing.pipeline import run
from leakgauge.auditing.plan import Plan, Scene
from leakgauge.auditing.training import Training, train
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.capabilities import ADAPTIVE, INFORMED
from leakgauge.core.errors import UsageError
from leakgauge.core.lock import Factors, factors, locks, opened, private
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe
from leakgauge.core.types import Batch, Capability, Inputs
from leakgauge.defenses.key_lock import KeyLock
from leakgauge.metrics.psnr import PSNR
from leakgauge.testing import sample
from leakgauge.victims.cnn import CNN
from leakgauge.victims.key_locked import KeyLocked
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.resnet import ResNet

SMALL = CNN(width=3, hidden=20)
INPUTS = Inputs((3, 8, 8), 4)
TRAIN = FedSGD(batchnorm="train")


def build(seed=0, victim=SMALL, **changes):
    return KeyLocked(victim=victim, length=6, **changes).build(INPUTS, rng=stream(seed, "victim"))


def draw(examples=2):
    return Batch(torch.rand(examples, *INPUTS.shape, generator=stream(0, "x")), torch.arange(examples) % INPUTS.classes)


def naive_logits(params, x, act):
    """The small victim with a lock behind its first convolution, written out; BatchNorm with statistics of the batch."""
    maps = functional.conv2d(x, params["0.conv.weight"], params["0.conv.bias"], padding=1)
    mean, variance = maps.mean(dim=(0, 2, 3), keepdim=True), maps.var(dim=(0, 2, 3), keepdim=True, correction=0)
    z = (maps - mean) / (variance + 1e-5).sqrt()
    gamma, beta = (
        act(params[f"0.lock.{side}.weight"] @ params["0.lock.key"] + params[f"0.lock.{side}.bias"]) for side in ("scale", "shift")
    )
    maps = functional.avg_pool2d((gamma.reshape(-1, 1, 1) * z + beta.reshape(-1, 1, 1)).relu(), 2)
    maps = functional.avg_pool2d(functional.conv2d(maps, params["3.weight"], params["3.bias"], padding=1).relu(), 2)
    hidden = functional.linear(maps.flatten(1), params["7.weight"], params["7.bias"]).relu()
    return functional.linear(hidden, params["9.weight"], params["9.bias"])


@pytest.mark.parametrize(("activation", "act"), [("relu", torch.relu), ("sigmoid", torch.sigmoid)])
def test_maps_are_normalized_and_go_on_as_gamma_z_plus_beta(activation, act):
    model, batch = build(activation=activation), draw(3)
    buffers = {name: value.clone() for name, value in model.buffers.items()}
    found = model.forward(model.params, buffers, batch.x, training=True)
    torch.testing.assert_close(found, naive_logits(model.params, batch.x, act), rtol=1e-4, atol=1e-5)
    assert float(model.params["0.lock.key"].min()) >= 0
    assert float(model.params["0.lock.key"].max()) <= 1


def test_the_other_weights_are_those_without_the_lock():
    plain = SMALL.build(INPUTS, rng=stream(0, "victim"))
    model = build()
    for name, value in plain.params.items():
        assert torch.equal(model.params[name.replace("0.", "0.conv.", 1) if name.startswith("0.") else name], value)
    assert model.params.keys() - {
        name.replace("0.", "0.conv.", 1) if name.startswith("0.") else name for name in plain.params
    } == private(model)


def test_a_lock_takes_the_place_of_the_batchnorm_behind_a_convolution():
    victim = ResNet(blocks=(1, 1), widths=(4, 6))
    plain = victim.build(INPUTS, rng=stream(0, "victim"))
    model = build(victim=victim, layers=("all",))
    norms = [name for name, layer in plain.net.named_modules() if isinstance(layer, nn.BatchNorm2d)]
    assert sorted(locks(model)) == sorted(norms)
    kept = {name for name in plain.params if not any(name.startswith(f"{norm}.") for norm in norms)}
    assert model.params.keys() - private(model) == kept
    assert all(torch.equal(model.params[name], plain.params[name]) for name in kept)


@pytest.mark.parametrize("victim", [LeNet(channels=3), SMALL, ResNet(blocks=(1,), widths=(4,))], ids=repr)
def test_the_controls_have_the_same_layers_and_hide_nothing(victim):
    batch, model = draw(), build(victim=victim)
    fixed, plain = (build(victim=victim, kind=kind) for kind in ("fixed", "batchnorm"))
    assert fixed.params.keys() == model.params.keys()
    assert fixed.frozen == private(fixed)
    assert all(torch.equal(fixed.params[name], value) for name, value in model.params.items())
    with pytest.raises(UsageError, match="has no key-lock"):
        locks(plain)
    assert len(plain.trained) == len(model.trained) - 4 + 2, "scale and shift of a BatchNorm for the two layers of a lock"
    assert plain.logits(batch.x).isfinite().all()


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_a_lock_can_be_opened_with_its_factors_alone(activation):
    model, batch = build(activation=activation), draw()
    own = factors(model)["0.lock"]
    biases = own if activation == "relu" else Factors(*(value.logit() for value in own))
    found = opened(model, {"0.lock": biases})
    torch.testing.assert_close(found.logits(batch.x), model.logits(batch.x), rtol=1e-4, atol=1e-5)


# What is kept


@pytest.mark.parametrize("client", [TRAIN, FedAvg(epochs=2, batchnorm="train")], ids=repr)
@pytest.mark.parametrize("threat", [INFORMED, ADAPTIVE], ids=lambda one: one.name)
def test_what_makes_the_factors_leaves_the_client_in_no_form(client, threat):
    model, batch = build(), draw()
    seen = observe(model, batch, client=client, defenses=[KeyLock()], threat=threat, rng=stream(0))
    kept = private(model)
    assert not kept & seen.update.delta.keys()
    assert seen.update.delta.keys() == model.trained.keys() - kept
    for name in kept:
        assert not seen.model.params[name].any()
    for name in model.params.keys() - kept:
        assert torch.equal(seen.model.params[name], model.params[name])


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**20), examples=st.integers(1, 3), is_trained=st.booleans())
def test_no_tensor_that_is_seen_depends_on_the_key_beyond_what_the_lock_is_set_to(seed, examples, is_trained):
    model, batch = build(seed), draw(examples)
    other = torch.rand(6, generator=stream(seed, "other"))
    weights = {name: model.params[name] for name in private(model)}
    rekeyed = dict(weights, **{"0.lock.key": other})
    for side in ("scale", "shift"):  # another key, and a bias that makes up for it
        weight, bias = (weights[f"0.lock.{side}.{part}"] for part in ("weight", "bias"))
        rekeyed[f"0.lock.{side}.bias"] = bias + weight @ (weights["0.lock.key"] - other)
    client = FedAvg(epochs=1, batchnorm="train") if is_trained else TRAIN
    one, two = (
        observe(made, batch, client=client, defenses=[KeyLock()], threat=ADAPTIVE, rng=stream(0))
        for made in (model, replace(model, params={**model.params, **rekeyed}))
    )
    assert one.update.delta.keys() == two.update.delta.keys()
    for seen, same in (
        (one.update.delta, two.update.delta),
        (one.update.buffers, two.update.buffers),
        (one.model.params, two.model.params),
    ):
        for name, value in seen.items():
            torch.testing.assert_close(value, same[name], rtol=1e-3, atol=1e-5)


# What it is set to, searched


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_the_objective_at_the_truth_is_zero(activation):
    model, batch = build(activation=activation), draw()
    seen = observe(model, batch, client=TRAIN, defenses=[KeyLock()], threat=INFORMED, rng=stream(0))
    unlocking = Unlocking()
    own = factors(model)["0.lock"]
    biases = own if activation == "relu" else Factors(*(value.logit() for value in own))
    found = unlocking.at({"lock 0.lock": torch.stack(list(biases))})(seen, batch)
    assert float(Gaussian()(found, seen.update.delta)) == pytest.approx(0, abs=1e-8)
    wrong = Unlocking(searched=False)(seen, batch)
    assert float(Gaussian()(wrong, seen.update.delta)) > 1e-3


def test_the_factors_join_the_search():
    model, batch = build(), draw(1)
    seen = observe(model, batch, client=TRAIN, defenses=[KeyLock()], threat=INFORMED, rng=stream(0))
    attack = Matching(
        likelihood=Gaussian(), space=Pixels(), replay=Unlocking(), labels=Known(), search=LBFGS(steps=10, inner=10), restarts=2
    )
    found = attack.run(seen, rng=stream(0), tick=lambda _: None)
    starts = [Unlocking().unknowns(seen, restart=restart)["lock 0.lock"] for restart in (0, 1)]
    assert starts[0].shape == (2, 3)
    assert not torch.equal(*starts)
    assert float(found.losses.min()) < 0.1 * float(Gaussian()(Unlocking()(seen, batch), seen.update.delta))


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_an_audit_tells_how_far_off_the_factors_are_that_an_attack_found(activation):
    """With a search of no step they are those that it starts from, which are 1 and 0.1, up to what a sigmoid can be."""
    model, batch = build(activation=activation), draw(1)
    attack = Matching(
        likelihood=Gaussian(), space=Pixels(), replay=Unlocking(), labels=Known(), search=Adam(steps=1, learning_rate=1e-9)
    )
    plan = Plan(
        client=TRAIN,
        defenses=(KeyLock(),),
        threat=INFORMED,
        attack=attack,
        controls=frozenset({"floor"}),
        blind=MeanImage(),
        metrics={"psnr": PSNR()},
    )
    public = Batch(torch.rand(9, *INPUTS.shape, generator=stream(1, "x")), torch.arange(9) % INPUTS.classes)
    record = run(Scene(model=model, secret=batch, public=public), plan).record
    gamma, beta = factors(model)["0.lock"]
    expected = {"KeyLock.gamma": (0.99 if activation == "sigmoid" else 1.0, gamma), "KeyLock.beta": (0.1, beta)}
    for trial in (record.trials["attack"], record.trials["floor"]):
        assert trial.uncovered == {
            name: pytest.approx(float((start - own).norm() / own.norm()), rel=1e-4) for name, (start, own) in expected.items()
        }
    assert any("KeyLock.gamma to be, which the client kept, is" in one for one in record.diagnosis)


def test_forged_factors_give_a_trained_model_its_accuracy_back():
    x = torch.rand(240, *INPUTS.shape, generator=stream(0, "x"))
    y = torch.randint(4, (240,), generator=stream(0, "y"))
    data = Batch((x * 0.3 + functional.one_hot(y, 4)[:, :3, None, None] * 0.7).clamp(0, 1), y)
    # At a rate of 0.1, one start of six dies behind its ReLU, and which one is a matter of rounding.
    model = train(build(activation="relu"), data[:200], Training(steps=300, learning_rate=0.03), rng=stream(0))
    seen = observe(model, data[200:202], client=TRAIN, defenses=[KeyLock()], threat=INFORMED, public=data[202:226], rng=stream(0))
    test = data[226:]

    def share(one):
        return float((one.logits(test.x).argmax(1) == test.y).float().mean())

    start = {"0.lock": torch.stack([torch.ones(3), 0.1 * torch.ones(3)])}
    forged = forge(seen.model, seen.public, start, steps=200, learning_rate=0.05, rng=stream(0))
    assert share(model) > 0.9
    assert share(seen.model) < 0.6
    assert share(opened(seen.model, biases(seen.model, forged))) > 0.9 * share(model)
    unlocking = Unlocking(forging=Forging(), searched=False)
    assert unlocking.needs >= {Capability.PUBLIC_DATA}
    fixed = unlocking.fixed(seen).replay
    torch.testing.assert_close(fixed(seen, test[:2])["3.weight"], unlocking(seen, test[:2])["3.weight"])
    with pytest.raises(UsageError, match="does not grant public_data"):
        unlocking.fixed(replace(seen, public=None))


def locked_scene():
    model = KeyLocked(victim=LeNet(channels=6), length=6, activation="sigmoid").build(INPUTS, rng=stream(0, "victim"))
    return Scene(
        model=model, secret=draw(1), public=Batch(torch.rand(9, *INPUTS.shape, generator=stream(1, "x")), torch.arange(9) % 4)
    )


@pytest.mark.parametrize("replay", [Granted(), OneGradient(), Estimated(), Undefended()], ids=lambda one: type(one).__name__)
def test_an_attack_that_knows_of_no_lock_is_out_of_scope_and_not_a_sign_of_safety(replay):
    attack = Matching(likelihood=Gaussian(), space=Pixels(), replay=replay, labels=Known(), search=Adam(steps=1))
    plan = Plan(client=TRAIN, defenses=(KeyLock(),), threat=ADAPTIVE, attack=attack, blind=MeanImage(), metrics={"psnr": PSNR()})
    record = run(locked_scene(), plan).record
    assert (record.status, record.verdict.outcome) == ("out_of_scope", "inconclusive")
    assert "use the replay unlocking" in record.trials["attack"].message
    assert record.trials["positive control"].status == "ok", "without the defense, there is no closed lock"


def test_the_bayes_adversary_searches_what_a_lock_is_set_to():
    attack = bayes(total_variation=0.0, search=Adam(steps=150, learning_rate=0.05))
    plan = Plan(
        client=TRAIN,
        defenses=(KeyLock(),),
        threat=ADAPTIVE,
        attack=attack,
        controls=frozenset(),
        blind=MeanImage(),
        metrics={"psnr": PSNR()},
    )
    trial = run(locked_scene(), plan).record.trials["attack"]
    assert trial.status == "ok"
    assert trial.losses[0] < 0.01 * trial.loss_blind
    assert trial.uncovered["KeyLock.gamma"] < 0.3


@pytest.mark.parametrize("layers", [("all",), ("3",)], ids=["all", "the second"])
def test_statistics_behind_a_closed_lock_are_no_statistics_of_the_client(layers):
    model = KeyLocked(victim=CNN(width=3, hidden=20), layers=layers, length=6).build(INPUTS, rng=stream(0, "victim"))
    closed = observe(model, draw(2), client=TRAIN, defenses=[KeyLock()], threat=INFORMED, rng=stream(0))
    opened_up = observe(model, draw(2), client=TRAIN, threat=INFORMED, rng=stream(0))
    for seen in (closed, opened_up):
        assert float(BatchNormStatistics()(draw(2), seen)) == pytest.approx(0, abs=1e-5)
        assert float(BatchNormStatistics(weight=1.0)(Batch(0.3 * draw(2).x, draw(2).y), seen)) > 1e-2


# What does not fit


@pytest.mark.parametrize(
    ("victim", "words"),
    [
        (KeyLocked(victim=MLP()), "has no convolution of images, expected one to put a lock behind; choose another victim"),
        (KeyLocked(victim=SMALL, layers=("conv1",)), "KeyLocked.layers: 'conv1' is no convolution of the victim, known: 0, 3, all"),
    ],
    ids=["no convolution", "no such layer"],
)
def test_a_lock_without_a_convolution_is_told(victim, words):
    with pytest.raises(UsageError) as told:
        victim.build(INPUTS, rng=stream(0))
    assert words in str(told.value)


def test_the_defense_wants_a_lock():
    case = sample(SMALL)
    with pytest.raises(UsageError, match="has no key-lock, expected one behind a convolution; wrap the victim in key_locked"):
        case.observe(KeyLock().protect(TRAIN))
