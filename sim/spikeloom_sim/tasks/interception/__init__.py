"""The interception task with the controllers that are hardware: the digital core and the crossbar core, both as
compiled RTL, and the analog models of the published circuit."""

from .analog import ALL_EFFECTS, LADDER, AnalogController, Effects
from .core import CoreController, CrossbarController, DigitalController, crossbar_config, task_project
from .measure import Comparison, compare, compare_chips, loop_figures
from .run import TaskOptions, climb, run_task

__all__ = [
    "ALL_EFFECTS",
    "LADDER",
    "AnalogController",
    "Comparison",
    "CoreController",
    "CrossbarController",
    "DigitalController",
    "Effects",
    "TaskOptions",
    "climb",
    "compare",
    "compare_chips",
    "crossbar_config",
    "loop_figures",
    "run_task",
    "task_project",
]
