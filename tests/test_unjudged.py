"""An update without the private examples: attacked, rehearsed, told as what it is, and never called safe or leaking."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge.auditing.plan import Criteria
from leakgauge.core.errors import UsageError
from leakgauge.data.photographs import Photographs
from leakgauge.report import write_report
from leakgauge.results.gate import Policy, gate
from leakgauge.results.store import Store

POOL = Photographs(size=16).load()
INPUTS = lg.Inputs((3, 16, 16), 4)
SECRET = (POOL.x[:1], torch.tensor([2]))
PUBLIC = (POOL.x[40:80], torch.arange(40) % 4)
SEARCH = {"name": "lbfgs", "steps": 60}
ATTACK = {"name": "modern", "labels": "idlg", "steps": 40}  # a single start of L-BFGS misses one of the three on some machines


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 32), nn.Sigmoid(), nn.Linear(32, 4))


@pytest.fixture(scope="module")
def update(net):
    x, y = SECRET
    values = torch.autograd.grad(cross_entropy(net(x), y), list(net.parameters()))
    return lg.Update({name: value for (name, _), value in zip(net.named_parameters(), values, strict=True)}, 1)


@pytest.fixture(scope="module")
def result(net, update):
    return lg.audit(model=net, update=update, inputs=INPUTS, public=PUBLIC, attack=ATTACK, criteria=Criteria(power=3), device="cpu")


def test_what_nobody_can_judge_is_not_judged(result):
    assert result.verdict.outcome == "not judged"
    assert result.verdict.p_value is None
    assert result.truth is None
    assert result.record.trials.keys() == {"attack"}
    assert not result.record.trials["attack"].scores
    assert result.verdict.reason.startswith("The private examples are not there, so nothing was judged")


def test_the_guess_is_that_of_an_audit_with_the_truth(net, update, result):
    whole = lg.audit(model=net, update=update, batch=SECRET, inputs=INPUTS, threat="server", attack=ATTACK, device="cpu")
    assert torch.equal(whole.reconstruction, result.reconstruction)
    assert whole.verdict.outcome != "not judged"
    assert float((result.reconstruction - SECRET[0]).square().mean()) < 0.01
    assert result.record.setting.class_names == ("2",)


def test_rehearsals_tell_how_often_the_attack_is_right(result):
    assert "On 3 updates of other data, made by the client that was assumed, the same attack recovered 3 of 3 examples." in str(
        result
    )
    assert "Here it ended" in str(result)


def test_an_attack_that_never_works_is_told_so(net, update):
    weak = {"name": "inverting_gradients", "labels": "counts", "steps": 1}
    found = lg.audit(model=net, update=update, inputs=INPUTS, public=PUBLIC, attack=weak, criteria=Criteria(power=2), device="cpu")
    assert "recovered 0 of 2 examples" in str(found)
    assert "Here it ended" not in str(found)


def test_without_other_data_nothing_is_rehearsed(net, update):
    found = lg.audit(model=net, update=update, inputs=INPUTS, attack=ATTACK, device="cpu")
    assert "other data" not in str(found)


def test_the_count_may_be_said_or_estimated(net, update):
    bare = lg.Update(update.delta)
    said = lg.audit(model=net, update=bare, examples=1, inputs=INPUTS, attack=ATTACK, device="cpu")
    blind = {"name": "inverting_gradients", "labels": "counts", "replay": "surrogate", "steps": 2}
    guessed = lg.audit(model=net, update=bare, inputs=INPUTS, attack=blind, threat="eavesdropper", device="cpu")
    assert said.record.setting.examples == guessed.record.setting.examples == 1
    assert any("rank" in told for told in guessed.record.diagnosis)


def test_the_report_shows_guesses_and_no_scores(result, tmp_path):
    page = result.save(tmp_path).read_text()
    assert "Not judged" in page
    assert "What the attack made of the update" in page
    assert "Guess 1: taken for 2" in page
    for absent in ("PSNR", "Private data, and what", "Floor", "no leak", "No leak"):
        assert absent not in page.partition("<body")[2].partition('class="limits')[0], absent
    assert write_report(tmp_path).read_text() == page
    assert "truth" not in Store(tmp_path).images(result.record.key)
    assert "Not judged" in result._repr_html_()


def test_the_gate_does_not_let_it_pass(result):
    assert gate([result.record], Policy()).result == "inconclusive"
    assert gate([result.record], Policy(inconclusive="fail")).result == "fail"


def test_noise_is_not_judged_either(net, update):
    """A null: an update that knows nothing must be told as what the true one is, and end higher than rehearsals."""
    rng = torch.Generator().manual_seed(0)
    noise = lg.Update({name: torch.randn(value.shape, generator=rng) * value.std() for name, value in update.delta.items()}, 1)
    found = lg.audit(model=net, update=noise, inputs=INPUTS, public=PUBLIC, attack=ATTACK, criteria=Criteria(power=3), device="cpu")
    assert found.verdict.outcome == "not judged"
    assert "Here it ended above the" in str(found)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"update": None}, "batch: got None without an update"),
        ({"inputs": None}, "inputs: got None, expected what the model takes"),
        ({"threat": "informed"}, "'informed' grants labels, which nobody has"),
        ({"examples": 0}, "examples: got 0, expected at least 1"),
        ({"examples": 2}, "examples: got 2, but the update is of 1"),
        ({"rounds": 2}, "rounds: got 2, expected 1 beside a recorded update"),
        ({"attack": "inverting_gradients"}, "does not grant labels"),
        ({"attack": {"name": "matching"}}, "attack.likelihood: is missing"),
    ],
)
def test_what_does_not_fit_is_told(net, update, changes, told):
    with pytest.raises(UsageError, match=told):
        lg.audit(**{"model": copy.deepcopy(net), "update": update, "inputs": INPUTS, "attack": ATTACK, "device": "cpu", **changes})
