"""The notebook's door: live objects in, a result that shows itself out, and one line for whatever does not fit."""

import subprocess
import sys

import pytest
import torch
from table import FLAT
from torch import nn

import leakgauge as lg
from leakgauge.attacks.analytic import Analytic
from leakgauge.clients.fedsgd import FedSGD
from leakgauge.core.capabilities import SERVER
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.data.photographs import Photographs
from leakgauge.defenses.clipping import Clipping
from leakgauge.results.store import Store
from leakgauge.testing import sample, undisturbed

POOL = Photographs(size=8).load()
SECRET = POOL.x[:1], POOL.y[:1]
OTHERS = POOL.x[10:], POOL.y[10:]


def network(seed=0):
    """An ordinary module, trained by whoever uses this package."""
    with torch.random.fork_rng():
        net = nn.Sequential(nn.Flatten(), nn.Linear(192, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 10))
    rng = stream(seed, "net")
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(0.2 * torch.randn(value.shape, generator=rng))
    return net


def audit(**changes):
    return lg.audit(**{"model": network(), "batch": SECRET, "attack": "analytic", "device": "cpu", **changes})


def test_a_network_and_a_batch_are_enough():
    result = audit()
    assert result.verdict.outcome == "leaks"
    assert str(result) == f"leaks: {result.verdict.reason}"
    assert torch.equal(result.truth, SECRET[0])
    torch.testing.assert_close(result.reconstruction, SECRET[0], atol=1e-3, rtol=0)
    assert result.record.setting.threat == "informed"
    assert result.record.setting.classes == 10
    assert result.record.setting.candidates is None
    assert result.record.spec == {}


def test_other_data_gives_floors_and_ranks():
    result = audit(public=OTHERS, class_names=POOL.class_names)
    assert list(result.record.trials) == ["attack", "floor", "blind", "positive control"]
    assert result.record.trials["attack"].ranks == (1,)
    assert result.record.setting.class_names == ("astronaut",)


@pytest.mark.parametrize("mode", [True, False], ids=["training", "evaluation"])
def test_neither_the_network_nor_the_data_are_changed(mode):
    net = network().train(mode)
    with undisturbed("audit", net, SECRET, OTHERS):
        audit(model=net, public=OTHERS, attack={"name": "inverting_gradients", "steps": 2}, client={"name": "fedavg", "epochs": 2})
    assert all(module.training is mode for module in net.modules())
    assert all(value.grad is None for value in net.parameters())


def test_objects_and_configs_are_one():
    by_name = audit(client="fedsgd", defenses=["clipping"], threat="server", attack={"name": "analytic"}, control="analytic")
    by_object = audit(client=FedSGD(), defenses=[Clipping()], threat=SERVER, attack=Analytic(), control=Analytic())
    assert by_name.record.key == by_object.record.key
    assert by_name.record.trials["attack"].scores == by_object.record.trials["attack"].scores


def test_the_key_is_that_of_what_was_found():
    keys = [audit().record.key, audit(seed=1).record.key, audit(model=network(1)).record.key, audit(threat="server").record.key]
    assert len(set(keys)) == 4
    assert audit().record.key == keys[0]
    assert len(keys[0]) == 16


def test_a_batch_may_be_a_batch_and_a_model_a_model():
    case = sample(FLAT, examples=1)
    result = lg.audit(model=case.model, batch=case.batch, attack="analytic", public=case.public, device="cpu")
    assert result.verdict.outcome == "leaks"


def test_inputs_say_how_the_network_sees_pixels():
    inputs = lg.Inputs((3, 8, 8), 10, mean=(0.4, 0.5, 0.6), std=(0.2, 0.2, 0.3))
    result = audit(inputs=inputs)
    assert result.record.trials["attack"].scores["psnr"][0] > 60


def test_a_loss_of_ones_own():
    weights = torch.rand(10, generator=stream(0)) + 0.5
    result = audit(loss=nn.CrossEntropyLoss(weight=weights, reduction="sum"))
    assert result.verdict.outcome == "leaks"


def test_the_criteria_are_the_users():
    strict = audit(criteria=lg.Criteria(threshold=200.0))
    assert strict.verdict.outcome == "partial leak"  # nothing reaches 200 dB, and no chance comes as near
    assert strict.record.setting.threshold == 200.0


def test_a_result_shows_itself_in_a_notebook():
    page = audit(public=OTHERS)._repr_html_()
    assert "data:image/png;base64," in page
    assert "leaks" in page.lower()
    assert "http" not in page


def test_a_result_can_be_saved_and_read_again(tmp_path):
    result = audit(public=OTHERS)
    report = result.save(tmp_path / "results")
    assert report.is_file()
    assert report.suffix == ".html"
    store = Store(tmp_path / "results")
    assert [record.key for record in store.records()] == [result.record.key]
    assert next(iter(store.records())) == result.record
    result.save(tmp_path / "results")
    assert len(list(store.records())) == 1


# What does not fit

X, Y = SECRET


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"batch": ((X * 255).byte(), Y)},
            "batch: got examples of torch.uint8, expected a floating tensor with pixels in [0, 1]; divide",
        ),
        ({"batch": (X.numpy(), Y)}, "batch: got examples of ndarray, expected a floating tensor"),
        ({"batch": (X, Y.numpy())}, "batch: got labels of ndarray, expected"),
        ({"batch": (X, [0])}, "batch: got labels of list, expected"),
        ({"batch": X}, "batch: got Tensor, expected a Batch or a pair"),
        ({"batch": (X, Y, Y)}, "batch: got 3 entries, expected"),
        ({"batch": (X[:0], Y[:0])}, "batch: got 0 examples and 0 labels, expected as many of both, at least one"),
        ({"batch": (X, torch.tensor([0, 1]))}, "batch: got 1 examples and 2 labels"),
        ({"batch": (X * torch.nan, Y)}, "batch: holds nan or infinity, expected finite pixels; clean the data"),
        ({"batch": (X, Y.float())}, "batch: got labels torch.float32 (1,), expected classes as integers [n]; take argmax"),
        ({"batch": (X, torch.tensor([10]))}, "batch: got the label 10, expected 0 to 9, one for each output of the model"),
        ({"batch": (X, torch.tensor([-1]))}, "batch: got the label -1, expected 0 to 9"),
        ({"batch": (X * 2 - 1, Y)}, "expected 0 to 1; pass pixels, and mean and std in `inputs`"),
        ({"batch": (X[:, :, :7], Y)}, "batch: the model cannot take examples of shape (3, 7, 8) ("),
        (
            {"batch": (X[:, :, :7], Y), "inputs": lg.Inputs((3, 8, 8), 10)},
            "batch: got examples of shape (3, 7, 8), expected (3, 8, 8), as the model takes; resize",
        ),
        ({"public": (X[:, :, :7], Y)}, "public: got examples of shape (3, 7, 8), expected (3, 8, 8)"),
        ({"public": (X * torch.inf, Y)}, "public: holds nan or infinity"),
        ({"model": nn.Conv2d(3, 2, 3)}, "model: gives outputs (1, 2, 6, 6) for one example, expected [1, classes]; wrap it"),
        ({"inputs": lg.Inputs((3, 8, 8), 7)}, "inputs: got 7 classes, but the model gives 10"),
        ({"class_names": ("cat",)}, "class_names: got 1, expected 10"),
        ({"attack": "analitic"}, "attack: no attack is called 'analitic', did you mean 'analytic'?"),
        (
            {"attack": {"name": "dlg", "restart": 2}},
            "attack.restart: got 2, but attack 'dlg' has no such setting; did you mean 'restarts'?",
        ),
        ({"attack": {"name": "dlg", "restarts": 0}}, "attack.restarts: got 0, expected a number >= 1"),
        ({"client": "fedsdg"}, "client: no client is called 'fedsdg', did you mean 'fedsgd'?"),
        ({"defenses": ["cliping"]}, "no defense is called 'cliping', did you mean 'clipping'?"),
        ({"defenses": "clipping"}, "defenses: got 'clipping', expected a list"),
        ({"threat": "sever"}, "threat: got 'sever', did you mean 'server'?"),
        (
            {"threat": "eavesdropper", "attack": "dlg"},
            "threat: 'eavesdropper' does not grant procedure, which the attack Matching needs; choose server or informed",
        ),
        ({"device": "cuda:99"}, "device: got 'cuda:99' ("),
        ({"device": "toaster"}, "device: got 'toaster' ("),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(changes, told):
    with pytest.raises(UsageError) as caught:
        audit(**changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


# Names


def test_exported_names_are_sorted_and_there():
    assert lg.__all__ == sorted(lg.__all__)
    assert dir(lg) == lg.__all__
    for name in lg.__all__:
        assert getattr(lg, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'leakgauge' has no attribute 'audti'"):
        _ = lg.audti


def test_the_names_that_type_checkers_see_are_those_that_are_exported():
    import ast
    from pathlib import Path

    source = ast.parse(Path(lg.__file__).read_text())
    guard = next(node for node in source.body if isinstance(node, ast.If))
    assert sorted(alias.asname for node in guard.body for alias in node.names) == lg.__all__
    homes = {alias.name: node.module.removeprefix("leakgauge.") for node in guard.body for alias in node.names}
    assert homes == lg._HOMES


def test_importing_the_package_is_quick():
    code = "import sys, leakgauge; print([name for name in ('torch', 'numpy', 'scipy', 'pydantic') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, check=True)
    assert done.stdout.strip() == "[]"
