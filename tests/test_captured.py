"""From what was captured to a report, without writing Python: the command line, and what it assumes and tells."""

import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge import capture
from leakgauge.capture.manifest import made
from leakgauge.captured import Given, attack
from leakgauge.cli import main
from leakgauge.core.errors import UsageError
from leakgauge.data.photographs import Photographs
from leakgauge.results.store import Store

CODE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, num_classes=4):
        super().__init__(nn.Flatten(), nn.Linear(768, 32), nn.Sigmoid(), nn.Linear(32, num_classes))

class Normed(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Sigmoid(), nn.Flatten(), nn.Linear(294, 4))

class Deep(nn.Sequential):
    def __init__(self):
        middle = [layer for _ in range(4) for layer in (nn.Sigmoid(), nn.Linear(8, 8))]
        super().__init__(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(768, 8), *middle, nn.Sigmoid(), nn.Linear(8, 4))

class Asks(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.a_head, self.body = nn.Linear(32, num_classes), nn.Linear(768, 32)

    def forward(self, x):
        return self.a_head(self.body(x.flatten(1)).sigmoid())

class Convolves(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.a_head, self.body = nn.Conv2d(6, num_classes, 1), nn.Conv2d(3, 6, 3)

    def forward(self, x):
        return self.a_head(self.body(x).sigmoid()).mean((2, 3))
"""
POOL = Photographs(size=16).load()
X, Y = POOL.x[:1], torch.tensor([2])
INPUTS = lg.Inputs((3, 16, 16), 4)
QUICK = "{name: idlg, search: {name: lbfgs, steps: 60}}"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with a network's code, as a user's working folder."""
    (tmp_path / "mynet.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("mynet", None)


def network(name="Net"):
    import mynet

    torch.manual_seed(5)
    return getattr(mynet, name)()


def step(net, x=X, y=Y, learning_rate=0.1):
    optimizer = torch.optim.SGD(net.parameters(), learning_rate)
    cross_entropy(net(x), y).backward()
    optimizer.step()


def recorded(folder="captures", name="Net", **said):
    net = network(name)
    with capture.recording(net, folder, **({"examples": 1, "learning_rate": 0.1, "local_steps": 1, "inputs": INPUTS} | said)):
        step(net)
    return capture.read(capture.find(folder)[-1])


def run(*arguments):
    with pytest.raises(SystemExit) as ended:
        main(["attack", *arguments, "--device", "cpu"])
    return ended.value.code or 0


def test_a_capture_becomes_a_report_without_python(here, capsys):
    recorded()
    assert run("captures", "--model", "mynet:Net", "--attack", QUICK, "--out", "results") == 0
    said = capsys.readouterr().out
    assert "Not judged" in said
    record = next(Store(here / "results").records())
    assert record.name == "capture"
    assert record.setting.threat == "server"
    guess = Store(here / "results").images(record.key)["guess.attack"]
    assert float(((torch.tensor(guess) - X) ** 2).mean()) < 0.01
    assert (here / "results" / "report.html").exists()


def test_the_private_examples_make_it_an_audit(here, capsys):
    save_file({"x": POOL.x[20:], "y": torch.arange(len(POOL.x) - 20) % 4}, "others.safetensors")
    recorded(truth=(X, Y))
    code = run("captures", "--model", "mynet:Net", "--attack", QUICK, "--data", "others.safetensors", "--rehearsals", "1")
    assert code == 0
    assert "Leaks" in capsys.readouterr().out


def test_other_data_is_a_folder_of_images(here, capsys):
    for row in range(8):
        folder = here / "pictures" / "abcd"[row % 4]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray((POOL.x[40 + row].permute(1, 2, 0) * 255).byte().numpy()).save(folder / f"{row}.png")
    recorded()
    arguments = ("--model", "mynet:Net", "--attack", QUICK, "--data", "pictures", "--rehearsals", "2")
    assert run("captures", *arguments) == 0
    assert "On 2 updates of other data" in capsys.readouterr().out.replace("\n", " ")


def test_every_capture_of_a_folder_is_attacked(here):
    for client in "ab":
        recorded(client=client)
    assert run("captures", "--model", "mynet:Net", "--attack", QUICK, "--out", "results") == 0
    assert sorted(record.name for record in Store(here / "results").records()) == ["client-a", "client-b"]


def test_what_nobody_said_is_assumed_and_told(here):
    said = {"learning_rate": None, "local_steps": None}
    result = attack(recorded(**said), Given(model="mynet:Net", device="cpu"))
    assert result.record.setting.threat == "weights"
    assert any("Nobody said how the client trains" in told for told in result.record.diagnosis)
    plain = attack(recorded("more"), Given(model="mynet:Net", attack="idlg", device="cpu"))
    assert "The one local step is taken for one of plain SGD on the whole batch." in plain.record.diagnosis


def test_pixels_are_taken_as_they_are_and_that_is_told(here):
    net = network()
    x, y = X, Y
    with capture.recording(net, "captures", kind="gradient", examples=1):
        cross_entropy(net(x), y).backward()
    found = capture.read(capture.find("captures")[0])
    with pytest.raises(UsageError, match=r"--inputs 3,32,32"):
        attack(found, Given(model="mynet:Net", attack="idlg"))
    result = attack(found, Given(model="mynet:Net", shape=(3, 16, 16), attack="idlg", device="cpu"))
    assert any("Nobody said how pixels are normalized" in told for told in result.record.diagnosis)
    normalized = Given(model="mynet:Net", shape=(3, 16, 16), mean=(0.5,), std=(0.5,), attack="idlg", device="cpu")
    assert not any("normalized" in told for told in attack(found, normalized).record.diagnosis)


def noisy(sigma, **said):
    """A capture of a step whose update was noised before it was sent."""
    plain = recorded("plain")
    rng = torch.Generator().manual_seed(7)
    sent = {name: value + sigma * torch.randn(value.shape, generator=rng) for name, value in plain.sent.items()}
    manifest = made(kind="weights", examples=1, learning_rate=0.1, local_steps=1, inputs=plain.manifest.inputs.model_dump(), **said)
    return capture.read(capture.write("captures", manifest, sent, plain.before, lg.Batch(X, Y)))


def test_defenses_that_are_said_are_part_of_the_client(here):
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    noise = ({"name": "gaussian_noise", "sigma": 0.05},)
    found = noisy(0.05)
    untold = attack(found, Given(model="mynet:Net", attack=quick, device="cpu"))
    assert "defended in a way that was not declared" in untold.record.setting.mismatch
    told = attack(found, Given(model="mynet:Net", attack=quick, defenses=noise, device="cpu"))
    assert not told.record.setting.mismatch
    assert (told.record.setting.threat, *told.record.setting.defenses) == ("server, defense known", "GaussianNoise(sigma=0.05)")
    named = attack(found, Given(model="mynet:Net", attack=quick, defenses=noise, threat="server", device="cpu"))
    assert "defense" not in named.record.setting.granted


def test_defenses_that_were_recorded_are_part_of_the_client(here):
    found = noisy(0.05, defenses=({"name": "gaussian_noise", "sigma": 0.05},))
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    assert not attack(found, Given(model="mynet:Net", attack=quick, device="cpu")).record.setting.mismatch
    with pytest.raises(UsageError, match="names code"):
        noisy(0.05, defenses=({"name": "pip:main"},))


@pytest.mark.parametrize("all_of_it", [True, False], ids=["state dict", "parameters"])
def test_numbers_for_names_are_the_order_of_the_network(here, all_of_it):
    """As Flower's NumPyClient sends arrays; from ten on, a file does not keep their order."""
    net = network("Deep").train()
    kept = lambda: (net.state_dict() if all_of_it else dict(net.named_parameters())).values()  # noqa: E731
    before = {str(place): value.detach().clone() for place, value in enumerate(kept())}
    assert len(before) > 10
    step(net, POOL.x[:4], torch.arange(4))
    sent = {str(place): value.detach() for place, value in enumerate(kept())}
    manifest = made(kind="weights", examples=4, learning_rate=0.1, local_steps=1)
    found = capture.read(capture.write("captures", manifest, sent, before, lg.Batch(POOL.x[:4], torch.arange(4))))
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    result = attack(found, Given(model="mynet:Deep", attack=quick, device="cpu"))
    assert not result.record.setting.mismatch
    assert any("Tensors have numbers for names" in told for told in result.record.diagnosis)


@pytest.mark.parametrize("name", ["Asks", "Convolves"])
def test_a_network_is_told_the_number_of_classes_that_fits(here, name):
    """The last tensor of a file, by its name, is not the classifier's; and some classify by a convolution."""
    import mynet

    net = getattr(mynet, name)(5)
    with capture.recording(net, "captures", examples=1, learning_rate=0.1, local_steps=1, inputs=INPUTS, truth=(X, Y)):
        step(net)
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    result = attack(capture.read(capture.find("captures")[0]), Given(model=f"mynet:{name}", attack=quick, device="cpu"))
    assert result.record.setting.classes == 5
    assert not result.record.setting.mismatch


def test_the_network_itself_is_taken(here):
    found = recorded(truth=(X, Y))
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    assert not attack(found, Given(model=network(), attack=quick, device="cpu")).record.setting.mismatch


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_the_mode_of_batchnorm_is_read_off_its_statistics(here, mode):
    net = network("Normed").train(mode == "train")
    said = {"examples": 4, "learning_rate": 0.1, "local_steps": 1, "inputs": INPUTS, "truth": (POOL.x[:4], torch.arange(4))}
    with capture.recording(net, "captures", **said):
        step(net, POOL.x[:4], torch.arange(4))
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    result = attack(capture.read(capture.find("captures")[0]), Given(model="mynet:Normed", attack=quick, device="cpu"))
    assert f"batchnorm='{mode}'" in result.record.setting.client
    assert not result.record.setting.mismatch


def test_the_procedure_that_was_recorded_is_the_clients(here):
    procedure = {"name": "fedavg", "epochs": 2, "optimizer": {"name": "sgd", "learning_rate": 0.05, "momentum": 0.9}}
    net = network()
    optimizer = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    with capture.recording(net, "captures", examples=1, procedure=procedure, inputs=INPUTS, truth=(X, Y)):
        for _ in range(2):
            optimizer.zero_grad()
            cross_entropy(net(X), Y).backward()
            optimizer.step()
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    result = attack(capture.read(capture.find("captures")[0]), Given(model="mynet:Net", attack=quick, device="cpu"))
    assert "momentum=0.9" in result.record.setting.client
    assert not result.record.setting.mismatch


def test_weights_that_the_capture_lacks_come_from_a_file(here):
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    torch.save(before, "weights.pt")
    values = torch.autograd.grad(cross_entropy(net(X), Y), list(net.parameters()))
    sent = {name: value for (name, _), value in zip(net.named_parameters(), values, strict=True)}
    path = capture.write("captures", made(kind="gradient", examples=1), sent)
    given = {"model": "mynet:Net", "shape": (3, 16, 16), "attack": {"name": "idlg", "search": {"name": "lbfgs", "steps": 60}}}
    good = attack(capture.read(path), Given(**given, weights="weights.pt", device="cpu"))
    assert float((good.reconstruction - X).square().mean()) < 0.01
    assert any("those that the model came with were taken" in told for told in good.record.diagnosis)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "--model", "mynet:Net"), "expected a folder with capture.json"),
        (("captures", "--model", "mynet:Nett"), "cannot be imported"),
        (("captures", "--model", "mynet"), "expected module:function"),
        (("captures", "--model", "mynet:Net", "--inputs", "3,x"), "--inputs: got '3,x'"),
        (("captures", "--model", "mynet:Net", "--inputs", "3,8,8"), "cannot take examples of shape (3, 8, 8)"),
        (("captures", "--model", "mynet:Net", "--data", "[1]"), "--data: got '[1]'"),
        (("captures", "--model", "mynet:Net", "--attack", "nothing"), "no attack is called 'nothing'"),
        (("captures", "--model", "mynet:Net", "--weights", "none.pt"), "expected a file that exists"),
        (("captures", "--model", "mynet:Normed"), "pass the network that was trained"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(here, capsys, arguments, told):
    recorded()
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
    assert not (here / "leakgauge-results").exists()
