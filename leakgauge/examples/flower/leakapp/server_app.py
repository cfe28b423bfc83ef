"""The server: federated averaging, with a capture of everything that clients send."""

from __future__ import annotations

import torch
from flwr.app import ArrayRecord, ConfigRecord, Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from leakapp.task import Net
from leakgauge.flower import CapturingGrid

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds."""
    torch.manual_seed(0)
    config = context.run_config
    FedAvg(fraction_evaluate=0.0).start(
        grid=CapturingGrid(grid, str(config["captures"])),
        initial_arrays=ArrayRecord(Net().state_dict()),
        train_config=ConfigRecord({"lr": float(config["lr"]), "local-steps": 1}),
        num_rounds=int(config["num-server-rounds"]),
    )
