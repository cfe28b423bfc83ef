"""PRECODE: the bottleneck, the client that draws its noise, and the attacks that step around it or search it."""

from dataclasses import replace

import pytest
import torch
from table import FLAT
from torch import nn
from torch.nn.functional import cross_entropy

from leakgauge.attacks.analytic import Analytic
from leakgauge.attacks.labels.known import Known
from leakgauge.attacks.likelihoods.cosine import Cosine
from leakgauge.attacks.matching import Matching
from leakgauge.attacks.replays.bottleneck import Bottleneck
from leakgauge.attacks.replays.granted import Granted
from leakgauge.attacks.searches.adam import Adam
from leakgauge.attacks.spaces.pixels import Pixels
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core import anatomy
from leakgauge.core.bottleneck import bottleneck_gradient, divergence, noise_name
from leakgauge.core.errors import OutOfScope, UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import protect
from leakgauge.core.types import Batch, Inputs, Model, no_tick
from leakgauge.defenses import precode as defense
from leakgauge.defenses.dp_sgd import DPSGD
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.metrics.psnr import PSNR
from leakgauge.testing import sample
from leakgauge.victims.lenet import LeNet
from leakgauge.victims.mlp import MLP
from leakgauge.victims.precode import Precode
from leakgauge.victims.resnet import ResNet

LATENT = 5
SMALL = Precode(victim=FLAT, latent=LATENT)
CIFAR = Inputs((3, 32, 32), 10)


@pytest.fixture
def case():
    return sample(SMALL, examples=3)


def naive_outputs(params, x, noise):
    """The small victim, written out; what its encoder gives is returned as well."""
    r = nn.functional.linear(x.flatten(1), params["1.weight"], params["1.bias"]).relu()
    encoded = r @ params["3.bottleneck.encoder.weight"].T + params["3.bottleneck.encoder.bias"]
    mean, std = encoded[:, :LATENT], (1 + encoded[:, LATENT:].exp()).log()
    decoded = (mean + std * noise) @ params["3.bottleneck.decoder.weight"].T + params["3.bottleneck.decoder.bias"]
    return decoded @ params["3.head.weight"].T + params["3.head.bias"], (mean, std)


def naive_gradient(model, batch, noise, beta):
    params = {name: value.clone().requires_grad_() for name, value in model.params.items()}
    logits, (mean, std) = naive_outputs(params, batch.x, noise)
    drawn, standard = torch.distributions.Normal(mean, std), torch.distributions.Normal(0, torch.ones_like(std))
    loss = cross_entropy(logits, batch.y) + beta * torch.distributions.kl_divergence(drawn, standard).sum(1).mean()
    return dict(zip(params, torch.autograd.grad(loss, list(params.values())), strict=True))


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


# The victim


def test_the_model_by_itself_takes_the_mean(case):
    expected, _ = naive_outputs(case.model.params, case.batch.x, 0.0)
    torch.testing.assert_close(case.model.logits(case.batch.x), expected)


@pytest.mark.parametrize("victim", [LeNet(channels=3), FLAT, MLP(hidden=()), ResNet(blocks=(1,), widths=(4,))], ids=repr)
def test_the_other_weights_are_those_without_the_bottleneck(victim):
    plain = victim.build(CIFAR, rng=stream(1))
    model = Precode(victim=victim, latent=7).build(CIFAR, rng=stream(1))
    last = anatomy.head(plain).weight.removesuffix("weight")
    assert anatomy.head(model).weight == f"{last}head.weight"
    for name, value in plain.params.items():
        assert torch.equal(model.params[name.replace(last, f"{last}head.") if name.startswith(last) else name], value)
    features = plain.params[f"{last}weight"].shape[1]
    shapes = {name.removeprefix(f"{last}bottleneck."): tuple(v.shape) for name, v in model.params.items() if "bottleneck" in name}
    assert shapes == {
        "encoder.weight": (14, features),
        "encoder.bias": (14,),
        "decoder.weight": (features, 7),
        "decoder.bias": (features,),
    }
    assert model.buffers.keys() - plain.buffers.keys() == {f"{last}bottleneck.noise"}
    assert model.inputs == plain.inputs


def test_a_victim_that_is_one_layer_gets_a_bottleneck_as_well():
    inputs = Inputs((6,), 3)

    class OneLayer:
        def build(self, inputs, /, *, rng):
            return Model(nn.Linear(6, 3), {"weight": torch.randn(3, 6, generator=rng), "bias": torch.zeros(3)}, {}, None, inputs)

    model = Precode(victim=OneLayer(), latent=2).build(inputs, rng=stream(0))
    assert {"bottleneck.encoder.weight", "head.weight"} <= model.params.keys()
    assert model.logits(torch.rand(4, 6)).shape == (4, 3)


def test_a_victim_without_linear_head_is_refused():
    class Convolution:
        def build(self, inputs, /, *, rng):
            return Model(nn.Conv2d(3, 10, 32), {}, {}, None, inputs)

    with pytest.raises(UsageError, match=r"Precode.victim: .* expected a linear last layer"):
        Precode(victim=Convolution()).build(CIFAR, rng=stream(0))


def test_the_noise_is_no_part_of_what_is_saved(case):
    assert noise_name(case.model) == "3.bottleneck.noise"
    assert "3.bottleneck.noise" in case.model.buffers
    assert "3.bottleneck.noise" not in case.model.net.state_dict()


def test_the_divergence_is_that_of_torch_and_finite_where_the_spread_vanishes():
    encoded = 3 * torch.randn(6, 8, generator=stream(0))
    mean, std = encoded[:, :4], nn.functional.softplus(encoded[:, 4:])
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(mean, std), normal(0.0, 1.0)).sum(1).mean()
    torch.testing.assert_close(divergence(encoded), expected)
    extreme = torch.full((1, 2), -200.0, requires_grad=True)
    (slope,) = torch.autograd.grad(divergence(extreme), extreme)
    assert divergence(extreme.detach()).isfinite()
    assert slope.isfinite().all()


# The client


@pytest.mark.parametrize("beta", [0.0, 1e-3, 0.7])
def test_the_gradient_is_that_of_the_noisy_loss_with_its_divergence(case, beta):
    sent = defense.Precode(beta=beta).protect(FedSGD())(case.model, case.batch, rng=stream(4)).delta
    noise = torch.randn(3, LATENT, generator=stream(4))
    same(sent, naive_gradient(case.model, case.batch, noise, beta))
    calm = defense.Precode(beta=beta).protect(FedSGD())(case.model, case.batch).delta
    same(calm, naive_gradient(case.model, case.batch, torch.zeros(1, LATENT), beta))


def test_without_noise_and_divergence_the_client_is_the_plain_one(case):
    same(defense.Precode(beta=0.0).protect(FedSGD())(case.model, case.batch).delta, FedSGD()(case.model, case.batch).delta)


def test_each_local_step_draws_noise_of_its_own(case):
    client = FedAvg(epochs=2, optimizer=SGD(learning_rate=0.3))
    sent = defense.Precode(beta=0.1).protect(client)(case.model, case.batch, rng=stream(4))
    rng, model = stream(4), case.model
    for _ in range(2):
        rows = torch.randperm(3, generator=rng)
        slopes = naive_gradient(model, case.batch[rows], torch.randn(3, LATENT, generator=rng), 0.1)
        model = replace(model, params={name: value - 0.3 * slopes[name] for name, value in model.params.items()})
    same(sent.delta, {name: value - model.params[name] for name, value in case.model.params.items()})
    assert torch.equal(sent.buffers["3.bottleneck.noise"], torch.zeros(1, LATENT))


def test_buffers_of_training_mode_are_sent_without_the_noise():
    case = sample(Precode(victim=ResNet(blocks=(1,), widths=(4,)), latent=LATENT), examples=3)
    plain = FedSGD(batchnorm="train")(case.model, case.batch)
    sent = defense.Precode().protect(FedSGD(batchnorm="train"))(case.model, case.batch, rng=stream(0))
    assert sent.buffers.keys() == plain.buffers.keys()
    for name, value in plain.buffers.items():
        assert torch.equal(sent.buffers[name], value)
    assert not any(module._forward_hooks for module in case.model.net.modules())


@pytest.mark.parametrize("attempt", [defense.Precode().protect(FedSGD()), Bottleneck()], ids=["defense", "replay"])
def test_a_victim_without_bottleneck_is_refused_in_one_line(attempt):
    plain = sample(FLAT)
    with pytest.raises(UsageError, match=r"no variational bottleneck.*wrap the victim in precode$"):
        attempt(plain.observe(FedSGD()) if attempt == Bottleneck() else plain.model, plain.batch)


def test_of_two_gradient_rules_the_last_one_counts(case):
    rules = [DPSGD(noise_multiplier=0.0), defense.Precode()]
    assert protect(FedSGD(), rules) == defense.Precode().protect(FedSGD())
    private = protect(FedSGD(), rules[::-1])(case.model, case.batch).delta
    assert sum(float(value.square().sum()) for value in private.values()) <= 1 + 1e-5


# The attacks


def test_an_input_is_read_off_the_first_layer_whatever_the_noise():
    victim = Precode(victim=MLP(hidden=(64, 32)))
    for seed in range(3):
        one = sample(victim, examples=1, inputs=CIFAR, seed=seed)
        seen = one.observe(FedSGD(), defenses=[defense.Precode()])
        found = Analytic().run(seen, rng=stream(seed), tick=no_tick)
        assert float(PSNR()(found.batch.x.clamp(0, 1), one.batch.x)) >= 60


def matching(replay, steps=1):
    return Matching(likelihood=Cosine(), space=Pixels(), replay=replay, labels=Known(), search=Adam(steps=steps))


def test_at_the_noise_of_the_client_the_truth_explains_the_update(case):
    seen = case.observe(FedSGD(), defenses=[defense.Precode(beta=0.1)])
    noise = torch.randn(3, LATENT, generator=stream(0, "client"))
    replay = Bottleneck(beta=0.1, pace=0.5)
    same(replay.at({"noise": noise / 0.5})(seen, case.batch), seen.update.delta)
    assert float(matching(Granted()).loss_at(seen, case.batch)) > 1e-4
    same(replay(seen, case.batch), bottleneck_gradient(case.model, case.batch, torch.zeros(1, LATENT), beta=0.1, training=False)[0])


def test_the_noise_starts_at_its_mean_and_then_at_draws(case):
    seen = case.observe(FedSGD())
    replay = Bottleneck(pace=0.5)
    starts = [0.5 * replay.unknowns(seen, restart=restart)["noise"] for restart in range(3)]
    assert [tuple(start.shape) for start in starts] == [(3, LATENT)] * 3
    assert not starts[0].any()
    assert starts[1].std() > 0.5
    assert not torch.equal(starts[1], starts[2])
    with pytest.raises(OutOfScope, match=r"several rounds.*one alone"):
        replay.unknowns(replace(seen, earlier=(seen,)), restart=0)


def test_the_noise_can_be_found_for_a_known_image(case):
    seen = case.observe(FedSGD(), defenses=[defense.Precode()])
    truth = torch.randn(3, LATENT, generator=stream(0, "client"))
    x = case.batch.x.clone().requires_grad_()

    def objective(point):
        return Cosine()(Bottleneck().at(point)(seen, Batch(x, case.batch.y)), seen.update.delta)

    start = Bottleneck().unknowns(seen, restart=0)
    search = Adam(steps=300, learning_rate=0.05)
    found = search.minimize(objective, start, project=lambda point: point, goal=0.0, rng=stream(1), tick=no_tick)
    before = float(objective(start).detach())
    assert found.loss < 0.05 * before
    assert float((found.point["noise"] - truth).square().mean()) < 0.5 * float(truth.square().mean())


def test_a_search_moves_the_noise_along_and_tells_of_one_that_ran_away(case):
    seen = case.observe(FedSGD(), defenses=[defense.Precode()])
    attack = matching(Bottleneck(), steps=5)
    found = attack.run(seen, rng=stream(0), tick=no_tick)
    fixed = matching(Granted(), steps=5).run(seen, rng=stream(0), tick=no_tick)
    assert found.losses[0] < fixed.losses[0]
    assert found.notes == ()
    (told,) = Bottleneck(pace=2.0).remarks({"noise": torch.zeros(3, 2)}, {"noise": torch.full((3, 2), 1.5)})
    assert told == "The noise of the bottleneck was found at a standard deviation of 3.0, but it is drawn at 1."


@pytest.mark.parametrize("victim", [SMALL, Precode(victim=ResNet(blocks=(1,), widths=(4,)), latent=LATENT)], ids=["mlp", "resnet"])
@pytest.mark.parametrize("batchnorm", ["eval", "train"])
def test_the_noise_of_one_example_follows_from_the_update(victim, batchnorm):
    one = sample(victim, examples=1)
    client = FedSGD(batchnorm=batchnorm)
    seen = one.observe(client, defenses=[defense.Precode(beta=0.1)])
    replay = Bottleneck(beta=0.1, batchnorm=batchnorm)
    assert replay.unknowns(seen, restart=0) == {}
    assert replay.at({"x": one.batch.x}) == replay
    assert replay.remarks({}, {"x": one.batch.x}) == ()
    truth = replay(seen, one.batch)
    for name, value in seen.update.delta.items():
        torch.testing.assert_close(truth[name], value, rtol=1e-3, atol=1e-5)
    again = one.observe(client, defenses=[defense.Precode(beta=0.1)])
    rounds = replace(seen, earlier=(again,))
    assert float(matching(replay).loss_at(rounds, one.batch)) == pytest.approx(0, abs=1e-5)
    assert float(matching(replay).loss_at(rounds, sample(victim, examples=1, seed=1).batch)) > 1e-3


def test_the_noise_that_follows_is_no_path_to_the_weights():
    """The client's noise is a number to its gradient, whatever an attacker makes it depend on."""
    one = sample(SMALL, examples=1)
    seen = one.observe(FedSGD(), defenses=[defense.Precode(beta=0.1)])
    other = sample(SMALL, examples=1, seed=1).batch
    _, (mean, std) = naive_outputs(seen.model.params, other.x, 0.0)
    rows, factors = (seen.update.delta[f"3.bottleneck.decoder.{name}"] for name in ("weight", "bias"))
    latent = rows[factors.abs().argmax()] / factors[factors.abs().argmax()]
    expected = naive_gradient(seen.model, other, (latent - mean) / std, 0.1)
    x = other.x.clone().requires_grad_()
    found = Bottleneck(beta=0.1)(seen, Batch(x, other.y))
    same({name: value.detach() for name, value in found.items()}, expected)
    (slope,) = torch.autograd.grad(sum(value.square().sum() for value in found.values()), x)
    assert slope.isfinite().all()
    assert slope.any()


def test_a_noise_whose_decoder_was_kept_back_is_searched():
    one = sample(SMALL, examples=1)
    seen = one.observe(FedSGD(), defenses=[defense.Precode(), PartialSharing(share=("1.*",))])
    assert Bottleneck().unknowns(seen, restart=0)["noise"].shape == (1, LATENT)
