"""The door between the secret and the adversary: what is granted, what is withheld, and that nothing else gets through."""

import functools
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from table import FLAT, rows

from leakgauge.attacks.inverting_gradients import inverting_gradients
from leakgauge.clients.fedavg import FedAvg
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.clients.optimizers.adam import Adam
from leakgauge.clients.optimizers.sgd import SGD
from leakgauge.core.capabilities import ADAPTIVE, EAVESDROPPER, INFORMED, NAMED, SERVER, require, threat_named
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.threat import observe, observe_update, protect
from leakgauge.core.types import Batch, Capability, ThreatModel, Update, no_tick
from leakgauge.defenses.clipping import Clipping
from leakgauge.defenses.noise import GaussianNoise
from leakgauge.defenses.partial_sharing import PartialSharing
from leakgauge.testing import check_secrecy, sample, tensors_in
from leakgauge.victims.resnet import ResNet

NORMED = ResNet(blocks=(1,), widths=(4,))
CLIENTS = {
    "fedsgd": FedSGD(),
    "fedsgd train": FedSGD(batchnorm="train"),
    "fedavg": FedAvg(epochs=2, batch_size=2, optimizer=SGD(momentum=0.9), batchnorm="train"),
    "fedavg adam": FedAvg(epochs=2, optimizer=Adam()),
}
DEFENSES = [None, *rows("defense")]

# Secrecy


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("row", DEFENSES, ids=lambda row: type(row.algorithm).__name__ if row else "None")
@pytest.mark.parametrize("threat", NAMED.values(), ids=NAMED)
def test_nothing_that_can_be_reached_holds_the_secret(client, row, threat):
    case = sample(row.options.get("victim", NORMED) if row else NORMED, examples=4)
    defense = row and row.algorithm
    if type(defense).__name__ == "DPSGD" and client in ("fedsgd train", "fedavg"):
        with pytest.raises(UsageError, match="uses the statistics of the batch"):
            case.observe(CLIENTS[client], defenses=[defense], threat=threat)
        return
    seen = case.observe(CLIENTS[client], defenses=[defense] if defense else [], threat=threat)
    check_secrecy(seen, case.batch)
    own = {value.untyped_storage().data_ptr() for value in (*case.model.params.values(), *case.model.buffers.values())}
    assert not own & {tensor.untyped_storage().data_ptr() for _, tensor in tensors_in(seen)}


def test_nothing_leaks_from_a_batch_that_requires_a_gradient():
    case = sample(NORMED)
    case.batch.x.requires_grad_()
    check_secrecy(case.observe(FedAvg(epochs=2)), case.batch)


@dataclass
class Box:
    inside: Any


class Slotted:
    __slots__ = ("inside",)

    def __init__(self, inside):
        self.inside = inside


class Carrier(torch.nn.Module):
    def __init__(self, inside, kind):
        super().__init__()
        if kind == "buffer":
            self.register_buffer("kept", inside)
        else:
            self.register_forward_hook(lambda *_: inside)

    def method(self):
        return self


def hidden(x, how):
    """The secret where an observation could carry it."""

    def default(_=x):
        return None

    def inner():
        return x

    def attributed():
        return None

    attributed.kept = x
    leaf = x.clone().requires_grad_()
    with_gradient = torch.zeros(1, requires_grad=True)
    with_gradient.grad = x.flatten()[:1]
    return {
        "field": Box(x),
        "nested": {"a": [(Box(Box(x)),)]},
        "copy": Box(x.clone()),
        "slot": Slotted(x),
        "closure": inner,
        "default": default,
        "keyword": functools.partial(print, file=x),
        "attribute": attributed,
        "buffer": Carrier(x, "buffer"),
        "hook": Carrier(x, "hook"),
        "method": Carrier(x, "buffer").method,
        "view": x[0, 0, 0],
        "graph": (leaf * 2).sum(),
        "saved": (leaf * x).sum(),
        "gradient": with_gradient,
        "more": torch.cat([torch.zeros(1, 1, 8, 8), x]),
    }[how]


PLACES = [
    "field",
    "nested",
    "copy",
    "slot",
    "closure",
    "default",
    "keyword",
    "attribute",
    "buffer",
    "hook",
    "method",
    "view",
    "graph",
    "saved",
    "gradient",
    "more",
]


@pytest.mark.parametrize("how", PLACES)
def test_the_walk_finds_what_is_hidden(how):
    """The check of secrecy is worth what it finds."""
    case = sample(NORMED)
    seen = case.observe(FedSGD())
    check_secrecy(seen, case.batch)
    with pytest.raises(AssertionError, match=r"^observation\.client"):
        check_secrecy(replace(seen, client=hidden(case.batch.x, how)), case.batch)


def test_other_data_that_lies_beside_the_secret_is_copied():
    case = sample(NORMED, examples=6)
    secret, public = case.batch[:2], case.batch[2:]
    assert public.x.untyped_storage().data_ptr() == secret.x.untyped_storage().data_ptr()
    seen = observe(case.model, secret, client=FedSGD(), threat=INFORMED, public=public, rng=stream(0))
    check_secrecy(seen, secret)
    assert torch.equal(seen.public.x, public.x)


def test_a_later_change_of_anything_reaches_no_observation():
    case = sample(NORMED)
    seen = case.observe(FedSGD(batchnorm="train"))
    before = [tensor.clone() for _, tensor in tensors_in(seen)]
    for value in (
        case.batch.x,
        case.batch.y,
        case.public.x,
        case.public.y,
        *case.model.params.values(),
        *case.model.buffers.values(),
    ):
        value.zero_()
    assert all(torch.equal(tensor, old) for (_, tensor), old in zip(tensors_in(seen), before, strict=True))


# Grants

WITHHELD = {
    Capability.LABELS: lambda seen: seen.labels is None,
    Capability.COUNT: lambda seen: seen.update.examples is None,
    Capability.PROCEDURE: lambda seen: seen.client is None,
    Capability.SCALE: lambda seen: seen.update.scale is None,
    Capability.BUFFERS: lambda seen: seen.update.buffers == {},
    Capability.PUBLIC_DATA: lambda seen: seen.public is None,
}


@pytest.mark.parametrize("capability", WITHHELD)
def test_a_field_is_there_where_it_is_granted_and_nowhere_else(capability):
    case = sample(NORMED)
    for threat in (ThreatModel("only", frozenset({capability})), ThreatModel("all but", frozenset(Capability) - {capability})):
        seen = case.observe(FedSGD(batchnorm="train"), threat=threat)
        for other, is_withheld in WITHHELD.items():
            assert is_withheld(seen) == (other not in threat), other


def test_the_defense_is_known_to_those_who_may_know_it():
    case = sample(NORMED)
    client, defense = FedSGD(), Clipping(norm=0.1)
    assert case.observe(client, defenses=[defense], threat=INFORMED).client == client
    assert case.observe(client, defenses=[defense], threat=ADAPTIVE).client == defense.protect(client)
    alone = ThreatModel("defense alone", frozenset({Capability.DEFENSE}))
    assert case.observe(client, defenses=[defense], threat=alone).client is None


def test_labels_are_sorted_so_that_their_order_says_nothing():
    case = sample(NORMED, examples=4)
    assert case.batch.y.tolist() == [1, 0, 3, 2]
    assert case.observe(FedSGD()).labels.tolist() == [0, 1, 2, 3]


def test_what_is_granted_is_what_was_sent():
    case = sample(NORMED)
    client = FedSGD(batchnorm="train")
    update, seen = client(case.model, case.batch), case.observe(client)
    assert (seen.update.examples, seen.update.scale, seen.client) == (2, 1.0, client)
    for sent, found in (
        (update.delta, seen.update.delta),
        (update.buffers, seen.update.buffers),
        (case.model.params, seen.model.params),
    ):
        assert sent.keys() == found.keys()
        assert all(torch.equal(value, found[name]) for name, value in sent.items())
    assert torch.equal(seen.public.x, case.public.x)


def test_threat_models_widen():
    assert EAVESDROPPER.grants < SERVER.grants < INFORMED.grants < ADAPTIVE.grants
    assert ADAPTIVE.grants == frozenset(Capability)
    assert all(threat_named(name) is threat for name, threat in NAMED.items())
    with pytest.raises(UsageError, match=r"^threat: got 'sever', did you mean 'server'\?$"):
        threat_named("sever")


@pytest.mark.parametrize(
    ("needs", "threat", "told"),
    [
        (
            {"labels"},
            SERVER,
            "threat: 'server' does not grant labels, which X needs; choose informed or adaptive, or another attack",
        ),
        (
            {"count", "scale"},
            EAVESDROPPER,
            "threat: 'eavesdropper' does not grant count, scale, which X needs; choose server or informed or adaptive, "
            "or another attack",
        ),
    ],
)
def test_a_missing_capability_is_told(needs, threat, told):
    with pytest.raises(UsageError) as caught:
        require(frozenset(map(Capability, needs)), threat, "X")
    assert str(caught.value) == told
    require(frozenset(map(Capability, needs)), ADAPTIVE, "X")


@pytest.mark.parametrize("row", [row for row in rows("attack") if row.algorithm.needs], ids=str)
def test_an_attack_that_lacks_a_capability_says_so(row):
    case = sample(row.options.get("victim", NORMED), examples=row.options.get("examples", 1))
    for missing in row.algorithm.needs:
        lacking = ThreatModel("lacking", frozenset(Capability) - {missing})
        seen = case.observe(row.options.get("client", FedSGD()), threat=lacking)
        if missing == Capability.SCALE:  # as where an optimizer has none
            continue
        with pytest.raises(UsageError, match=f"does not grant {missing}, which"):
            row.algorithm.run(seen, rng=stream(0), tick=lambda _: None)


# Defenses


def test_the_first_defense_is_applied_first():
    case = sample(FLAT)
    clipped_last = protect(FedSGD(), [GaussianNoise(sigma=1.0), Clipping(norm=0.5)])(case.model, case.batch, rng=stream(0))
    noisy_last = protect(FedSGD(), [Clipping(norm=0.5), GaussianNoise(sigma=1.0)])(case.model, case.batch, rng=stream(0))
    norm = lambda update: float(torch.stack([v.square().sum() for v in update.delta.values()]).sum().sqrt())  # noqa: E731
    assert norm(clipped_last) == pytest.approx(0.5, rel=1e-4)
    assert norm(noisy_last) > 10
    assert protect(FedSGD(), []) == FedSGD()


def test_what_is_not_shared_is_not_seen():
    seen = sample(FLAT).observe(FedSGD(), defenses=[PartialSharing(share=("1.*",))])
    assert list(seen.update.delta) == ["1.weight", "1.bias"]


# Updates that are not sound


@pytest.mark.parametrize(
    ("delta", "told"),
    [
        ({}, r"^update: holds no tensor, expected at least one of 1\.weight, .*; let the client share a layer$"),
        (
            {"1.weigth": torch.zeros(32, 64)},
            r"^update: got a tensor '1\.weigth' that the model does not have, did you mean '1\.weight'\?$",
        ),
        (
            {"1.bias": torch.zeros(31)},
            r"^update: '1\.bias' has shape \(31,\), expected \(32,\) as in the model; is it the update of another",
        ),
        (
            {"1.bias": torch.full((32,), torch.nan)},
            r"^update: '1\.bias' holds nan or infinity, expected finite numbers; did local training",
        ),
        ({"1.bias": torch.full((32,), torch.inf)}, r"^update: '1\.bias' holds nan or infinity"),
    ],
)
def test_an_update_that_does_not_fit_is_told(delta, told):
    case = sample(FLAT)
    with pytest.raises(UsageError, match=told):
        observe_update(case.model, Update(delta), threat=SERVER)
    with pytest.raises(UsageError, match=told):
        observe(case.model, case.batch, client=lambda *_, rng: Update(delta), threat=SERVER, rng=stream(0))


def test_buffers_are_checked_as_well():
    case = sample(NORMED)
    delta = FedSGD()(case.model, case.batch).delta
    with pytest.raises(UsageError, match=r"^update buffers: got a tensor 'x' that the model does not have"):
        observe_update(case.model, Update(delta, buffers={"x": torch.zeros(1)}), threat=SERVER)


def test_local_training_that_diverges_is_told():
    case = sample(FLAT)
    with pytest.raises(UsageError, match="did local training diverge"):
        case.observe(FedAvg(epochs=60, optimizer=SGD(learning_rate=1e18)))


def test_an_adversary_gets_by_with_less_than_everything():
    case = sample(FLAT)
    needs = inverting_gradients().needs
    seen = case.observe(FedSGD(), threat=ThreatModel("just so", needs))
    found = inverting_gradients(steps=2).run(seen, rng=stream(0), tick=lambda _: None)
    assert isinstance(found.batch, Batch)


KEPT_BACK = [
    {Capability.SCALE},
    {Capability.PROCEDURE},
    {Capability.COUNT},
    {Capability.SCALE, Capability.PROCEDURE, Capability.COUNT},
]


@pytest.mark.parametrize("withheld", KEPT_BACK, ids=lambda one: "+".join(sorted(one)))
@pytest.mark.parametrize("row", [row for row in rows("attack") if row.name in ("dlm", "dlm_plus", "sme", "scale_free")], ids=str)
def test_an_attack_on_weights_runs_whatever_is_withheld(row, withheld):
    seen = sample(examples=2).observe(FedAvg(epochs=2), threat=ThreatModel("partial", SERVER.grants - withheld))
    assert (seen.update.scale is None) == (Capability.SCALE in withheld)
    found = row.algorithm.run(seen, rng=stream(0, "attack"), tick=no_tick)
    assert found.batch.x.isfinite().all()
    assert any("number of examples is not granted" in note for note in found.notes) == (Capability.COUNT in withheld)
    if Capability.COUNT not in withheld:
        assert len(found.batch) == 2
