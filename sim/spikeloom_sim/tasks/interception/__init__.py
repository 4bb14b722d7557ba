"""The interception task with the controllers that are hardware: the digital core on RTL, the crossbar."""

from .digital import DigitalController, task_project
from .measure import Comparison, compare, loop_figures
from .run import TaskOptions, run_task

__all__ = [
    "Comparison",
    "DigitalController",
    "TaskOptions",
    "compare",
    "loop_figures",
    "run_task",
    "task_project",
]
