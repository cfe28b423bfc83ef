"""A job whose server captures what its clients send. `python job.py` runs it in NVFlare's simulator.

With arguments, its clients defend what they send: python job.py '[{name: gaussian_noise, sigma: 0.01}]'
"""

from __future__ import annotations

import sys
from pathlib import Path

from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.client.config import TransferType
from nvflare.recipe import SimEnv
from task import Net

from leakgauge.core.reading import read_yaml
from leakgauge.nvflare import capturing, defending

if __name__ == "__main__":
    recipe = FedAvgRecipe(
        name="leak",
        model=Net(),
        min_clients=2,
        num_rounds=2,
        train_script="client.py",
        params_transfer_type=TransferType.DIFF,
    )
    capturing(recipe, Path("captures").resolve(), learning_rate=0.1)
    if len(sys.argv) > 1:
        defending(recipe, read_yaml(sys.argv[1], "defenses"))
    recipe.execute(SimEnv(num_clients=2, workspace_root=str(Path("workspace").resolve())))
