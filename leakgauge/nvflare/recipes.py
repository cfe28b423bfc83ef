"""A job's recipe, with filters added: one line for captures, one for defenses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from leakgauge.api import Config
from leakgauge.nvflare.filters import Captured, Defended, Remembered
from leakgauge.outgoing import built

TASKS = ("train",)


def capturing(recipe: Any, folder: str | Path, *, learning_rate: float | None = None, tasks: Sequence[str] = TASKS) -> None:
    """Let the server of a job write a capture of every result of its clients below `folder`, as it arrives there.

    A relative folder is below the server's own. `learning_rate` is that of the clients, which no message says.
    """
    recipe.add_server_output_filter(Remembered(), tasks=list(tasks))
    recipe.add_server_input_filter(Captured(str(folder), learning_rate), tasks=list(tasks))


def defending(recipe: Any, defenses: Sequence[Config], *, tasks: Sequence[str] = TASKS) -> None:
    """Let the clients of a job put defenses on what they send, which has to be a difference (`TransferType.DIFF`).

    Raises UsageError for defenses that are none, or that change how a client trains.
    """
    built(defenses)
    recipe.add_client_output_filter(Defended(list(defenses)), tasks=list(tasks))
