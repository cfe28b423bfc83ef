"""The client: one step of SGD a round, on one photograph."""

from __future__ import annotations

import nvflare.client as flare
import torch
from nvflare.client import FLModel
from task import Net, photograph
from torch.nn.functional import cross_entropy

RATE = 0.1

flare.init()
x, y = photograph(int(flare.get_site_name().rpartition("-")[2]) - 1)
while flare.is_running():
    received = flare.receive()
    net = Net()
    net.load_state_dict({name: torch.as_tensor(value) for name, value in received.params.items()})
    optimizer = torch.optim.SGD(net.parameters(), lr=RATE)
    loss = cross_entropy(net(x), y)
    loss.backward()
    optimizer.step()
    params = {name: value.detach() for name, value in net.state_dict().items()}
    flare.send(FLModel(params=params, metrics={"loss": loss.item()}, meta={"NUM_STEPS_CURRENT_ROUND": 1}))
