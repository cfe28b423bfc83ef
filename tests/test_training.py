import logging
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from leakgauge.auditing.training import Training, cached, train
from leakgauge.core.autodiff import loss_gradient
from leakgauge.core.errors import UsageError
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs, Model
from leakgauge.victims.mlp import MLP

KEY = "0" * 64


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LEAKGAUGE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    with torch.no_grad():
        for value in net.parameters():
            value.copy_(torch.randn(value.shape, generator=stream(0, value.numel())) * 0.2)
    params = {name: value.detach() for name, value in net.named_parameters()}
    return Model(net, params, dict(net.named_buffers()), cross_entropy, Inputs((1, 6, 6), 2, mean=(0.5,), std=(0.25,)))


@pytest.fixture
def data():
    y = torch.arange(21) % 2
    x = torch.rand(21, 1, 6, 6, generator=stream(1))
    x[:, :, :3] = (x[:, :, :3] + y.reshape(-1, 1, 1, 1)) / 2  # the upper half tells the class
    return Batch(x, y)


def assert_same(one, other):
    for kind in ("params", "buffers"):
        left, right = getattr(one, kind), getattr(other, kind)
        assert list(left) == list(right)
        assert all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.parametrize(
    "training",
    [
        Training(steps=7, batch_size=5),
        Training(steps=3, batch_size=100, learning_rate=0.2, momentum=0.0),
        Training(steps=4, batch_size=8, weight_decay=0.1),
    ],
    ids=repr,
)
def test_it_is_torch_sgd_with_batchnorm_in_training_mode(model, data, training):
    trained = train(model, data, training, rng=stream(2))

    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2))
    net.load_state_dict({**model.params, **model.buffers})
    settings = {"lr": training.learning_rate, "momentum": training.momentum, "weight_decay": training.weight_decay}
    optimizer = torch.optim.SGD(net.parameters(), **settings)
    rng = stream(2)
    size, order = min(training.batch_size, len(data)), []
    for _ in range(training.steps):
        if len(order) < size:
            order = torch.randperm(len(data), generator=rng).tolist()
        rows, order = order[:size], order[size:]
        optimizer.zero_grad()
        cross_entropy(net((data.x[rows] - 0.5) / 0.25), data.y[rows]).backward()
        optimizer.step()

    torch.testing.assert_close(trained.params, {name: value.detach() for name, value in net.named_parameters()})
    torch.testing.assert_close(trained.buffers, dict(net.named_buffers()))


def test_training_learns(model, data):
    def accuracy(candidate):
        return (candidate.logits(data.x).argmax(1) == data.y).float().mean()

    trained = train(model, data, Training(steps=40, batch_size=16), rng=stream(0))
    assert accuracy(trained) > max(0.9, accuracy(model))


def test_the_same_stream_gives_the_same_bits_and_nothing_is_mutated(model, data):
    before = replace(
        model, params={k: v.clone() for k, v in model.params.items()}, buffers={k: v.clone() for k, v in model.buffers.items()}
    )
    state = torch.random.get_rng_state()
    training = Training(steps=5, batch_size=4)
    first = train(model, data, training, rng=stream(0))
    assert_same(first, train(model, data, training, rng=stream(0)))
    assert_same(model, before)
    assert torch.equal(state, torch.random.get_rng_state())
    other = train(model, data, training, rng=stream(1))
    assert not torch.equal(first.params["4.weight"], other.params["4.weight"])
    assert not any(value.requires_grad for value in first.params.values())


def test_no_steps_change_nothing_but_share_nothing(model, data):
    trained = train(model, data, Training(), rng=stream(0))
    assert_same(trained, model)
    assert trained.params["4.weight"].data_ptr() != model.params["4.weight"].data_ptr()


def test_each_epoch_sees_each_example_once(model):
    seen = []

    def loss(outputs, y):
        seen.append(y.tolist())
        return outputs.sum()

    linear = nn.Linear(1, 1)
    probe = replace(model, net=linear, params=dict(linear.named_parameters()), buffers={}, loss=loss, inputs=Inputs((1,), 1))
    train(probe, Batch(torch.zeros(7, 1), torch.arange(7)), Training(steps=6, batch_size=2), rng=stream(0))
    assert [len(part) for part in seen] == [2] * 6  # the seventh is left out of an epoch of three steps
    for epoch in (seen[:3], seen[3:]):
        assert len({label for part in epoch for label in part}) == 6
    assert seen[:3] != seen[3:]


def test_progress_is_told(model, data):
    told = []
    train(model, data, Training(steps=4), rng=stream(0), tick=told.append)
    assert told == [0.25, 0.5, 0.75, 1.0]


def test_divergence_names_the_learning_rate(model, data):
    linear = nn.Sequential(nn.Flatten(), nn.Linear(36, 36), nn.Linear(36, 2))
    params = {name: value.detach() for name, value in linear.named_parameters()}
    deep = replace(model, net=linear, params=params, buffers={})
    with pytest.raises(UsageError, match=r"training.learning_rate: got 1e\+20, which diverged at step \d of 9.*lower it") as caught:
        train(deep, data, Training(steps=9, learning_rate=1e20), rng=stream(0))
    assert "\n" not in str(caught.value)


def test_misuse(model, data):
    with pytest.raises(UsageError, match="training: got no example"):
        train(model, data[:0], Training(steps=1), rng=stream(0))
    with pytest.raises(UsageError, match=r"Training\.steps: got -1"):
        Training(steps=-1)


class Build:
    def __init__(self, model):
        self.model, self.calls = model, 0

    def __call__(self):
        self.calls += 1
        return self.model


@pytest.fixture
def trained(model, data):
    return train(model, data, Training(steps=2), rng=stream(0))


def test_what_was_built_once_is_read_back(model, trained, cache, caplog):
    build = Build(trained)
    assert_same(cached(KEY, model, build), trained)
    again = cached(KEY, model, build)
    assert build.calls == 1
    assert_same(again, trained)
    assert (again.net, again.loss, again.inputs) == (model.net, model.loss, model.inputs)
    assert [path.name for path in cache.iterdir()] == [f"{KEY}.safetensors"]
    assert not caplog.records
    loss_gradient(again, Batch(torch.rand(2, 1, 6, 6), torch.tensor([0, 1])))


def test_another_key_is_another_checkpoint(model, trained):
    cached(KEY, model, Build(trained))
    build = Build(model)
    assert_same(cached("1" * 64, model, build), model)
    assert build.calls == 1


@pytest.mark.parametrize("damage", [b"", b"nonsense", None], ids=["empty", "nonsense", "half"])
def test_a_damaged_checkpoint_is_built_anew(model, trained, cache, caplog, damage):
    cached(KEY, model, Build(trained))
    path = cache / f"{KEY}.safetensors"
    path.write_bytes(path.read_bytes()[:-9] if damage is None else damage)
    build = Build(trained)
    assert_same(cached(KEY, model, build), trained)
    assert build.calls == 1
    assert "cannot be read and is built anew" in caplog.text
    cached(KEY, model, build)
    assert build.calls == 1


@pytest.mark.parametrize("change", ["names", "shapes", "types"])
def test_the_checkpoint_of_another_model_is_not_taken(model, trained, caplog, change):
    other = {
        "names": {"weight": torch.zeros(2)},
        "shapes": {**trained.params, "4.bias": torch.zeros(3)},
        "types": {**trained.params, "4.bias": torch.zeros(2).double()},
    }[change]
    cached(KEY, replace(trained, params=other), Build(replace(trained, params=other)))
    build = Build(trained)
    assert_same(cached(KEY, model, build), trained)
    assert build.calls == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_folder_that_cannot_be_written_is_no_failure(model, trained, monkeypatch, tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("LEAKGAUGE_CACHE", str(tmp_path / "file" / "cache"))
    build = Build(trained)
    assert_same(cached(KEY, model, build), trained)
    assert_same(cached(KEY, model, build), trained)
    assert build.calls == 2
    assert "cannot be stored" in caplog.text


def test_an_interrupted_write_leaves_no_checkpoint(model, trained, monkeypatch, cache, caplog):
    def fail(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr("leakgauge.auditing.training.save_file", fail)
    assert_same(cached(KEY, model, Build(trained)), trained)
    assert list(cache.iterdir()) == []
    assert "no space left" in caplog.text


@pytest.mark.parametrize(
    ("settings", "folder"),
    [
        ({"LEAKGAUGE_CACHE": "own"}, "own"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/leakgauge"),
        ({"LEAKGAUGE_CACHE": "own", "XDG_CACHE_HOME": "xdg"}, "own"),
        ({}, "home/.cache/leakgauge"),
    ],
)
def test_where_the_cache_lies(model, monkeypatch, tmp_path, settings, folder):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("LEAKGAUGE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    cached(KEY, model, Build(model))
    assert (tmp_path / folder / f"{KEY}.safetensors").is_file()


def tiny():
    data = Batch(torch.rand(9, 1, 4, 4, generator=stream(0)), torch.arange(9) % 3)
    fresh = MLP().build(Inputs((1, 4, 4), 3), rng=stream(1))
    return fresh, train(fresh, data, Training(steps=5, batch_size=4), rng=stream(2))


def test_another_process_trains_to_the_same_bits():
    code = (
        f"import runpy; there = runpy.run_path({__file__!r}); _, model = there['tiny']()\n"
        "there['cached'](there['KEY'], model, lambda: model)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    fresh, here = tiny()
    build = Build(fresh)
    assert_same(cached(KEY, fresh, build), here)
    assert build.calls == 0
