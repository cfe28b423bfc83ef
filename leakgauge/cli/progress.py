"""How far the work is, on stderr: bars on a terminal, lines elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from leakgauge.cli.screen import Screen
from leakgauge.core.printable import line

if TYPE_CHECKING:
    from leakgauge.executor import Event, Listener


@contextmanager
def audits(total: int) -> Iterator[Listener]:
    """Show how far the audits are, with the time that is left on a terminal and a line for each audit elsewhere."""
    console = Screen(stderr=True)
    with _bars(console) as bars:
        yield _Display(console, bars, total)


@contextmanager
def steps(total: int, what: str) -> Iterator[Callable[[int], None]]:
    """Show how many of so many steps are done, on a terminal."""
    console = Screen(stderr=True)
    with _bars(console) as bars:
        task = bars.add_task(f"{total} {what}", total=total)
        yield lambda done: bars.update(task, completed=done)


@contextmanager
def share(what: str) -> Iterator[Callable[[float], None]]:
    """Show which share of one thing is done, on a terminal."""
    with _bars(Screen(stderr=True)) as bars:
        task = bars.add_task(what, total=1.0)
        yield lambda done: bars.update(task, completed=done)


def _bars(console: Console) -> Progress:
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)


class _Display:
    """Bars for all and for each audit that runs."""

    def __init__(self, console: Console, bars: Progress, total: int) -> None:
        self.console, self.bars, self.total, self.ended = console, bars, total, 0
        self.whole = bars.add_task(f"{total} audits", total=total) if total > 1 else None
        self.parts: dict[str, tuple[TaskID, float]] = {}

    def __call__(self, event: Event) -> None:
        key, name = event.task.key, line(event.task.name)
        match event.kind:
            case "started":
                self.parts[key] = self.bars.add_task(name, total=1.0), 0.0
            case "progress":
                self._advance(key, event.share)
            case "retried":
                self._line(f"{name}: started again. {line(event.message)}")
                self._remove(key)
            case "skipped" | "ended":
                self.ended += 1
                self._remove(key)
                if self.whole is not None:
                    self.bars.update(self.whole, completed=self._completed())
                if event.record is not None:
                    when = "finished before" if event.kind == "skipped" else f"{event.record.seconds:.1f} s"
                    self._line(f"{self.ended}/{self.total} {name}: {event.record.verdict.outcome} ({when})")

    def _advance(self, key: str, share: float) -> None:
        bar, _ = self.parts[key]
        self.parts[key] = bar, share
        self.bars.update(bar, completed=share)
        if self.whole is not None:
            self.bars.update(self.whole, completed=self._completed())

    def _remove(self, key: str) -> None:
        if key in self.parts:
            self.bars.remove_task(self.parts.pop(key)[0])

    def _completed(self) -> float:
        return self.ended + sum(share for _, share in self.parts.values())

    def _line(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)
