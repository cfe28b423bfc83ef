"""Run audits and trainings: a process for each, so that one that is killed takes no other with it and memory is given back."""

from leakgauge.executor.on_ray import execute_on_ray
from leakgauge.executor.running import Event, Listener, Summary, execute, ignore
from leakgauge.executor.tasks import Job, Runtime, Task, Tick, task_of
from leakgauge.executor.trainings import TRAININGS, Trained, finished, train

__all__ = [
    "Event",
    "Job",
    "Listener",
    "Runtime",
    "Summary",
    "TRAININGS",
    "Task",
    "Tick",
    "Trained",
    "execute",
    "execute_on_ray",
    "finished",
    "ignore",
    "task_of",
    "train",
]
