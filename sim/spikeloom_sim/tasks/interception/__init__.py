"""The interception task with the controllers that are hardware: the digital core on RTL, the crossbar."""

from .crossbar import ALL_EFFECTS, LADDER, CrossbarController, Effects
from .digital import DigitalController, task_project
from .measure import Comparison, compare, compare_chips, loop_figures
from .run import TaskOptions, climb, run_task

__all__ = [
    "ALL_EFFECTS",
    "LADDER",
    "Comparison",
    "CrossbarController",
    "DigitalController",
    "Effects",
    "TaskOptions",
    "climb",
    "compare",
    "compare_chips",
    "loop_figures",
    "run_task",
    "task_project",
]
