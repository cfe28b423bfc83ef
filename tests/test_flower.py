"""Flower's own clients and strategies, in this process: captured as they are, defended by a mod, and inverted."""

import copy
import dataclasses
import io
import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

import leakgauge as lg
from leakgauge import capture
from leakgauge.captured import Given, attack
from leakgauge.core.errors import UsageError
from leakgauge.data.photographs import Photographs
from leakgauge.live import model_of

flwr = pytest.importorskip("flwr.app")
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict  # noqa: E402
from flwr.client import NumPyClient  # noqa: E402
from flwr.client.mod import secaggplus_mod  # noqa: E402
from flwr.clientapp import ClientApp  # noqa: E402
from flwr.common import ndarrays_to_parameters  # noqa: E402
from flwr.server import LegacyContext, ServerConfig  # noqa: E402
from flwr.server import strategy as legacy  # noqa: E402
from flwr.server.workflow import DefaultWorkflow, SecAggPlusWorkflow  # noqa: E402
from flwr.serverapp import Grid  # noqa: E402
from flwr.serverapp.strategy import FedAvg  # noqa: E402
from flwr.supercore.task_identity import TaskIdentity  # noqa: E402

from leakgauge.flower import CapturingGrid, auditing, defending  # noqa: E402
from leakgauge.flower.arrays import record_of, tensors  # noqa: E402

POOL = Photographs(size=16).load()
INPUTS = lg.Inputs((3, 16, 16), 10)
RATE, FIRST = 0.1, 2**63 + 5  # nodes whose numbers need 64 bits


class Net(nn.Sequential):
    """Smooth, with BatchNorm and its counter."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Sigmoid(), nn.Flatten(), nn.Linear(294, 10))


class Quickstart(nn.Module):
    """The network of Flower's PyTorch quickstart app, by its layers."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)
        )
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10))

    def forward(self, x):
        return self.head(self.features(x))


class Smooth(nn.Module):
    """LeNet as the first papers had it: sigmoids, strides in place of pooling, wide weights."""

    def __init__(self):
        super().__init__()
        convolutions = [nn.Conv2d(inner, 12, 5, stride=stride, padding=2) for inner, stride in ((3, 2), (12, 2), (12, 1))]
        layers = [layer for convolution in convolutions for layer in (convolution, nn.Sigmoid())]
        self.layers = nn.Sequential(*layers, nn.Flatten(), nn.Linear(192, 10))
        for value in self.parameters():
            nn.init.uniform_(value, -0.5, 0.5)

    def forward(self, x):
        return self.layers(x)


class InProcess(Grid):
    """A grid whose nodes are calls: what Flower's simulation does, without its daemons."""

    def __init__(self, app, nodes, run_config):
        for name in ("task_id", "run_id", "node_id"):
            setattr(TaskIdentity, name, 1)
        self.app, self.replies = app, {}
        self.contexts = {
            FIRST + place: Context(
                run_id=1, node_id=FIRST + place, node_config={"partition-id": place}, state=RecordDict(), run_config=run_config
            )
            for place in range(nodes)
        }

    def set_run(self, run):
        pass

    @property
    def run(self):
        return None  # of a federation that has no run at a SuperLink

    def create_message(self, content, message_type, dst_node_id, group_id, ttl=None):
        return Message(content, dst_node_id=dst_node_id, message_type=message_type, group_id=group_id)

    def get_node_ids(self):
        return list(self.contexts)

    def push_messages(self, messages):
        found = []
        for message in messages:
            found.append(str(len(self.replies)))
            self.replies[found[-1]] = self.app(message, self.contexts[message.metadata.dst_node_id])
        return found

    def pull_messages(self, message_ids):
        return (self.replies[one] for one in message_ids)  # a generator, as it may be

    def send_and_receive(self, messages, *, timeout=None):
        return self.pull_messages(self.push_messages(messages))


def secret(partition):
    return POOL.x[partition : partition + 1], torch.tensor([partition + 1])


def client(*mods, seen=None, network=Net, private=secret):
    """An app as Flower's quickstart has it: one step of SGD on one photograph."""
    app = ClientApp(mods=list(mods))

    @app.train()
    def train(message, context):
        net = network()
        net.load_state_dict(message.content["arrays"].to_torch_state_dict())
        x, y = private(context.node_config["partition-id"])
        loss = cross_entropy(net(x), y)
        loss.backward()
        if seen is not None:
            seen[context.node_id] = {name: value.grad.clone() for name, value in net.named_parameters()}
        torch.optim.SGD(net.parameters(), RATE).step()
        metrics = MetricRecord({"loss": float(loss.detach()), "num-examples": len(x)})
        return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)

    @app.evaluate()
    def evaluate(message, _):
        return Message(RecordDict({"metrics": MetricRecord({"accuracy": 0.5, "num-examples": 1})}), reply_to=message)

    return app


def federate(grid, rounds=1, network=Net):
    torch.manual_seed(0)
    net = network()
    strategy = FedAvg(min_train_nodes=2, min_evaluate_nodes=2, min_available_nodes=2)
    arrays = ArrayRecord(net.state_dict())
    result = strategy.start(
        grid=grid, initial_arrays=arrays, train_config=ConfigRecord({"lr": RATE, "local-steps": 1}), num_rounds=rounds
    )
    return net, result


def test_a_step_captured_through_flower_is_the_gradient(tmp_path):
    seen = {}
    net, _ = federate(CapturingGrid(InProcess(client(seen=seen), 2, {}), tmp_path))
    found = [capture.read(path) for path in capture.find(tmp_path)]
    assert len(found) == 2  # evaluations are no captures
    for one in found:
        update = capture.update_of(one, model_of(net, (3, 16, 16), INPUTS, cross_entropy))
        exact = seen[int(one.manifest.client)]
        error = sum(float((update.delta[name] / RATE - value).square().sum()) for name, value in exact.items())
        # Flower sends weights: their rounding is all that is lost.
        size = sum(float(value.square().sum()) for value in exact.values())
        rounding = (
            sum(float((torch.finfo(torch.float32).eps * value.detach()).square().sum()) for value in net.parameters()) / RATE**2
        )
        assert error <= max(1e-12 * size, 4 * rounding)
        assert update.buffers["1.num_batches_tracked"] == 1


def test_what_was_said_in_clear_is_in_the_manifest(tmp_path):
    federate(CapturingGrid(InProcess(client(), 2, {}), tmp_path), rounds=2)
    found = [capture.read(path).manifest for path in capture.find(tmp_path)]
    assert [(one.round, int(one.client)) for one in found] == [(1, FIRST), (1, FIRST + 1), (2, FIRST), (2, FIRST + 1)]
    one = found[0]
    assert (one.kind, one.examples, one.learning_rate, one.local_steps) == ("weights", 1, RATE, 1)
    assert one.framework.startswith("flwr 1.")
    assert one.metrics["metrics"]["loss"] > 0
    assert one.config["config"]["lr"] == RATE


def test_a_captured_grid_changes_nothing(tmp_path):
    _, bare = federate(InProcess(client(), 2, {}), rounds=2)
    _, captured = federate(CapturingGrid(InProcess(client(), 2, {}), tmp_path), rounds=2)
    for name, value in bare.arrays.to_torch_state_dict().items():
        assert torch.equal(captured.arrays.to_torch_state_dict()[name], value)


def test_a_capture_that_cannot_be_written_stops_no_training(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    _, result = federate(CapturingGrid(InProcess(client(), 2, {}), tmp_path / "file" / "captures"))
    assert result.arrays
    assert "not captured" in caplog.text


def audited(folder, monkeypatch, network, how, size):
    """The audit of a photograph that one client of an app with this network trained on."""
    x, y = Photographs(size=size).load().x[:1], torch.tensor([3])
    app = client(network=network, private=lambda _: (x, y))
    federate(CapturingGrid(InProcess(app, 2, {}), folder / "captures"), network=network)
    (folder / "flowernet.py").write_text("from test_flower import Quickstart, Smooth\n")
    monkeypatch.syspath_prepend(folder)
    found = capture.read(capture.find(folder / "captures")[0])
    given = Given(
        model=f"flowernet:{network.__name__}", attack=how, data={"name": "photographs", "size": size}, rehearsals=1, device="cpu"
    )
    return attack(dataclasses.replace(found, truth=lg.Batch(x, y)), given)


def test_an_image_comes_back_from_what_flower_sent(tmp_path, monkeypatch):
    result = audited(tmp_path, monkeypatch, Smooth, {"name": "idlg", "restarts": 2}, 16)
    assert not result.record.setting.mismatch
    assert result.record.trials["attack"].label_accuracy == 1
    assert result.record.trials["attack"].scores["psnr"][0] >= 20
    assert result.verdict.outcome == "leaks"


def test_flowers_quickstart_gets_a_verdict_or_the_cause(tmp_path, monkeypatch):
    """A thread of 2025 reports that its gradient could not be inverted, and that nobody could say why."""
    how = {"name": "inverting_gradients", "labels": "idlg", "steps": 200, "total_variation": 0.001}
    result = audited(tmp_path, monkeypatch, Quickstart, how, 32)
    assert not result.record.setting.mismatch
    named = any("The search ended at a loss of" in told for told in result.record.diagnosis)
    assert result.verdict.outcome in ("leaks", "partial leak") or named


def sent_with(defenses, tmp_path, partition=0):
    app = client(defending())
    net, _ = federate(CapturingGrid(InProcess(app, 2, {"defenses": defenses}), tmp_path))
    found = capture.read(capture.find(tmp_path)[partition])
    return capture.update_of(found, model_of(net, (3, 16, 16), INPUTS, cross_entropy)), found


def test_defenses_of_the_configuration_change_what_is_sent(tmp_path):
    bare, _ = sent_with("[]", tmp_path / "bare")
    noisy, found = sent_with("[{name: gaussian_noise, sigma: 0.01}]", tmp_path / "noisy")
    again, _ = sent_with("[{name: gaussian_noise, sigma: 0.01}]", tmp_path / "again")
    noise = torch.cat([(noisy.delta[name] - value).flatten() for name, value in bare.delta.items()])
    assert float(noise.std()) == pytest.approx(0.01, rel=0.1)
    assert not torch.equal(noisy.delta["4.weight"], again.delta["4.weight"])  # nobody can draw the noise again
    assert noisy.buffers["1.num_batches_tracked"] == 1
    torch.testing.assert_close(noisy.buffers["1.running_mean"], bare.buffers["1.running_mean"])
    clipped, _ = sent_with("[{name: clipping, norm: 0.001}]", tmp_path / "clipped")
    assert sum(float(value.square().sum()) for value in clipped.delta.values()) ** 0.5 == pytest.approx(0.001, rel=1e-2)
    shared, found = sent_with("[{name: partial_sharing, share: ['4.*']}]", tmp_path / "shared")
    assert not shared.delta["0.weight"].any()
    assert found.sent["0.weight"].equal(found.before["0.weight"])
    assert shared.delta["4.weight"].any()


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "run_config: has no 'defenses'"),
        ({"defenses": "gaussian_noise"}, "expected a list such as"),
        ({"defenses": "[{name: mixup}]"}, "changes how a client trains"),
        ({"defenses": "[{name: dp_sgd}]"}, "changes how a client trains"),
        ({"defenses": "[{name: nothing}]"}, "no defense is called 'nothing'"),
        ({"defenses": "[{name: gaussian_noise, sigma: -1}]"}, r"defenses\.0\.sigma"),
    ],
)
def test_a_defense_that_would_protect_nothing_is_an_error(config, told):
    grid = InProcess(client(defending()), 1, config)
    message = grid.create_message(RecordDict({"arrays": ArrayRecord(Net().state_dict())}), "train", FIRST, "1")
    with pytest.raises(UsageError, match=told):
        grid.app(message, grid.contexts[FIRST])


PHOTOGRAPH = POOL.x[:1], torch.tensor([3])
LEAKS = "{attack: {name: idlg, search: {name: lbfgs, steps: 60}}, threat: adaptive, policy: {inconclusive: allow}, device: cpu"


def watched(config, *mods, rounds=1, folder=None):
    """What the server gets, round by round, of one client that is audited; and its context."""
    app = client(auditing(Smooth, lambda *_: PHOTOGRAPH), *mods, network=Smooth, private=lambda _: PHOTOGRAPH)
    grid = InProcess(app, 1, config)
    torch.manual_seed(0)
    arrays, replies = ArrayRecord(Smooth().state_dict()), []
    for number in range(1, rounds + 1):
        settings = ConfigRecord({"lr": RATE, "local-steps": 1, "server-round": number})
        message = grid.create_message(RecordDict({"arrays": arrays, "config": settings}), "train", FIRST, str(number))
        replies.append(grid.app(message, grid.contexts[FIRST]))
    return arrays.to_torch_state_dict(), replies


def test_an_update_that_leaks_is_told_and_sent(caplog):
    _, (reply,) = watched({"audit": LEAKS + "}"})
    assert not reply.has_error()
    assert "round 1: fail. The verdict 'leaks' is forbidden" in caplog.text


def test_an_update_that_leaks_is_held_back_until_one_passes(caplog):
    _, replies = watched({"audit": LEAKS + ", then: block, every: 10}"}, rounds=2)
    assert [reply.error.code for reply in replies] == [6, 6]  # the second was audited although it is not the tenth
    assert caplog.text.count("is forbidden") == 2
    assert "held back" in replies[0].error.reason


def test_an_update_that_leaks_is_defended_until_it_passes():
    stacks = "[[{name: clipping, norm: 1000}], [{name: gaussian_noise, sigma: 10.0}], [{name: gaussian_noise, sigma: 1000.0}]]"
    before, replies = watched({"audit": f"{LEAKS}, then: strengthen, every: 2, stronger: {stacks}}}"}, rounds=2)
    for reply in replies:  # the second is sent unaudited, behind the same stack with noise of its own
        after = tensors(reply.content["arrays"])
        noise = torch.cat([(after[name] - value).flatten() for name, value in before.items()])
        assert float(noise.std()) == pytest.approx(10, rel=0.1)
    first, second = (tensors(reply.content["arrays"])["layers.0.weight"] for reply in replies)
    assert not torch.equal(first, second)


def test_the_defense_in_front_of_an_audit_is_part_of_it(caplog):
    config = {"audit": LEAKS + ", then: block}", "defenses": "[{name: gaussian_noise, sigma: 10.0}]"}
    _, (reply,) = watched(config, defending())
    assert not reply.has_error()
    assert "is not one that this client makes" not in caplog.text


def test_no_update_is_audited_where_none_is_to_be(caplog):
    _, (reply,) = watched({"audit": LEAKS + ", then: block, every: 0}"})
    assert not reply.has_error()
    assert not caplog.text


def test_an_update_is_held_back_where_its_audit_cannot_tell():
    given = "{attack: {name: idlg, search: {name: lbfgs, steps: 1}}, then: block, device: cpu}"
    _, (reply,) = watched({"audit": given})
    assert reply.has_error()


UNREACHED = "{attack: {name: inverting_gradients, labels: known, steps: 5}, threat: server, device: cpu"


def test_an_update_that_cannot_be_audited_is_sent_where_audits_only_warn(caplog):
    """The attack needs labels, which this adversary has not."""
    _, (reply,) = watched({"audit": UNREACHED + "}"})
    assert not reply.has_error()
    assert "inconclusive. The update could not be audited: " in caplog.text


def test_an_update_that_cannot_be_audited_is_held_back_whatever_the_policy_allows(caplog):
    _, (reply,) = watched({"audit": UNREACHED + ", then: block, policy: {inconclusive: allow}}"})
    assert reply.error.code == 6
    assert "could not be audited" in caplog.text


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "run_config: has no 'audit'"),
        ({"audit": "{then: blok}"}, r"run_config: audit\.then"),
        ({"audit": "{evry: 2}"}, r"audit\.evry: no such key, .*every"),
        ({"audit": "{then: block, stronger: [[clipping]]}"}, "expected stacks of"),
        ({"audit": "{then: strengthen}"}, "expected stacks of"),
        ({"audit": "{then: strengthen, stronger: [[mixup]]}"}, "changes how a client trains"),
        ({"audit": "{policy: {max: 3}}"}, r"audit\.policy\.max"),
        ({"audit": "[]"}, "run_config: audit"),
        ({"audit": "{attack: dgl}"}, r"audit\.attack: .*did you mean"),
        ({"audit": "{attack: {name: dlg, steps: -3}}"}, r"audit\.attack"),
        ({"audit": "{client: {name: fedavg, epochs: 0}}"}, r"audit\.client"),
        ({"audit": "{threat: oracle}"}, "oracle"),
    ],
)
def test_settings_of_an_audit_that_do_not_fit_are_an_error_before_training(config, told):
    with pytest.raises(UsageError, match=told):
        watched(config)


def test_records_are_those_that_flower_makes():
    values = {
        "a": torch.rand(3, 4, 5),
        "half": torch.rand(2).half(),
        "count": torch.tensor(7),
        "empty": torch.empty(0, 3),
        "turned": torch.rand(3, 4).T,
        "truth": torch.tensor([True, False]),
    }
    ours, theirs = record_of(values), ArrayRecord(values)
    for name, value in values.items():
        assert (ours[name].dtype, ours[name].shape, ours[name].stype) == (
            theirs[name].dtype,
            theirs[name].shape,
            theirs[name].stype,
        )
        assert torch.equal(tensors(ours)[name], value)
        if value.is_contiguous():
            assert ours[name].data == theirs[name].data


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["float32", "<f8", ">f4", ">i2", "int64"])
@pytest.mark.parametrize(("said", "shape"), [("float32", (2, 3)), ("float64", (3, 2)), ("anything", (7,))])
def test_what_an_array_holds_is_what_its_bytes_say_whatever_is_said_of_them(order, dtype, said, shape):
    values, file = np.asarray(np.arange(6).reshape(2, 3), dtype=dtype, order=order), io.BytesIO()
    np.save(file, values)
    record = ArrayRecord({"a": Array(dtype=said, shape=shape, stype="numpy.ndarray", data=file.getvalue())})
    if values.dtype.isnative:
        assert np.array_equal(tensors(record)["a"].numpy(), values)
    else:
        with pytest.raises(UsageError, match="cannot be read"):
            tensors(record)


def corrupt(data):
    return ArrayRecord({"a": Array(dtype="float32", shape=(2,), stype="numpy.ndarray", data=data)})


@pytest.mark.parametrize("data", [b"", b"junk", b"\x93NUMPY\x01\x00\xff\xff{}", pickle.dumps([1]), "short", "object"], ids=str)
def test_bytes_that_are_no_array_are_refused(data):
    whole = record_of({"a": torch.rand(2)})["a"].data
    objects = io.BytesIO()
    np.save(objects, np.array([{}], dtype=object), allow_pickle=True)
    data = {"short": whole[:-1], "object": objects.getvalue()}.get(data, data)
    with pytest.raises(UsageError, match="cannot be read"):
        tensors(corrupt(data))


def test_a_reply_that_is_no_array_stops_no_capturing(tmp_path, caplog):
    app = ClientApp()

    @app.train()
    def train(message, _):
        return Message(RecordDict({"arrays": corrupt(b"junk")}), reply_to=message)

    grid = CapturingGrid(InProcess(app, 1, {}), tmp_path)
    message = grid.create_message(RecordDict({"arrays": ArrayRecord(Net().state_dict())}), "train", FIRST, "1")
    assert len(list(grid.send_and_receive([message]))) == 1
    assert "not captured: arrays: 'a' cannot be read" in caplog.text


class Numbered(NumPyClient):
    """A client of Flower's older interface, whose arrays have no names."""

    def __init__(self, partition):
        self.partition = partition

    def fit(self, parameters, config):
        net = Net()
        names = net.state_dict()
        net.load_state_dict({name: torch.tensor(value) for name, value in zip(names, parameters, strict=True)})
        x, y = secret(self.partition)
        loss = cross_entropy(net(x), y)
        loss.backward()
        torch.optim.SGD(net.parameters(), RATE).step()
        return [value.numpy() for value in net.state_dict().values()], 1, {"train_loss": float(loss.detach())}

    def evaluate(self, parameters, config):
        return 1.0, 1, {}


class Registered(InProcess):
    """Of a run that the older interface asks for; messages travel as copies, for it takes them apart."""

    run = SimpleNamespace(run_id=1)

    def push_messages(self, messages):
        return super().push_messages([copy.deepcopy(one) for one in messages])


def federate_numbered(folder, *mods, clients=3, rounds=2, **workflow):
    app = ClientApp(lambda context: Numbered(context.node_config["partition-id"]).to_client(), mods=list(mods))
    torch.manual_seed(0)
    net = Net()
    strategy = legacy.FedAvg(
        min_fit_clients=clients,
        min_available_clients=clients,
        initial_parameters=ndarrays_to_parameters([value.numpy() for value in net.state_dict().values()]),
        on_fit_config_fn=lambda _: {"lr": RATE, "local-steps": 1},
    )
    inner = Context(run_id=1, node_id=0, node_config={}, state=RecordDict(), run_config={})
    context = LegacyContext(context=inner, config=ServerConfig(num_rounds=rounds), strategy=strategy)
    DefaultWorkflow(**workflow)(CapturingGrid(Registered(app, clients, {}), folder), context)
    return net


def gradient_of(net, x, y):
    return dict(
        zip(
            [name for name, _ in net.named_parameters()],
            torch.autograd.grad(cross_entropy(net(x), y), list(net.parameters())),
            strict=True,
        )
    )


def test_clients_whose_arrays_have_no_names_are_captured(tmp_path):
    net = federate_numbered(tmp_path, clients=2, rounds=1)
    found = [capture.read(path) for path in capture.find(tmp_path)]
    assert len(found) == 2
    update = capture.update_of(found[0], model_of(net, (3, 16, 16), INPUTS, cross_entropy))
    exact = gradient_of(net, *secret(int(found[0].manifest.client) - FIRST))
    for name, value in exact.items():
        torch.testing.assert_close(update.delta[name] / RATE, value, rtol=1e-3, atol=1e-5)
    assert update.buffers["1.num_batches_tracked"] == 1
    assert (found[0].manifest.learning_rate, found[0].manifest.examples) == (RATE, 1)


def test_of_a_secure_aggregation_the_mean_is_captured_and_what_was_said_in_clear(tmp_path):
    net = federate_numbered(
        tmp_path,
        secaggplus_mod,
        rounds=2,
        fit_workflow=SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2, clipping_range=4.0, max_weight=1.0),
    )
    found = [capture.read(path) for path in capture.find(tmp_path)]
    assert [(one.manifest.round, one.manifest.client, one.manifest.examples) for one in found] == [
        (1, "aggregate of 3", 3),
        (2, "aggregate of 3", 3),  # of the last round as well: its evaluation sends it
    ]
    first = found[0].manifest
    assert first.defenses == ({"name": "secure_aggregation", "clients": 3},)
    for client in range(3):
        said = first.metrics[str(FIRST + client)]
        assert said["fitres.metrics"]["train_loss"] > 0
        assert said["fitres.num_examples"] == {"num_examples": 1}
    assert "masked_params" not in first.model_dump_json()
    assert first.config["secaggplus_configs"]["srcs"] == [str(FIRST + 1), str(FIRST + 2)]  # too large for readers of JSON
    update = capture.update_of(found[0], model_of(net, (3, 16, 16), INPUTS, cross_entropy))
    each = [gradient_of(net, *secret(client)) for client in range(3)]
    for name in each[0]:
        mean = sum(one[name] for one in each) / 3
        torch.testing.assert_close(
            update.delta[name].float() / RATE, mean, rtol=0, atol=1e-3
        )  # SecAgg+ rounds weights to 2e-6 here
        assert float((update.delta[name].float() / RATE - each[0][name]).norm()) > 0.1 * float(each[0][name].norm())


def test_an_aggregate_is_audited_as_one(tmp_path):
    workflow = SecAggPlusWorkflow(num_shares=3, reconstruction_threshold=2, clipping_range=4.0, max_weight=1.0)
    net = federate_numbered(tmp_path, secaggplus_mod, rounds=1, fit_workflow=workflow)
    found = capture.read(capture.find(tmp_path)[0])
    private = [secret(client) for client in range(3)]
    truth = lg.Batch(torch.cat([x for x, _ in private]), torch.cat([y for _, y in private]))
    quick = {"name": "inverting_gradients", "labels": "counts", "steps": 2}
    result = attack(dataclasses.replace(found, truth=truth), Given(model=net, shape=(3, 16, 16), attack=quick, device="cpu"))
    assert not result.record.setting.mismatch
    assert result.record.setting.examples == 3


def test_evaluations_are_left_alone():
    grid = InProcess(client(defending()), 1, {})
    message = grid.create_message(RecordDict({"arrays": ArrayRecord(Net().state_dict())}), "evaluate", FIRST, "1")
    assert not grid.app(message, grid.contexts[FIRST]).has_error()
