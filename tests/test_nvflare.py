"""The example job in NVFlare's own simulator, and filters on results as they come."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge import capture
from leakgauge.captured import Given, attack
from leakgauge.cli import main
from leakgauge.core.errors import UsageError
from leakgauge.live import model_of

pytest.importorskip("nvflare")
from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.fl_context import FLContext

from leakgauge.nvflare import Captured, Defended, Remembered, defending

INPUTS = lg.Inputs((3, 16, 16), 10)
RATE = 0.1


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """The example, run as its user would run it, without defenses and with noise."""
    folder = tmp_path_factory.mktemp("nvflare") / "job"
    with pytest.raises(SystemExit) as ended:
        main(["example", "nvflare", str(folder)])
    assert not ended.value.code
    for name, arguments in (("plain", []), ("noisy", ["[{name: gaussian_noise, sigma: 0.01}]"])):
        ran = subprocess.run([sys.executable, "job.py", *arguments], cwd=folder, capture_output=True, text=True, timeout=250)
        assert ran.returncode == 0, ran.stderr
        (folder / "captures").rename(folder / name)
    return folder


def found(job, name):
    return [capture.read(path) for path in capture.find(job / name)]


@pytest.fixture
def task(job, monkeypatch):
    """The example's own module."""
    monkeypatch.syspath_prepend(job)
    import task

    yield task
    sys.modules.pop("task", None)


def test_a_step_captured_through_nvflare_is_the_gradient(job, task):
    plain = found(job, "plain")
    assert sorted((one.manifest.round, one.manifest.client) for one in plain) == [
        (1, "site-1"),
        (1, "site-2"),
        (2, "site-1"),
        (2, "site-2"),
    ]
    for one in plain:
        assert (one.manifest.kind, one.manifest.local_steps, one.manifest.learning_rate) == ("delta", 1, RATE)
        assert one.manifest.metrics["loss"] > 0
        for value in off(one, task).values():
            assert float(value.abs().max()) <= 1e-6  # the rounding of weights


def test_an_image_comes_back_from_what_nvflare_sent(job, task):
    first = next(one for one in found(job, "plain") if one.manifest.round == 1)
    x, _ = task.photograph(int(first.manifest.client[-1]) - 1)
    how = {"name": "idlg", "restarts": 2}
    result = attack(first, Given(model="task:Net", shape=(3, 16, 16), attack=how, examples=1, device="cpu"))
    assert float((result.reconstruction.clamp(0, 1) - x).square().mean()) <= 0.01  # 20 dB


def test_clients_of_a_job_send_what_its_defenses_make(job, task):
    for one in found(job, "noisy"):
        noise = torch.cat([value.flatten() for value in off(one, task).values()])
        assert float(noise.std()) == pytest.approx(0.01, rel=0.05)
        assert {value.dtype for value in one.sent.values()} == {torch.float32}


def off(one, task):
    """How far what was captured is from the step that the client had made."""
    net = task.Net()
    net.load_state_dict(one.before)
    x, y = task.photograph(int(one.manifest.client[-1]) - 1)
    cross_entropy(net(x), y).backward()
    update = capture.update_of(one, model_of(net, (3, 16, 16), INPUTS, cross_entropy))
    return {name: update.delta[name] - RATE * value.grad for name, value in net.named_parameters()}


def processed(filter_, kind, values, **meta):
    return from_shareable(filter_.process(DXO(kind, values, meta=meta).to_shareable(), FLContext()))


VALUES = {
    "conv.weight": np.linspace(-1, 1, 12, dtype=np.float16).reshape(3, 4),
    "bn.running_var": np.ones(3, np.float32),
    "bn.num_batches_tracked": np.array(7),
}


HEAD = {"head.weight": np.ones((2, 2), np.float32)}


def test_statistics_and_precision_are_kept():
    sent = processed(Defended([{"name": "clipping", "norm": 0.1}]), DataKind.WEIGHT_DIFF, dict(VALUES)).data
    assert sent["conv.weight"].dtype == np.float16
    assert float(np.linalg.norm(sent["conv.weight"].astype(float))) == pytest.approx(0.1, rel=1e-2)
    np.testing.assert_array_equal(sent["bn.running_var"], 1)
    assert sent["bn.num_batches_tracked"] == 7
    shared = processed(Defended([{"name": "partial_sharing", "share": ["head*"]}]), DataKind.WEIGHT_DIFF, VALUES | HEAD).data
    assert not shared["conv.weight"].any()
    np.testing.assert_array_equal(shared["head.weight"], HEAD["head.weight"])


def test_weights_of_which_no_difference_is_there_are_an_error():
    with pytest.raises(UsageError, match=r"set params_transfer_type=TransferType\.DIFF"):
        processed(Defended(["clipping"]), DataKind.WEIGHTS, dict(VALUES))


def test_a_defense_that_changes_training_is_no_filter():
    with pytest.raises(UsageError, match="changes how a client trains"):
        defending(None, ["mixup"])


def test_a_capture_that_cannot_be_written_stops_no_job(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    kept = processed(Captured(str(tmp_path / "file" / "captures")), DataKind.WEIGHT_DIFF, dict(VALUES)).data
    np.testing.assert_array_equal(kept["conv.weight"], VALUES["conv.weight"])
    assert "not captured" in caplog.text
    assert processed(Remembered(), DataKind.WEIGHTS, dict(VALUES)).data.keys() == VALUES.keys()
