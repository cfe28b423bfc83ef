"""Clients that train with Opacus, captured as they are."""

import warnings
from types import SimpleNamespace

import pytest
import torch
from test_captured import INPUTS, POOL, here, network  # noqa: F401
from torch.nn.functional import cross_entropy

from leakgauge import capture
from leakgauge.captured import Given, attack
from leakgauge.core.accounting import composed
from leakgauge.core.errors import UsageError

opacus = pytest.importorskip("opacus")

X, Y = POOL.x[:4], torch.arange(4)
QUICK = {"name": "inverting_gradients", "labels": "counts", "steps": 2}


def trained(steps=1, noise=0.1, clip=0.5, folder="captures", **said):
    """A capture of the last of some steps of DP-SGD."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Opacus', of its hooks and its generator
        engine = opacus.PrivacyEngine(accountant="rdp")
        net = network()
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size=4)
        net, optimizer, loader = engine.make_private(
            module=net,
            optimizer=torch.optim.SGD(net.parameters(), 0.1),
            data_loader=loader,
            noise_multiplier=noise,
            max_grad_norm=clip,
            poisson_sampling=False,
        )

        def step():
            optimizer.zero_grad()
            cross_entropy(net(X), Y).backward()
            optimizer.step()

        for _ in range(steps - 1):
            step()
        given = {"examples": 4, "learning_rate": 0.1, "local_steps": 1, "inputs": INPUTS, "truth": (X, Y)} | said
        with capture.recording(net, folder, opacus=(engine, optimizer), **given):
            step()
    return capture.read(capture.find(folder)[-1]), engine


@pytest.mark.parametrize("kind", ["weights", "gradient"])
def test_a_client_of_opacus_is_audited_as_it_is(here, kind):  # noqa: F811
    found, _ = trained(kind=kind)
    assert found.manifest.defenses == ({"name": "dp_sgd", "clip": 0.5, "noise_multiplier": 0.1},)
    assert next(iter(found.sent)).startswith("_module.")
    result = attack(found, Given(model="mynet:Net", attack=QUICK, device="cpu"))
    assert not result.record.setting.mismatch
    assert result.record.setting.defenses == ("DPSGD(clip=0.5, noise_multiplier=0.1)",)
    undefended = attack(found, Given(model="mynet:Net", attack=QUICK, defenses=(), device="cpu"))
    assert undefended.record.setting.mismatch


def test_the_ledger_of_the_accountant_is_told(here):  # noqa: F811
    found, engine = trained(steps=3, noise=1.1)
    assert [tuple(one.model_dump().values()) for one in found.manifest.privacy] == engine.accountant.history == [(1.1, 1.0, 3)]
    told = attack(found, Given(model="mynet:Net", attack=QUICK, device="cpu")).record.diagnosis
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        epsilon = engine.get_epsilon(1e-5)
    assert any(f"counts 3 steps up to here: ε = {epsilon:.3g} at δ = 1e-05" in line for line in told)


def test_a_ledger_of_several_trainings_is_composed():
    one, other = (1.0, 0.1, 10), (2.0, 0.5, 3)
    assert composed([one, other], 1e-5).epsilon > max(composed([one], 1e-5).epsilon, composed([other], 1e-5).epsilon)
    assert composed([(1.0, 0.1, 4), (1.0, 0.1, 6)], 1e-5).epsilon == pytest.approx(composed([one], 1e-5).epsilon)
    assert composed([one, (0.0, 0.1, 1)], 1e-5).epsilon == float("inf")


def test_an_optimizer_that_is_no_dp_sgd_is_refused(here):  # noqa: F811
    net = network()
    with pytest.raises(UsageError, match="expected a pair"), capture.recording(net, "captures", opacus=net):
        pass
    plain = torch.optim.SGD(net.parameters(), 0.1)
    with (
        pytest.raises(UsageError, match="got the optimizer SGD"),
        capture.recording(net, "captures", opacus=(SimpleNamespace(accountant=None), plain)),
    ):
        pass
