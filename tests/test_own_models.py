"""Models of one's own, named in a file: code beside it, weights from a file, no pickle."""

import importlib
import json
import shutil
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge.auditing.fidelity import mismatch
from leakgauge.capture import read, write
from leakgauge.capture.manifest import made as manifest
from leakgauge.captured import Given
from leakgauge.captured import attack as captured_attack
from leakgauge.core.errors import MissingExtra, UsageError
from leakgauge.core.registry import look_in
from leakgauge.core.rng import stream
from leakgauge.core.types import Batch, Inputs
from leakgauge.data.photographs import Photographs
from leakgauge.spec import canonical, key, load, loads, parse, prepare
from leakgauge.victims.module import Module
from leakgauge.victims.sources import normalization

INPUTS = lg.Inputs((3, 8, 8), 10, mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
CODE = """
import torch
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, num_classes))

class Fixed(Net):
    def __init__(self, num_classes=7):
        super().__init__(num_classes)

def half():
    return Net(10).half()

def needy(depth):
    return Net(10)

def failing():
    raise KeyError("no such\\nthing")

def nothing():
    return None

net = Net(10)
number = 3
"""


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder with code of somebody's own, on no path."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "ownnet.py").write_text(CODE)
    yield tmp_path
    sys.modules.pop("ownnet", None)


def built(where, name, **settings):
    look_in(where)
    return Module(module=f"ownnet:{name}", **settings).build(INPUTS, rng=stream(1))


def test_a_class_a_function_and_a_network_are_taken(code):
    net, fixed, half, made = (built(code, name) for name in ("Net", "Fixed", "half", "net"))
    assert net.logits(torch.rand(2, 3, 8, 8)).shape == (2, 10)
    assert fixed.logits(torch.rand(2, 3, 8, 8)).shape == (2, 7)  # what has a default of its own keeps it
    assert half.params["0.weight"].dtype == torch.float32
    assert made.inputs == INPUTS


def test_fresh_weights_come_from_the_seed_alone(code):
    state = torch.get_rng_state()
    one, two = built(code, "Net"), built(code, "Net")
    other = Module(module="ownnet:Net").build(INPUTS, rng=stream(2))
    assert torch.equal(one.params["0.weight"], two.params["0.weight"])
    assert not torch.equal(one.params["0.weight"], other.params["0.weight"])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_come_from_a_file(code, suffix):
    trained = built(code, "Net")
    weights = {f"module.{name}": value + 1 for name, value in {**trained.params, **trained.buffers}.items()}
    path = code / f"weights.{suffix}"
    save_file(weights, path) if suffix == "safetensors" else torch.save({"model": weights, "epoch": 3}, path)
    model = built(code, "Net", weights=str(path))
    for name, value in trained.params.items():
        assert torch.equal(model.params[name], value + 1)
    assert torch.equal(model.buffers["1.running_var"], trained.buffers["1.running_var"] + 1)


def test_normalization_belongs_to_the_model(code):
    x = torch.rand(2, 3, 8, 8)
    own = built(code, "net", mean=(0.5,), std=(0.25,))
    data = built(code, "net")
    torch.testing.assert_close(own.logits(x), own.net((x - 0.5) / 0.25))
    torch.testing.assert_close(data.logits(x), data.net(INPUTS.normalize(x)))


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("ownnet", "expected module:function"),
        ("ownnet:Nett", r"cannot be imported \(AttributeError"),
        ("nowhere_to_be_found:Net", r"cannot be imported \(ModuleNotFoundError"),
        ("ownnet:needy", "let it take no arguments"),
        ("ownnet:failing", r"raised KeyError \('no such\\nthing'\)"),
        ("ownnet:nothing", "gives NoneType, expected a torch.nn.Module"),
        ("ownnet:number", "is of type int"),
        ("model.pt2", "which torch would unpickle"),
        ("model.pth", "which torch would unpickle"),
        ("hf:not/there", "expected the folder of a model"),
    ],
)
def test_what_makes_no_network_is_told(code, source, told):
    look_in(code)
    with pytest.raises(UsageError, match=told) as error:
        Module(module=source).build(INPUTS, rng=stream(0))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda weights: weights.pop("4.bias"), r"module\.weights: lacks '4\.bias'"),
        (lambda weights: weights.update(extra=torch.zeros(1)), "holds 'extra', which the model does not have"),
        (lambda weights: weights.update({"4.bias": torch.zeros(3)}), r"'4\.bias' has shape \(3,\), expected \(10,\)"),
    ],
)
def test_weights_of_another_network_are_told(code, change, told):
    trained = built(code, "Net")
    weights = dict(trained.params)
    change(weights)
    save_file(weights, code / "weights.safetensors")
    with pytest.raises(UsageError, match=told):
        built(code, "Net", weights=str(code / "weights.safetensors"))


def test_a_pickle_is_never_loaded(code):
    torch.save(built(code, "net").net, code / "whole.pt")
    with pytest.raises(UsageError, match="code that a file brings along is not run"):
        built(code, "Net", weights=str(code / "whole.pt"))


@pytest.mark.parametrize("library", ["torchvision", "timm", "transformers"])
def test_a_library_that_is_missing_is_named_with_its_extra(code, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.setitem(sys.modules, f"{library}.models", None)
    source = {"torchvision": "torchvision:resnet18", "timm": "timm:resnet18", "transformers": f"hf:{code}"}[library]
    with pytest.raises(MissingExtra, match=rf"leakgauge\[{library}\]"):
        Module(module=source).build(INPUTS, rng=stream(0))


def test_an_audit_file_finds_the_code_beside_it(code):
    trained = built(code, "Net")
    save_file({**trained.params, **trained.buffers}, code / "weights.safetensors")
    sys.path.remove(str(code))
    importlib.invalidate_caches()
    victim = {"module": "ownnet:Net", "weights": str(code / "weights.safetensors")}
    document = {"data": {"name": "photographs", "size": 8}, "batch": {"size": 1}, "victim": victim, "attack": "analytic"}
    (code / "audit.yaml").write_text(yaml.safe_dump(document))
    spec = load(code / "audit.yaml")
    assert canonical(spec)["victim"]["name"] == "module"
    assert key(spec) == key(loads(yaml.safe_dump({**document, "victim": {"name": "module", **victim}})))
    model = spec.parts.victim.build(INPUTS, rng=stream(0))
    assert torch.equal(model.params["4.weight"], trained.params["4.weight"])


def test_a_model_of_ones_own_is_taken_as_it_is(code):
    (code / "ownmodel.py").write_text(
        "import leakgauge as lg\nfrom ownnet import net\n"
        "from torch.nn.functional import cross_entropy\n"
        "def model():\n"
        "    params = {n: v.detach() for n, v in net.named_parameters()}\n"
        "    buffers = dict(net.named_buffers())\n"
        "    return lg.Model(net, params, buffers, lambda a, y: 2 * cross_entropy(a, y), lg.Inputs((3, 8, 8), 10))\n"
    )
    look_in(code)
    model = Module(module="ownmodel:model").build(INPUTS, rng=stream(0))
    sys.modules.pop("ownmodel")
    logits, y = torch.rand(2, 10), torch.tensor([1, 2])
    torch.testing.assert_close(model.loss_of(logits, y), 2 * cross_entropy(logits, y))


def document_of(code, **changes):
    """The audit of one step on a photograph, as a file: what was sent stands in two files."""
    pool = Photographs(size=8).load()
    look_in(code)
    trained = Module(module="ownnet:Net").build(pool.inputs, rng=stream(1))
    data, x, y = {"name": "photographs", "size": 8}, pool.x[:1], pool.y[:1]
    before = {**trained.params, **trained.buffers}
    values = torch.autograd.grad(
        trained.loss_of(
            trained.forward({n: v.requires_grad_() for n, v in trained.params.items()}, trained.buffers, x, training=False), y
        ),
        list(trained.params.values()),
    )
    after = {name: value.detach() - 0.1 * step for (name, value), step in zip(trained.params.items(), values, strict=True)}
    save_file({name: value.detach().clone() for name, value in before.items()}, code / "before.safetensors")
    torch.save({f"module.{name}": value for name, value in {**after, **trained.buffers}.items()}, code / "after.pt")
    update = {"before": str(code / "before.safetensors"), "after": str(code / "after.pt")}
    client = {"name": "fedavg", "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    whole = {"data": data, "batch": {"indices": [0]}, "victim": {"module": "ownnet:Net"}, "client": client, "update": update}
    return {**whole, "threat": "server", "attack": "idlg", "controls": [], **changes}


def test_an_audit_file_takes_an_update_that_was_sent(code):
    spec = parse(document_of(code))
    scene, plan = prepare(spec, "cpu")
    assert not mismatch(scene.update, scene.model, scene.secret, client=plan.client, defenses=(), seed=0)
    assert scene.update.examples == 1
    assert scene.update.notes == ("9 names of tensors differ by what wrappers add (module), and were matched.",)
    assert torch.equal(scene.model.params["4.bias"], load_file(code / "before.safetensors")["4.bias"])


def test_without_an_update_a_file_keeps_its_key():
    document = {"data": "photographs", "batch": {"size": 1}, "victim": "lenet", "attack": "dlg"}
    assert key(parse(document)) == key(parse({**document, "update": None}))
    assert key(parse(document)) == "8250d9afa30138a1"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"training": 5}, "update: is recorded, beside 5 training steps"),
        ({"rounds": 2}, "and 2 rounds, expected 0 and 1"),
        ({"update": {"before": "x.pt"}}, r"update\.after: is missing"),
        ({"update": {"before": "nowhere.pt", "after": "x.pt"}}, r"update\.before: got 'nowhere\.pt', expected a file"),
        ({"victim": "lenet"}, r"update\.before: holds '1\.num_batches_tracked', which the model does not have"),
    ],
)
def test_a_recorded_update_that_does_not_fit_is_told(code, changes, told):
    with pytest.raises(UsageError, match=told):
        prepare(parse(document_of(code, **changes)), "cpu")


@pytest.fixture(scope="module", params=["vit", "resnet"])
def folder(request, tmp_path_factory):
    """A model as transformers saves it: weights in safetensors, and how its pixels are normalized."""
    import transformers

    path = tmp_path_factory.mktemp("hf") / request.param
    tiny = {"num_labels": 10, "num_channels": 3}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if request.param == "vit":
            sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
            config = transformers.ViTConfig(image_size=16, patch_size=4, **sizes, **tiny)
            made = transformers.ViTForImageClassification(config)
        else:
            config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", **tiny)
            made = transformers.ResNetForImageClassification(config)
    made.save_pretrained(path)
    (path / "preprocessor_config.json").write_text(json.dumps({"image_mean": [0.4, 0.5, 0.6], "image_std": [0.2, 0.25, 0.3]}))
    return path


PIXELS = Inputs((3, 16, 16), 10, mean=(0.1,), std=(0.9,))


def from_folder(path, **settings):
    return Module(module=f"hf:{path}", **settings).build(PIXELS, rng=stream(0))


def test_a_folder_of_hugging_face_is_a_network_with_its_weights(folder):
    import transformers

    own = transformers.AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
    model, x = from_folder(folder), torch.rand(2, 3, 16, 16, generator=stream(3))
    assert {name: tuple(value.shape) for name, value in own.named_parameters()} == {
        name: tuple(value.shape) for name, value in model.params.items()
    }
    expected = own(pixel_values=model.inputs.normalize(x)).logits
    torch.testing.assert_close(model.logits(x), expected, atol=1e-5, rtol=1e-4)


def test_pixels_are_normalized_as_the_folder_says_unless_somebody_else_does(folder):
    own = from_folder(folder)
    assert (own.inputs.mean, own.inputs.std) == ((0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    given = from_folder(folder, mean=(0.5,), std=(0.5,))
    assert (given.inputs.mean, given.inputs.std) == ((0.5,), (0.5,))


@pytest.mark.parametrize("said", [{"do_normalize": False, "image_mean": [0.4], "image_std": [0.2]}, {"size": 16}])
def test_a_folder_that_does_not_normalize_leaves_that_to_the_data(folder, tmp_path, said):
    shutil.copytree(folder, tmp_path / "hf")
    (tmp_path / "hf" / "preprocessor_config.json").write_text(json.dumps(said))
    model = from_folder(tmp_path / "hf")
    assert (model.inputs.mean, model.inputs.std) == (PIXELS.mean, PIXELS.std)


@pytest.mark.parametrize("text", ["{", "[]", '{"image_mean": 3, "image_std": [1]}', '{"image_mean": ["a"], "image_std": ["b"]}'])
def test_a_damaged_preprocessor_is_told_in_one_line(folder, tmp_path, text):
    shutil.copytree(folder, tmp_path / "hf")
    (tmp_path / "hf" / "preprocessor_config.json").write_text(text)
    with pytest.raises(UsageError, match=r"preprocessor_config\.json.* cannot be read .* mend it"):
        from_folder(tmp_path / "hf")


def test_what_timm_says_of_a_network_is_how_its_pixels_are_normalized():
    net = torch.nn.Linear(2, 2)
    net.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.1, 0.2, 0.3)}
    assert normalization("timm:any", net) == ((0.5, 0.5, 0.5), (0.1, 0.2, 0.3))
    assert normalization("package:any", net) is None
    assert normalization("timm:any", torch.nn.Linear(2, 2)) is None


def test_attacks_on_a_folder_of_hugging_face_have_derivatives(folder):
    """The fused attention has no second derivative."""
    model = from_folder(folder)
    batch = Batch(torch.rand(1, 3, 16, 16, generator=stream(1)), torch.tensor([3]))
    found = lg.audit(model=model, batch=batch, attack={"name": "inverting_gradients", "steps": 3}, threat="informed", device="cpu")
    assert found.record.status == "ok"
    (loss,) = found.record.trials["attack"].losses
    assert loss is not None


def test_a_capture_of_such_a_model_is_attacked_as_its_folder_says(folder, tmp_path):
    model = from_folder(folder)
    gradient = {name: torch.randn(value.shape, generator=stream(2)) for name, value in model.params.items()}
    path = write(tmp_path, manifest(kind="gradient", examples=1), gradient, dict(model.params))
    attack = {"name": "inverting_gradients", "labels": "idlg", "steps": 2}
    found = captured_attack(read(path), Given(model=f"hf:{folder}", shape=(3, 16, 16), attack=attack, device="cpu"))
    assert any("normalized as the network's library says: mean 0.4, 0.5, 0.6" in told for told in found.record.diagnosis)
