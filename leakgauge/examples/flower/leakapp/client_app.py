"""The client: trains, and lets nothing leave that was not defended and audited as the run's settings say."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from torch import Tensor
from torch.nn.functional import cross_entropy

from leakapp.task import Net, photograph
from leakgauge.flower import auditing, defending


def examples(_: Message, context: Context) -> tuple[Tensor, Tensor]:
    """Return what this client trains on."""
    return photograph(int(context.node_config["partition-id"]))


app = ClientApp(mods=[auditing(Net, examples), defending()])


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train for a step, and return the new weights."""
    net = Net()
    net.load_state_dict(message.content["arrays"].to_torch_state_dict())
    x, y = examples(message, context)
    optimizer = torch.optim.SGD(net.parameters(), lr=float(message.content["config"]["lr"]))
    loss = cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    metrics = MetricRecord({"train_loss": loss.item(), "num-examples": len(x)})
    return Message(RecordDict({"arrays": ArrayRecord(net.state_dict()), "metrics": metrics}), reply_to=message)
