"""The interception task: both cores on RTL in the loop, the ladder of the analog models on 100 chips, plain pursuit.

With the published weights (SPIKELOOM_DATA/interception) and with our own. MSE and correlation are those of `out`
(1 is 120 degrees), open loop, on the inputs that the float reference saw in its closed loop; their distribution is in
the answer, and so is what other seeds of the prey do to the figure of spread spikes.
"""

import time
from pathlib import Path

import numpy as np
from _common import data_folder, main, scratch

from spikeloom.network.interception import (
    IntegerController,
    ReferenceController,
    draw_prey,
    own_weights,
    pure_pursuit,
    pursue,
    read_weights,
    steer,
)
from spikeloom_sim.tasks.interception import (
    LADDER,
    AnalogController,
    CrossbarController,
    DigitalController,
    climb,
    compare,
    crossbar_config,
    loop_figures,
    task_project,
)
from spikeloom_sim.tasks.interception.measure import describe_inputs

TRAJECTORIES = 200
CHIPS = 100
LOOPED_CHIPS = 5
SEEDS = 5


def measure() -> dict:
    """The figures, of both sets of weights."""
    given = {"published": read_weights(data_folder("interception")), "own": own_weights()}
    prey = draw_prey(0, range(TRAJECTORIES))
    answer = {
        "trajectories": TRAJECTORIES,
        "chips": CHIPS,
        "pure_pursuit": loop_figures(pursue(prey, pure_pursuit)),
        **{name: one(weights, prey) for name, weights in given.items()},
    }
    answer["published"]["spread_mse_by_seed"] = [spread(given["published"], seed) for seed in range(SEEDS)]
    return answer


def one(weights, prey) -> dict:
    """Figures of one set of weights."""
    reference, integer = ReferenceController(weights), IntegerController(weights)
    loop = pursue(prey, steer(reference))
    values, keys = loop.recorded(), loop.recorded_keys()
    wanted = reference.counts(values)
    with scratch() as place:
        core = DigitalController.build(task_project(weights, Path(place, "network")), Path(place, "build"))
        on_rtl = pursue(prey, steer(core))
        digital = compare(core.counts(values, keys), wanted)
        project = task_project(weights, Path(place, "crossbar_network"), crossbar_config(), "interception_crossbar")
        crossbar = CrossbarController.build(project, Path(place, "crossbar"))
        start = time.monotonic()
        on_crossbar = pursue(prey, steer(crossbar))
        crossbar_seconds = time.monotonic() - start
        gateware = compare(crossbar.counts(values, keys), wanted)
    alike = pursue(prey, steer(integer))
    start = time.monotonic()
    ladder = climb(weights, values, keys, CHIPS)
    seconds = time.monotonic() - start
    chips = [pursue(prey, steer(AnalogController(weights, chips=seed))) for seed in range(LOOPED_CHIPS)]
    return {
        "observations": len(values),
        "inputs": describe_inputs(values),
        "float_closed_loop": loop_figures(loop),
        "digital_closed_loop": loop_figures(on_rtl),
        "digital_open_loop": digital.to_json(),
        "digital_rtl": core.rtl_figures(),
        "digital_paths_equal_integer_paths": bool((on_rtl.predator == alike.predator).all()),
        "crossbar_closed_loop": loop_figures(on_crossbar),
        "crossbar_open_loop": gateware.to_json(),
        "crossbar_rtl": crossbar.rtl_figures(),
        "crossbar_loop_seconds": round(crossbar_seconds, 1),
        "analog_ladder": ladder,
        "analog_ladder_seconds": round(seconds, 1),
        "analog_closed_loop_by_chip": [loop_figures(chip) for chip in chips],
    }


def spread(weights, seed: int) -> float:
    """MSE of the ideal circuit with spikes spread over the window, on prey of this seed."""
    reference = ReferenceController(weights)
    loop = pursue(draw_prey(seed, range(TRAJECTORIES)), steer(reference))
    values, keys = loop.recorded(), loop.recorded_keys()
    chip = AnalogController(weights, LADDER["spread over the window"])
    return round(compare(chip.counts(values, keys), np.asarray(reference.counts(values))).mse, 6)


if __name__ == "__main__":
    main(measure, __doc__ or "")
