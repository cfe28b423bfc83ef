"""Weights as people keep them: networks, state dicts, arrays, checkpoints, files; and names as wrappers change them."""

import copy
import pickle
from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

import leakgauge as lg
from leakgauge.core.errors import UsageError
from leakgauge.core.snapshots import snapshot
from leakgauge.core.wrappers import unwrapped


class Touching:
    """Writes a file where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def network(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))


def trained(net):
    after = copy.deepcopy(net)
    with torch.no_grad():
        for value in after.parameters():
            value += 0.5
    return after


def stored(net, path):
    save_file(net.state_dict(), path)
    return path


def saved(content, path):
    torch.save(content, path)
    return path


def archived(net, path):
    np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    return path


FORMS = {
    "state dict": lambda net, _: net.state_dict(),
    "network": lambda net, _: net,
    "arrays": lambda net, _: {name: value.numpy() for name, value in net.state_dict().items()},
    "arrays in order": lambda net, _: [value.numpy() for value in net.state_dict().values()],
    "Lightning": lambda net, _: {
        "epoch": 3,
        "state_dict": net.state_dict(),
        "optimizer_states": [],
        "hyper_parameters": {"lr": 0.1},
    },
    "training script": lambda net, _: {"model_state_dict": net.state_dict(), "optimizer_state_dict": {"state": {}}, "loss": 0.1},
    "whole network in a checkpoint": lambda net, _: {"model": net, "epoch": 3},
    "safetensors": lambda net, folder: stored(net, folder / "net.safetensors"),
    "safetensors, path as text": lambda net, folder: str(stored(net, folder / "net.safetensors")),
    "torch file": lambda net, folder: saved(net.state_dict(), folder / "net.pt"),
    "torch checkpoint": lambda net, folder: saved({"state_dict": net.state_dict(), "epoch": 3}, folder / "net.ckpt"),
    "npz": lambda net, folder: archived(net, folder / "net.npz"),
    "DataParallel": lambda net, _: {f"module.{name}": value for name, value in net.state_dict().items()},
    "compiled in DataParallel": lambda net, _: {f"module._orig_mod.{name}": value for name, value in net.state_dict().items()},
    "Opacus, compiled": lambda net, _: {f"_orig_mod._module.{name}": value for name, value in net.state_dict().items()},
    "layers compiled": lambda net, _: {
        f"{name.split('.')[0]}._orig_mod.{name.split('.')[1]}": value for name, value in net.state_dict().items()
    },
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("whose", ["before", "after", "both"])
def test_weights_are_taken_as_people_keep_them(form, whose, tmp_path):
    net = network()
    after = trained(net)
    (tmp_path / "after").mkdir()
    expected = lg.update_between(net.state_dict(), after.state_dict(), model=net)
    one = net if whose == "after" else FORMS[form](net, tmp_path)
    other = after if whose == "before" else FORMS[form](after, tmp_path / "after")
    found = lg.update_between(one, other, model=net)
    assert list(found.delta) == list(expected.delta)
    assert all(torch.equal(found.delta[name], value) for name, value in expected.delta.items())
    assert found.buffers.keys() == expected.buffers.keys()


def test_without_a_model_names_are_those_of_before():
    net = network()
    wrapped = {f"module.{name}": value for name, value in trained(net).state_dict().items()}
    assert lg.update_between(net, wrapped).delta.keys() == lg.update_between(net, trained(net)).delta.keys()
    assert set(lg.update_between(wrapped, net).delta) == {f"module.{name}" for name, _ in net.named_parameters()}


def test_an_update_under_a_wrappers_names_is_audited_as_that_of_the_network():
    net = network()
    x, y = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([1])
    net.eval()
    net.zero_grad()
    nn.functional.cross_entropy(net(x), y).backward()
    plain = {name: value.grad for name, value in net.named_parameters()}
    wrapped = {f"_module.{name}": value for name, value in plain.items()}
    attack = {"name": "dlg", "search": {"name": "lbfgs", "steps": 2}}
    first, second = (lg.audit(model=net, batch=(x, y), update=lg.Update(one, 1), attack=attack) for one in (plain, wrapped))
    assert torch.equal(first.reconstruction, second.reconstruction)
    assert second.record.diagnosis[0] == "6 names of tensors differ by what wrappers add (_module), and were matched."
    assert not any("wrappers" in told for told in first.record.diagnosis)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"a": {"x": torch.ones(1)}, "b": {"x": torch.ones(1)}}, "holds a, b, and no tensors, expected the weights of a network"),
        ({"epoch": 3}, "holds epoch, and no tensors"),
        ({"weight": torch.ones(1), "epoch": 3}, "'epoch' is int, expected a tensor; drop it, or convert it"),
        ({"weight": np.array(["a"])}, "'weight' holds <U1, expected numbers"),
        ({"weight": np.array([None])}, "'weight' holds object, expected numbers"),
        ([np.ones(1)], "holds 1 arrays without names, expected a mapping from names; pass `model`, or names"),
        (b"weights", "got bytes, expected a mapping from names to tensors"),
        ("weights.pt", "got 'weights.pt', expected a file that exists; check the path"),
        (3, "got int, expected a mapping from names to tensors"),
    ],
)
def test_what_is_no_snapshot_is_refused_with_the_way_out(content, told):
    with pytest.raises(UsageError) as caught:
        snapshot("before", content)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_arrays_in_another_number_than_the_model_has_are_told():
    net = network()
    with pytest.raises(UsageError, match=r"before: holds 1 arrays, expected 9, one for each tensor of the model's state dict"):
        lg.update_between([np.ones(1)], net, model=net)


@pytest.mark.parametrize("name", ["net.pt", "net.bin", "net"])
def test_what_a_file_would_run_is_not_run(name, tmp_path):
    touched = tmp_path / "touched"
    saved({"weight": torch.ones(1), "more": Touching(touched)}, tmp_path / name)
    with pytest.raises(UsageError, match="holds more than tensors, and code that a file brings along is not run"):
        snapshot("before", tmp_path / name)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Touching(touched)))
    with pytest.raises(UsageError):
        snapshot("before", tmp_path / "plain.pkl")
    np.savez(tmp_path / "plain.npz", weight=np.array([Touching(touched)], dtype=object))
    with pytest.raises(UsageError):
        snapshot("before", tmp_path / "plain.npz")
    assert not touched.exists()


@given(content=st.binary(max_size=200), suffix=st.sampled_from([".pt", ".safetensors", ".npz", ""]))
def test_files_that_are_no_snapshot_end_in_one_line(content, suffix, tmp_path_factory):
    path = tmp_path_factory.mktemp("snapshots") / f"net{suffix}"
    path.write_bytes(content)
    with pytest.raises(UsageError) as caught:
        snapshot("before", path)
    assert "\n" not in str(caught.value)


NAMES = st.lists(
    st.lists(st.sampled_from(["conv", "0", "weight", "layer1"]), min_size=1, max_size=3).map(".".join), min_size=1, unique=True
)
WRAPPERS = ["module", "_orig_mod", "_module"]


@given(names=NAMES, wrappers=st.lists(st.sampled_from(WRAPPERS), max_size=4))
def test_any_number_of_wrappers_is_undone(names, wrappers):
    given_names = [".".join([*wrappers, name]) for name in names]
    found = unwrapped(given_names, names)
    assert list(found(dict.fromkeys(given_names))) == names
    assert bool(found.notes) == bool(wrappers)
    back = unwrapped(names, given_names)  # the network itself may be the one that is wrapped
    assert list(back(dict.fromkeys(names))) == given_names


def test_wrappers_are_undone_in_any_order():
    for order in permutations(WRAPPERS):
        assert unwrapped([f"{'.'.join(order)}.weight"], ["weight"])({f"{'.'.join(order)}.weight": 1}) == {"weight": 1}


def test_what_a_network_calls_module_itself_stays():
    assert not unwrapped(["module.weight"], ["module.weight", "weight"]).names
    assert not unwrapped(["_orig_mod.weight"], ["module.weight", "weight"]).names, "which of the two it is nobody can tell"
    assert not unwrapped(["modules.weight"], ["weight"]).names


def test_two_names_that_would_become_one_are_told():
    with pytest.raises(UsageError, match=r"'module.weight' and 'weight' are both 'weight' of the model"):
        unwrapped(["weight", "module.weight"], ["weight"])
