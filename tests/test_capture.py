import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from torch import nn
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge import capture
from leakgauge.capture.files import MANIFEST, SENT
from leakgauge.capture.manifest import made
from leakgauge.core.errors import UsageError

INPUTS = lg.Inputs((1, 6, 6), 3)


class Small(nn.Sequential):
    """A convolution, BatchNorm with its counter, and a layer of classes."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))


class Wrapped(nn.Module):
    """What DataParallel and Opacus do to names."""

    def __init__(self, module):
        super().__init__()
        self.module = nn.ModuleDict({"_module": module})

    def forward(self, x):
        return self.module["_module"](x)


def examples(n=4):
    rng = torch.Generator().manual_seed(1)
    return torch.rand(n, 1, 6, 6, generator=rng), torch.arange(n) % 3


def model_of(net):
    return lg.Model(
        net,
        {name: value.detach().clone() for name, value in net.named_parameters()},
        {name: value.detach().clone() for name, value in net.named_buffers()},
        cross_entropy,
        INPUTS,
    )


def train(net, x, y, steps=1, learning_rate=0.1):
    optimizer = torch.optim.SGD(net.parameters(), learning_rate)
    for _ in range(steps):
        optimizer.zero_grad()
        cross_entropy(net(x), y).backward()
        optimizer.step()


def recorded(folder, net, **said):
    x, y = examples()
    said = {"examples": len(x), "learning_rate": 0.1, "local_steps": 1} | said
    with capture.recording(net, folder, **said):
        train(net, x, y)
    return capture.read(capture.find(folder)[0])


def test_a_step_that_was_recorded_is_the_gradient(tmp_path):
    net = Small()
    model = model_of(net)
    x, y = examples()
    for name, value in zip(model.params, torch.autograd.grad(cross_entropy(net(x), y), list(net.parameters())), strict=True):
        model.net.get_parameter(name).grad = value
    gradient = {name: value.grad.clone() for name, value in net.named_parameters()}
    net.load_state_dict({**model.params, **model.buffers})
    found = recorded(tmp_path, net)
    update = capture.update_of(found, model)
    assert update.examples == 4
    assert update.scale == 0.1
    for name, value in gradient.items():
        torch.testing.assert_close(update.delta[name] / 0.1, value, rtol=1e-4, atol=1e-6)
    assert update.buffers["1.num_batches_tracked"] == 1
    before = capture.model_before(found, model_of(Small()))
    for name, value in {**model.params, **model.buffers}.items():
        assert torch.equal({**before.params, **before.buffers}[name], value)


def test_all_kinds_tell_the_same_update(tmp_path):
    torch.manual_seed(0)
    net = Small()
    model = model_of(net)
    x, y = examples()
    weights = recorded(tmp_path / "weights", net)
    delta = {name: value - weights.before[name] for name, value in weights.sent.items()}
    path = capture.write(
        tmp_path / "delta", made(kind="delta", examples=4, learning_rate=0.1, local_steps=1), delta, weights.before
    )
    fresh = Small()
    fresh.load_state_dict(weights.before)
    with capture.recording(fresh, tmp_path / "gradient", kind="gradient", examples=4):
        cross_entropy(fresh(x), y).backward()
    one, two, three = (
        capture.update_of(capture.read(at), model) for at in (weights.path, path, capture.find(tmp_path / "gradient")[0])
    )
    assert (one.scale, two.scale, three.scale) == (0.1, 0.1, 1.0)
    for name, value in one.delta.items():
        torch.testing.assert_close(two.delta[name], value, rtol=0, atol=1e-7)
        torch.testing.assert_close(three.delta[name] * 0.1, value, rtol=1e-3, atol=1e-7)
    for name, value in one.buffers.items():
        torch.testing.assert_close(two.buffers[name], value, msg=name)
    assert not three.buffers


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_numbers_of_any_width_are_taken(tmp_path, dtype):
    net = Small()
    model = model_of(net)
    found = recorded(tmp_path, net)
    cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in found.sent.items()}
    path = capture.write(tmp_path, found.manifest, cast, {name: value.to(cast[name]) for name, value in found.before.items()})
    update = capture.update_of(capture.read(path), model)
    assert update.delta["0.weight"].dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert update.buffers["1.num_batches_tracked"].dtype == torch.int64
    assert capture.model_before(capture.read(path), model).params["0.weight"].dtype == torch.float32


def test_names_that_wrappers_left_are_matched_and_told(tmp_path):
    torch.manual_seed(0)
    net = Small()
    model = model_of(net)
    found = recorded(tmp_path, Wrapped(net))
    assert next(iter(found.sent)).startswith("module._module.")
    update = capture.update_of(found, model)
    assert set(update.delta) == set(model.params)
    assert update.notes == ("9 names of tensors differ by what wrappers add (_module, module), and were matched.",)


def test_tied_weights_are_written_under_both_names_and_taken_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.flatten, self.two = nn.Linear(36, 36), nn.Flatten(), nn.Linear(36, 36)
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.one(self.flatten(x)))[:, :3]

    net = Tied()
    model = model_of(net)
    found = recorded(tmp_path, net)
    assert set(found.sent) == {"one.weight", "one.bias", "two.weight", "two.bias"}
    update = capture.update_of(found, model)
    assert set(update.delta) == {"one.weight", "one.bias", "two.bias"}
    assert not update.notes
    assert capture.model_before(found, model).params.keys() == model.params.keys()


def test_what_a_client_keeps_and_adds_is_told(tmp_path):
    net = Small()
    model = model_of(net)
    found = recorded(tmp_path, net)
    adapters = {name: value for name, value in found.sent.items() if name.startswith("4.")} | {"c.control": torch.zeros(2)}
    before = {name: value for name, value in found.before.items() if name.startswith("4.")}
    update = capture.update_of(capture.read(capture.write(tmp_path, found.manifest, adapters, before)), model)
    assert set(update.delta) == {"4.weight", "4.bias"}
    assert update.notes == (
        "4 of the 6 tensors that are trained were not sent, such as 0.weight.",
        "1 of the 3 tensors that were sent are none of the model's, and were left out: c.control.",
        "The capture lacks the weights of 4 of the 6 parameters before training, such as 0.weight: those that the model came with "
        "were taken.",
    )


def test_the_manifest_holds_what_was_said_as_json(tmp_path):
    node = 2**64 - 1
    x, y = examples()
    metrics = {"loss": float("nan"), "count": torch.tensor(3), "key": b"12345", 7: [1.5, object()]}
    found = recorded(
        tmp_path, Small(), client=node, round=3, run="r", metrics=metrics, truth=(x, y), inputs=INPUTS, procedure={"name": "fedsgd"}
    )
    assert found.path.name == f"round-0003-client-{node}"
    assert found.manifest.client == str(node)
    assert found.manifest.metrics == {"loss": "nan", "count": 3, "key": "5 bytes", "7": [1.5, "object"]}
    assert torch.equal(found.truth.x, x)
    assert found.manifest.inputs.shape == (1, 6, 6)
    Draft202012Validator.check_schema(capture.capture_schema())
    Draft202012Validator(capture.capture_schema()).validate(json.loads((found.path / MANIFEST).read_text()))
    assert {path.stat().st_mode & 0o077 for path in [found.path, *found.path.iterdir()]} == {0}


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "..", "a\x00b", "‮txt", "x" * 190, "CON", "\x1b[2J"])
def test_no_name_leads_out_of_the_folder(tmp_path, name):
    found = recorded(tmp_path / "in", Small(), client=name)
    assert found.path.parent == tmp_path / "in"
    assert found.path.name.isascii()
    assert found.path.name.isprintable()
    assert found.manifest.client == name
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.filterwarnings("ignore")  # torch warns of sparse and quantized tensors
@pytest.mark.parametrize(
    "made_of",
    [
        torch.Tensor.to_sparse,
        torch.Tensor.to_sparse_csr,
        lambda value: torch.quantize_per_tensor(value, 1 / 64, 0, torch.qint8),
        torch.Tensor.numpy,
        torch.Tensor.t,
        lambda value: value.clone().requires_grad_(),
    ],
)
def test_tensors_of_any_layout_are_written_dense(tmp_path, made_of):
    value = torch.tensor([[0.5, 0.0], [0.0, 0.25]])
    path = capture.write(tmp_path, made(kind="delta"), {"a": made_of(value)})
    assert torch.equal(capture.read(path).sent["a"], value)


@pytest.mark.parametrize(("value", "told"), [(torch.empty(2, device="meta"), "has no numbers"), ("text", "expected numbers")])
def test_what_holds_no_numbers_is_told(tmp_path, value, told):
    with pytest.raises(UsageError, match=told):
        capture.write(tmp_path, made(kind="delta"), {"a": value})
    assert not list(tmp_path.iterdir())


def test_nothing_is_overwritten(tmp_path):
    first = recorded(tmp_path, Small(), client="a")
    content = (first.path / SENT).read_bytes()
    for _ in range(2):
        recorded(tmp_path, Small(), client="a")
    assert [path.name for path in capture.find(tmp_path)] == ["client-a", "client-a-2", "client-a-3"]
    assert (first.path / SENT).read_bytes() == content


def test_a_block_that_raises_leaves_nothing(tmp_path):
    with pytest.raises(KeyError), capture.recording(Small(), tmp_path):
        raise KeyError
    assert not list(tmp_path.iterdir())


def test_values_that_do_not_fit_are_told_before_training(tmp_path):
    for said, told in [
        ({"examples": 0}, "capture.examples: Input should be greater than or equal to 1"),
        ({"learning_rate": float("nan")}, "capture.learning_rate: Input should be a finite number"),
        ({"round": -1}, "capture.round: Input should be greater"),
        ({"kind": "delta"}, "kind: got 'delta', expected gradient or weights"),
        ({"truth": (torch.rand(2, 1, 6, 6), torch.rand(2))}, "truth: holds x torch.float32"),
        ({"truth": torch.rand(2, 1, 6, 6)}, "truth: got Tensor, expected"),
    ]:
        with pytest.raises(UsageError, match=told), capture.recording(Small(), tmp_path, **said):
            pytest.fail("the block ran")


def test_gradients_that_are_gone_are_told(tmp_path):
    with pytest.raises(UsageError, match="holds no gradients"), capture.recording(Small(), tmp_path, kind="gradient"):
        pass
    assert not list(tmp_path.iterdir())


def spoil(found, how):
    at = found.path
    match how:
        case "no manifest":
            (at / MANIFEST).unlink()
        case "text":
            (at / MANIFEST).write_text("hello")
        case "a list":
            (at / MANIFEST).write_text("[]")
        case "another version":
            (at / MANIFEST).write_text((at / MANIFEST).read_text().replace('"version": 1', '"version": 2'))
        case "an unknown key":
            (at / MANIFEST).write_text((at / MANIFEST).read_text().replace('"version": 1', '"version": 1, "code": "x"'))
        case "deep":
            (at / MANIFEST).write_text('{"kind": "delta", "metrics": {"a": ' + "[" * 5000 + "]" * 5000 + "}}")
        case "huge":
            (at / MANIFEST).write_bytes(b" " * (2**20 + 1))
        case "no tensors":
            (at / SENT).unlink()
        case "a folder":
            (at / SENT).unlink()
            (at / SENT).mkdir()
        case "half":
            (at / SENT).write_bytes((at / SENT).read_bytes()[:-10])
        case "empty":
            (at / SENT).write_bytes(b"")
        case "a pickle":
            torch.save({"x": torch.zeros(2)}, at / SENT)
        case "absurd":
            header = json.dumps({"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}).encode()
            (at / SENT).write_bytes(len(header).to_bytes(8, "little") + header + b"1234")
        case "no tensor in it":
            (at / SENT).write_bytes((2).to_bytes(8, "little") + b"{}")


@pytest.mark.parametrize(
    "how",
    """no manifest, text, a list, another version, an unknown key, deep, huge, no tensors, a folder, half, empty, a pickle, absurd,
    no tensor in it""".replace("\n    ", " ").split(", "),
)
def test_what_is_no_capture_is_told_in_one_line(tmp_path, how):
    found = recorded(tmp_path, Small())
    spoil(found, how)
    with pytest.raises(UsageError) as told:
        capture.read(found.path)
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 1000


@pytest.mark.parametrize(
    "procedure",
    [
        {"name": "pip._internal.cli.main:main", "args": ["--version"]},
        {"name": "fedavg", "optimizer": "os:system"},
        {"name": "fedavg", "optimizer": {"name": "sgd", "learning_rate": 0.1}, "extra": [[{"a:b": 1}]]},
        {"name": "../client"},
    ],
)
def test_a_capture_names_no_code(tmp_path, procedure):
    found = recorded(tmp_path, Small())
    text = json.loads((found.path / MANIFEST).read_text()) | {"procedure": procedure}
    (found.path / MANIFEST).write_text(json.dumps(text))
    with pytest.raises(UsageError, match="names code or a file"):
        capture.read(found.path)


def test_a_shape_that_fits_into_no_memory_is_told(tmp_path):
    found = recorded(tmp_path, Small(), inputs=INPUTS)
    text = json.loads((found.path / MANIFEST).read_text())
    text["inputs"]["shape"] = [3, 10**6, 10**6]
    (found.path / MANIFEST).write_text(json.dumps(text))
    with pytest.raises(UsageError, match="expected at most 100,000,000"):
        capture.read(found.path)


def test_a_folder_without_captures_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"expected a folder with capture\.json"):
        capture.find(tmp_path)


def test_another_network_is_told(tmp_path):
    found = recorded(tmp_path, Small())
    with pytest.raises(UsageError, match="is no parameter of the model"):
        capture.update_of(found, model_of(nn.Sequential(nn.Identity(), nn.Identity(), nn.Flatten(), nn.Linear(36, 3))))
    with pytest.raises(UsageError, match="which the model does not have"):
        capture.model_before(found, model_of(nn.Sequential(nn.Identity(), nn.Identity(), nn.Flatten(), nn.Linear(36, 3))))
    with pytest.raises(UsageError, match="has shape"):
        capture.model_before(found, model_of(nn.Sequential(*list(Small())[:4], nn.Linear(64, 5))))


def test_numbers_that_are_none_are_told(tmp_path):
    model = model_of(Small())
    sent = {name: value > 0 for name, value in model.params.items()}
    path = capture.write(tmp_path, made(kind="delta"), sent)
    with pytest.raises(UsageError, match=r"holds torch\.bool, expected floating numbers"):
        capture.update_of(capture.read(path), model)


def test_weights_without_those_before_are_told(tmp_path):
    net = Small()
    model = model_of(net)
    path = capture.write(tmp_path, made(kind="weights"), recorded(tmp_path, net).sent)
    with pytest.raises(UsageError, match=r"record the weights that training started from"):
        capture.update_of(capture.read(path), model)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_reader_survives_any_bytes(tmp_path, data):
    """The long run of the same is in benchmarks."""
    at = tmp_path / "fuzzed"
    if not at.exists():
        recorded(tmp_path / "source", Small()).path.rename(at)
        (tmp_path / "kept").mkdir()
        for path in at.iterdir():
            (tmp_path / "kept" / path.name).write_bytes(path.read_bytes())
    name = data.draw(st.sampled_from(sorted(path.name for path in (tmp_path / "kept").iterdir())))
    content = bytearray((tmp_path / "kept" / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content) - 1, 700)))
        content[place : place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
        if not content:
            break
    (at / name).write_bytes(bytes(content))
    told = ""
    try:
        capture.read(at)
    except UsageError as error:
        told = str(error)
    (at / name).write_bytes((tmp_path / "kept" / name).read_bytes())
    assert "\n" not in told
