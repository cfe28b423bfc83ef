"""Run audits: a process for each, so that one that is killed takes no other with it and memory is given back."""

from leakgauge.executor.running import Event, Listener, Summary, execute, ignore
from leakgauge.executor.tasks import Job, Runtime, Task, Tick, task_of

__all__ = ["Event", "Job", "Listener", "Runtime", "Summary", "Task", "Tick", "execute", "ignore", "task_of"]
