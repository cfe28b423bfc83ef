"""A federation between two rounds, as a file of tensors: training goes on from it, and an audit can start from it."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from leakgauge.core.errors import UsageError
from leakgauge.core.types import Params
from leakgauge.federation.rounds import State

SUFFIX = ".safetensors"
_ROUND = "round"


def save(path: Path, state: State, made: Mapping[str, str]) -> None:
    """Write a state, whole or not at all, with what there is to say about how it came about."""
    groups: dict[str, Params] = {"params": state.params, "buffers": state.buffers}
    groups |= {f"server/{slot}": values for slot, values in state.server.items()}
    groups |= {f"kept/{client}": values for client, values in state.kept.items()}
    tensors = {
        f"{group}/{name}": value.detach().cpu().clone().contiguous() for group, own in groups.items() for name, value in own.items()
    }
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        unfinished = Path(folder) / path.name
        save_file(tensors, unfinished, {**made, _ROUND: str(state.round)})
        unfinished.replace(path)


def load(path: Path) -> tuple[State, dict[str, str]]:
    """Return the state, on the CPU, and what is said about it. Raises UsageError for a file that holds no state."""
    groups: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, framework="pt") as file:
            made = dict(file.metadata() or {})
            for key in file.keys():  # noqa: SIM118  it is no mapping
                group, _, name = key.rpartition("/")
                groups.setdefault(group, {})[name] = file.get_tensor(key)
        number = int(made.pop(_ROUND))
        params = groups.pop("params")
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise UsageError(f"checkpoint: {path} holds no state of a federation ({error}), expected one of federate") from error
    kept = {int(client): values for client, values in _within("kept/", groups).items()}
    return State(number, params, groups.get("buffers", {}), _within("server/", groups), kept), made


def _within(kind: str, groups: Mapping[str, Params]) -> dict[str, Params]:
    return {group.removeprefix(kind): values for group, values in groups.items() if group.startswith(kind)}
