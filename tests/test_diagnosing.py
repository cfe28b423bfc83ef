"""What is wrong with a capture is planted, and found; what is sound is not complained of."""

import sys

import pytest
import torch
from test_captured import CODE, INPUTS, POOL
from torch.nn.functional import cross_entropy

from leakgauge import capture
from leakgauge.capture.manifest import made
from leakgauge.captured import Given
from leakgauge.cli import main
from leakgauge.core.types import Inputs
from leakgauge.diagnosing import diagnose

DEEP = """

class Rectified(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(768, 64), nn.ReLU(), nn.Linear(64, 4))
        nn.init.constant_(self[1].bias[:20], -1e3)  # units that nothing reaches
"""
X, Y = POOL.x[:2], torch.tensor([1, 2])


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "mynet.py").write_text(CODE + DEEP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    yield tmp_path
    sys.modules.pop("mynet", None)


def recorded(name="Net", optimizer=lambda values: torch.optim.SGD(values, 0.1), pixels=lambda x: x, **said):
    import mynet

    torch.manual_seed(5)
    net = getattr(mynet, name)()
    said = {"examples": 2, "learning_rate": 0.1, "local_steps": 1, "inputs": INPUTS, "truth": (X, Y)} | said
    with capture.recording(net, "captures", **said):
        steps = optimizer(net.parameters())
        cross_entropy(net(pixels(X)), Y).backward()
        steps.step()
    return capture.read(capture.find("captures")[-1])


def told(found, name="Net", **given):
    return {one.check: one for one in diagnose(found, Given(model=f"mynet:{name}", device="cpu", **given))}


def test_a_sound_capture_has_nothing_broken(here):
    findings = told(recorded())
    assert {name: one.state for name, one in findings.items()} == {
        "kind": "ok",
        "fit": "note",  # that one step of plain SGD was assumed
        "unknowns": "ok",
        "rounding": "ok",
        "truth": "ok",
    }
    assert "0.99" in findings["kind"].details or "1.000" in findings["kind"].details


@pytest.mark.parametrize(
    "renamed", [lambda place, name: str(place), lambda _, name: f"module._orig_mod.{name}"], ids=["numbers", "wrapped"]
)
def test_other_names_change_no_finding(here, renamed):
    found = recorded()
    sent, before = (
        {renamed(*item): value for item, value in zip(enumerate(one), one.values(), strict=True)} for one in ordered(found)
    )
    other = told(capture.read(capture.write("more", found.manifest, sent, before, found.truth)))
    assert {name: one.state for name, one in other.items()} == {name: one.state for name, one in told(found).items()}
    assert other["rounding"] == told(found)["rounding"]


def ordered(found):
    import mynet

    return [{name: one[name] for name in mynet.Net().state_dict()} for one in (found.sent, found.before)]


def test_what_went_along_in_clear_is_told(here):
    assert "in clear" not in told(recorded())
    finding = told(recorded(metrics={"client 5": {"num_examples": 12, "loss": 0.1}, "client 6": {"loss": 0.2}}))["in clear"]
    assert (finding.state, finding.details) == ("note", "Sent along in clear: num_examples, loss.")


def test_weights_are_told_from_what_is_none(here):
    found = recorded()
    delta = {name: value - found.before[name] for name, value in found.sent.items()}
    swapped = capture.read(capture.write("more", made(kind="weights", inputs=vars(found.manifest.inputs)), delta, found.before))
    assert told(swapped)["kind"].details.endswith("It is no new weights: is it a delta, or a gradient?")
    named = capture.read(
        capture.write("others", made(kind="gradient", inputs=vars(found.manifest.inputs)), found.sent, found.before)
    )
    assert told(named)["kind"].details.endswith("It is no gradient: is it the weights?")
    assert {told(one)["kind"].state for one in (swapped, named)} == {"broken"}


@pytest.mark.parametrize(
    ("dtype", "rate", "state"),
    [(torch.float32, 0.1, "ok"), (torch.float16, 0.1, "note"), (torch.bfloat16, 0.1, "note"), (torch.bfloat16, 0.005, "broken")],
)
def test_rounding_is_held_against_the_update(here, dtype, rate, state):
    found = recorded(optimizer=lambda values: torch.optim.SGD(values, rate))
    cast = [{name: value.to(dtype) for name, value in one.items()} for one in (found.sent, found.before)]
    rounded = capture.read(capture.write("more", found.manifest, *cast))
    finding = told(rounded)["rounding"]
    assert finding.state == state
    exact = capture.update_of(found, _model(found)).delta
    seen = capture.update_of(rounded, _model(found)).delta
    error = sum(float((seen[name] - value).square().sum()) for name, value in exact.items()) ** 0.5
    size = sum(float(value.square().sum()) for value in seen.values()) ** 0.5
    if dtype != torch.float32:
        assert float(finding.details.split(" is ")[1].split(" ")[0]) == pytest.approx(error / size, rel=0.25)


def _model(found):
    import mynet

    from leakgauge.core.adopting import adopted

    return capture.model_before(found, adopted(mynet.Net(), INPUTS, cross_entropy))


def test_signs_and_decay_have_their_signatures(here):
    signs = recorded(optimizer=lambda values: torch.optim.Adam(values, 0.001))
    assert "they are signs" in told(signs)["optimizer"].details
    decayed = recorded("Rectified", optimizer=lambda values: torch.optim.SGD(values, 0.1, weight_decay=0.01))
    finding = told(decayed, "Rectified")["weight decay"]
    assert "moved by 1.00e-03 of their weights" in finding.details
    assert f"{unreached() / 68:.0%} of the tensors' rows" in finding.details
    plain = told(recorded("Rectified"), "Rectified")
    assert "weight decay" not in plain
    assert "optimizer" not in plain


def unreached():
    """Rows of the layers on which the loss does not depend."""
    import mynet

    torch.manual_seed(5)
    net = mynet.Rectified()
    cross_entropy(net(X), Y).backward()
    return sum(int((layer.weight.grad == 0).all(dim=1).sum()) for layer in (net[1], net[3]))


def test_what_the_truth_shows_is_named(here):
    unsaid = recorded(pixels=lambda x: (x - 0.5) / 0.2)
    finding = told(unsaid)["truth"]
    assert finding.state == "broken"
    assert "is not one that this client makes" in finding.details
    assert told(unsaid, mean=(0.5,), std=(0.2,))["truth"].state == "ok"
    assert told(recorded(truth=None))["truth"].state == "note"


def test_too_few_numbers_are_told(here):
    found = recorded(examples=2)
    head = {name: value for name, value in found.sent.items() if name.startswith("3.")}
    finding = told(capture.read(capture.write("more", found.manifest, head, found.before)))["unknowns"]
    assert finding.state == "note"
    assert "for 1,536 unknown pixels of 2 examples" in finding.details


def test_another_network_is_broken(here):
    assert told(recorded(), "Normed")["fit"].state == "broken"


def test_the_command_shows_it_and_says_by_its_exit_code(here, capsys):
    recorded()
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "captures", "--model", "mynet:Net"])
    assert not ended.value.code
    assert "rounding" in capsys.readouterr().out
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "captures", "--model", "mynet:Normed"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "captures"])
    assert ended.value.code == 2
    assert "--model: got none" in capsys.readouterr().err


def test_the_shape_may_be_other_than_recorded(here):
    assert told(recorded(inputs=Inputs((3, 8, 8), 4)), shape=(3, 16, 16))["fit"].state == "note"
