"""Models and updates as people have them: audits that once crashed, or answered wrongly, from a notebook."""

import copy
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

import leakgauge as lg
from leakgauge.attacks.priors.total_variation import TotalVariation
from leakgauge.core.algorithm import algorithm
from leakgauge.core.capabilities import SERVER
from leakgauge.core.intake import taken_in
from leakgauge.core.types import Batch, Model, Observation, Update
from leakgauge.data.photographs import Photographs

POOL = Photographs(size=8).load()
INPUTS = lg.Inputs((3, 8, 8), 10)
ONE = (POOL.x[:1], POOL.y[:1])
OTHERS = (POOL.x[20:], POOL.y[20:])


def mlp(width=64, *, seed=0, outputs=10):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.ReLU(), nn.Linear(width, outputs))


def audit(net, **changes):
    settings = {"batch": ONE, "public": OTHERS, "inputs": INPUTS, "attack": "analytic", "device": "cpu"}
    return lg.audit(**{"model": net, **settings, **changes})


def gradient(net, batch=ONE):
    values = torch.autograd.grad(F.cross_entropy(net(batch[0]), batch[1]), list(net.parameters()))
    return {name: value for (name, _), value in zip(net.named_parameters(), values, strict=True)}


class Wrapped(nn.Module):
    def __init__(self, body, before=lambda x: x, after=lambda x: x):
        super().__init__()
        self.body, self.before, self.after = body, before, after

    def forward(self, x):
        return self.after(self.body(self.before(x)))


@pytest.mark.parametrize(
    "client", ["fedsgd", {"name": "fedavg", "epochs": 3, "optimizer": {"learning_rate": 0.1, "momentum": 0.9}}]
)
def test_a_frozen_layer_is_not_sent(client):
    net = mlp()
    net[1].requires_grad_(False)
    result = audit(net, client=client)
    assert result.record.setting.sent == sum(value.numel() for value in net[3].parameters())
    assert "does not hold '1.weight'" in result.verdict.reason


def test_a_recorded_update_of_a_frozen_backbone_is_that_of_the_head():
    net = mlp(512)
    net[1].requires_grad_(False)
    before = copy.deepcopy(net)
    optimizer = torch.optim.SGD([value for value in net.parameters() if value.requires_grad], lr=0.1)
    F.cross_entropy(net(ONE[0]), ONE[1]).backward()
    optimizer.step()
    whole = lg.update_between(before.state_dict(), net.state_dict(), model=before, scale=0.1)
    head = lg.Update({name: value for name, value in whole.delta.items() if name.startswith("3.")}, scale=0.1)
    attack = {"name": "inverting_gradients", "steps": 30}
    one, other = (audit(before, update=update, client="fedavg", attack=attack).record for update in (whole, head))
    assert one.setting.sent == other.setting.sent == sum(value.numel() for value in net[3].parameters())
    assert one.setting.mismatch == other.setting.mismatch == ""
    assert one.trials["attack"].scores == other.trials["attack"].scores


def test_all_frozen_is_told():
    with pytest.raises(lg.UsageError, match="none of its 4 parameters is trained"):
        audit(mlp().requires_grad_(False))


def test_a_parameter_that_is_left_unused_is_not_sent():
    net = Wrapped(mlp())
    net.pooler = nn.Linear(4, 4)
    result = audit(net)
    assert result.verdict.outcome == "leaks"
    assert result.record.setting.sent == sum(value.numel() for value in net.body.parameters())
    recorded = lg.Update(
        {**{f"body.{name}": value for name, value in gradient(net.body).items()}, "pooler.weight": torch.zeros(4, 4)}
    )
    assert audit(net, update=recorded, attack={"name": "inverting_gradients", "steps": 3}).record.status == "ok"


@pytest.mark.parametrize("attack", ["dlg", "idlg", "cpl", "dlm_plus"])
def test_a_network_that_permutes_its_input_can_be_searched(attack):
    net = Wrapped(
        nn.Sequential(nn.Flatten(), nn.Linear(192, 16), nn.Sigmoid(), nn.Linear(16, 10)), before=lambda x: x.permute(0, 2, 3, 1)
    )
    assert audit(net, attack={"name": attack, "search": {"steps": 2}, "restarts": 1}).record.status == "ok"


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.0), (0.0, 255.0), (-3.0, 5.0)])
def test_another_range_gets_the_scores_of_its_pictures(low, high):
    net = mlp(256)
    plain = audit(net)
    x = low + (high - low) * POOL.x
    inputs = lg.Inputs((3, 8, 8), 10, low=low, high=high, mean=(low,) * 3, std=(high - low,) * 3)
    found = audit(net, batch=(x[:1], POOL.y[:1]), public=(x[20:], POOL.y[20:]), inputs=inputs)
    assert found.verdict.outcome == plain.verdict.outcome == "leaks"
    for name in ("attack", "floor", "blind"):
        mine, theirs = (one.record.trials[name].scores["psnr"][0] for one in (found, plain))
        assert mine == pytest.approx(theirs, abs=0.5) or min(mine, theirs) > 80
    assert float(found.truth.min()) >= 0
    assert float(found.truth.max()) <= 1


@pytest.mark.parametrize("shape", [(12,), (2, 12), (1, 5, 6), (1, 1, 6), (1, 3, 4, 5)])
def test_variation_runs_along_the_sides_of_each_example_alone(shape):
    x = torch.rand(3, *shape)
    seen = Observation(Model(mlp(), {}, {}, F.cross_entropy, lg.Inputs(shape, 10)), Update({}), SERVER)
    expected = 0.0
    for side in range(2, x.dim()):
        if x.shape[side] > 1:
            steps = [(a - b).abs() for a, b in zip(x.unbind(side)[1:], x.unbind(side)[:-1], strict=True)]
            expected += float(torch.stack(steps).mean())
    assert float(TotalVariation(weight=2.0)(Batch(x, torch.zeros(3)), seen)) == pytest.approx(2 * expected, abs=1e-6)


def test_vectors_are_audited_by_the_default_attack():
    torch.manual_seed(0)
    x, y = torch.rand(150, 16), torch.arange(150) % 4
    net = nn.Sequential(nn.Linear(16, 64), nn.Sigmoid(), nn.Linear(64, 4))
    result = lg.audit(model=net, batch=(x[:2], y[:2]), public=(x[10:], y[10:]), attack={"name": "inverting_gradients", "steps": 20})
    assert result.record.status == "ok"


@pytest.mark.parametrize(
    ("size", "client"),
    [(5, {"name": "fedavg", "batch_size": 4, "batchnorm": "train"}), (1, {"name": "fedsgd", "batchnorm": "train"})],
)
def test_batchnorm_of_one_example_is_told(size, client):
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8), nn.Linear(8, 10))
    with pytest.raises(lg.UsageError, match=r"^client\.batch_size: leaves a mini-batch of 1 example") as told:
        audit(net, batch=(POOL.x[:size], POOL.y[:size]), client=client)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "wrap",
    [lambda o: (o, o.sum()), lambda o: (o.sum(), o), lambda o: {"logits": o}, lambda o: SimpleNamespace(logits=o, loss=None)],
)
def test_logits_are_found_in_what_a_network_returns(wrap):
    assert audit(Wrapped(mlp(), after=wrap)).verdict.outcome == "leaks"


def test_an_output_without_logits_says_what_it_is():
    with pytest.raises(lg.UsageError, match=r"model: gives a mapping of features: \(1, 10\), expected logits"):
        audit(Wrapped(mlp(), after=lambda o: {"features": o}))


@pytest.mark.parametrize("net_kind", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("data_kind", [torch.float32, torch.float64, None])
def test_networks_of_other_precision(net_kind, data_kind):
    kind = data_kind or net_kind
    batch, public = ((x.to(kind), y) for x, y in (ONE, OTHERS))
    result = audit(mlp().to(net_kind), batch=batch, public=public)
    assert result.verdict.outcome == "leaks"
    assert audit(mlp().to(net_kind), attack={"name": "inverting_gradients", "steps": 2}).record.status == "ok"


KINDS = {
    "sparse": lambda value: value.to_sparse(),
    "numpy": lambda value: value.numpy(),
    "double": lambda value: value.double(),
    "lists": lambda value: value.tolist(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_recorded_updates_of_any_make(kind):
    net = mlp()
    plain = gradient(net)
    update = lg.Update({name: KINDS[kind](value) for name, value in plain.items()})
    result = audit(net, update=update)
    assert result.verdict.outcome == "leaks"
    assert result.record.setting.mismatch == ""
    in_order = audit(net, update=lg.Update([KINDS[kind](value) for value in plain.values()]))
    assert in_order.record.trials["attack"].scores == result.record.trials["attack"].scores


def test_integers_are_taken_at_their_value():
    net = mlp()
    model = Model(net, dict(net.named_parameters()), {}, F.cross_entropy, INPUTS)
    steps = {name: (value * 1000).round().to(torch.int8) for name, value in gradient(net).items()}
    taken = taken_in(lg.Update(steps), model)
    assert all(torch.equal(taken.delta[name], value.float()) for name, value in steps.items())


@pytest.mark.parametrize(
    ("delta", "told"),
    [({"1.weight": "high"}, "update: '1.weight'"), ([1.0], "expected 4, one for each parameter"), (3, "expected arrays by name")],
)
def test_an_update_of_no_numbers_is_told(delta, told):
    with pytest.raises(lg.UsageError, match="update") as caught:
        audit(mlp(), update=lg.Update(delta))
    assert told in str(caught.value)


def test_pixels_are_read_where_the_rule_for_labels_does_not_apply():
    net = mlp(4096, outputs=2)
    with torch.no_grad():
        net[1].bias -= 0.5  # few units are active for each image
    batch, public = (POOL.x[:4], torch.tensor([0, 1, 0, 1])), (POOL.x[20:], POOL.y[20:] % 2)
    result = audit(net, batch=batch, public=public, inputs=lg.Inputs((3, 8, 8), 2), threat="server")
    assert result.verdict.outcome in ("leaks", "partial leak")
    assert "The labels are those of the rule counts, because" in result.record.trials["attack"].message


@pytest.mark.parametrize(
    ("loss", "factor"), [(nn.CrossEntropyLoss(reduction="sum"), 4.0), (nn.CrossEntropyLoss(label_smoothing=0.1), 1.0)]
)
def test_a_loss_says_how_it_puts_examples_together(loss, factor):
    net = mlp()
    model = Model(net, dict(net.named_parameters()), {}, loss, INPUTS)
    assert model.factor(4) == factor
    weighted = nn.CrossEntropyLoss(weight=torch.tensor([5.0] + [1.0] * 9))
    assert Model(net, dict(net.named_parameters()), {}, weighted, INPUTS).factor(4) is None


@pytest.mark.parametrize(("loss", "where"), [(lambda o, y: 1 / 0, "loss"), (lambda o, y: o[:, 99].sum(), "loss")])
def test_what_the_users_loss_raises_is_one_line(loss, where):
    with pytest.raises(lg.UsageError, match=rf"^{where}: ") as told:
        audit(mlp(), loss=loss)
    assert "\n" not in str(told.value)


def no_second_derivative(outputs, y):
    """Neither does it compute in double precision, where differences would do."""
    return F.multi_margin_loss(outputs.float(), y).square()


@pytest.mark.parametrize("attack", ["inverting_gradients", {"name": "dlg", "labels": "known"}], ids=["adam", "lbfgs"])
def test_a_loss_without_second_derivative_is_told_with_the_way_out(attack):
    with pytest.raises(lg.UsageError, match=r"^model backward: raised RuntimeError .*not implemented.* such as analytic$") as told:
        audit(mlp(), loss=no_second_derivative, attack=attack)
    assert "\n" not in str(told.value)
    assert audit(mlp(), loss=no_second_derivative, attack="analytic").verdict.outcome == "leaks"


def focal(outputs, y):
    log_chance = F.log_softmax(outputs, dim=1).gather(1, y[:, None]).squeeze(1)
    return (-((1 - log_chance.exp()) ** 2) * log_chance).mean()


@pytest.mark.parametrize(
    "loss",
    [
        lambda outputs, y: F.nll_loss(F.log_softmax(outputs, dim=1), y),
        focal,
        nn.CrossEntropyLoss(weight=torch.linspace(0.5, 2, 10)),
        nn.CrossEntropyLoss(label_smoothing=0.1),
        nn.CrossEntropyLoss(reduction="sum"),
        lambda outputs, y: F.binary_cross_entropy_with_logits(outputs, F.one_hot(y, 10).float()),
        lambda outputs, y: F.mse_loss(outputs, F.one_hot(y, 10).float()),
        F.multi_margin_loss,
    ],
    ids=["nll", "focal", "weights", "smoothing", "sum", "bce", "mse", "no second derivative"],
)
def test_whatever_the_loss_a_matching_attack_recovers_the_image(loss):
    search = {"name": "lbfgs", "steps": 60}
    result = audit(mlp(), loss=loss, attack={"name": "dlg", "labels": "known", "search": search, "restarts": 2})
    assert max(result.record.trials["attack"].scores["psnr"]) > 20


def test_what_a_network_remembers_never_reaches_the_adversary():
    met = []

    class Remembering(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.last, self.all = mlp(), None, []

        def forward(self, x):
            self.last = x
            self.all.append(x)
            return self.body(x)

    @algorithm
    class Curious:
        needs: ClassVar = frozenset()

        def run(self, seen, /, *, rng, tick):
            met.append((seen.model.net.last, list(seen.model.net.all)))
            return lg.Reconstruction(Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)), torch.tensor([1.0]))

    audit(Remembering(), attack=Curious())
    secret = ONE[0]
    for last, everything in met:
        for x in [*([] if last is None else [last]), *everything]:
            assert not any(torch.allclose(one, secret[0]) for one in x)


def test_copies_of_the_secret_leave_the_public_data():
    met = []

    @algorithm
    class Curious:
        needs: ClassVar = frozenset()

        def run(self, seen, /, *, rng, tick):
            met.append(seen.public.x)
            return lg.Reconstruction(Batch(torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.long)), torch.tensor([1.0]))

    audit(mlp(), public=(torch.cat([ONE[0], ONE[0], OTHERS[0]]), torch.cat([ONE[1], ONE[1], OTHERS[1]])), attack=Curious())
    assert not any(torch.equal(one, ONE[0][0]) for x in met for one in x)
