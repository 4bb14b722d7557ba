"""Accuracy of mixed-signal engines over chips, on all held-out N-MNIST recordings, against the integer network.

Every network of the zoo that was trained on N-MNIST, event by event with everything that the circuit does (mismatch,
parasitics, amplifier, switches, comparator, noise, rails). The sweep changes one parameter at a time on fewer chips.
"""

from typing import Any

import numpy as np
from _common import data_folder, main, zoo_project

from spikeloom.config import DataConfig, VirtualConfig
from spikeloom.network import zoo
from spikeloom.network.reference import simulate
from spikeloom_analog.virtual import EngineParameters, virtual_chips

CHIPS, SWEPT = 32, 8
ENGINES, SLOTS = 16, 1024
ALL = 1 << 30  # more recordings than there are
SWEEP: dict[str, dict[str, Any]] = {
    "mismatch 1 %": {"mismatch": 0.01},
    "mismatch 2 %": {"mismatch": 0.02},
    "parasitics not compensated": {"compensated": False},
    "parasitics 5 %, spread 10 %": {"parasitic": 0.05, "parasitic_spread": 0.1},
    "gain 40 dB": {"gain": 100.0},
    "comparator offset 10 mV": {"comparator_offset": 10e-3},
    "injection 20 aC": {"injection": 20e-18, "injection_spread": 10e-18},
    "rail at 4 thresholds": {"swing_low": 0.4},
}


def measure() -> dict:
    """The figures, by network."""
    data = DataConfig(set="nmnist", path=str(data_folder("nmnist")))
    core = VirtualConfig(kind="virtual", engines=ENGINES, slots=SLOTS)
    names = [name for name in zoo.names() if zoo.settings(name)["data"] == "nmnist"]
    return {"engines": ENGINES} | {name: one(zoo_project(name, data=data, core=core)) for name in names}


def one(project) -> dict:
    """The figures of a network."""
    inputs = project.inputs(ALL)
    labels, plan = np.asarray(inputs.labels), project.plan
    digital = float((simulate(project.network, inputs.spikes).decision() == labels).mean())

    def accuracies(chips: int, **changes) -> np.ndarray:
        made = virtual_chips(plan, seeds=range(chips), parameters=EngineParameters(**changes))
        return np.concatenate(
            [(_counts(made.chip(n), inputs.spikes).argmax(axis=1) == labels)[None] for n in range(chips)]
        ).mean(axis=1)

    found = accuracies(CHIPS)
    made = virtual_chips(plan, seeds=range(CHIPS))
    stepwise = [(simulate(made.integer_network(n), inputs.spikes).decision() == labels).mean() for n in range(CHIPS)]
    p = EngineParameters()
    return {
        "recordings": len(labels),
        "digital": digital,
        "chips": CHIPS,
        "mismatch": p.mismatch,
        "parasitic": p.parasitic,
        "compensated": p.compensated,
        "accuracy": round(float(found.mean()), 5),
        "worst": float(found.min()),
        "best": float(found.max()),
        "loss_points": round(100 * (digital - float(found.mean())), 3),
        "as_integer_network": round(float(np.mean(stepwise)), 5),
        "sweep_chips": SWEPT,
        "sweep": {name: round(float(accuracies(SWEPT, **changes).mean()), 5) for name, changes in SWEEP.items()},
        "amplifier_ua": {
            name: {"settling": round(i.settling * 1e6, 2), "slewing": round(i.slewing * 1e6, 2), "from": i.limited_by}
            for name, i in made.integrators.items()
        },
    }


def _counts(chips, spikes: np.ndarray) -> np.ndarray:
    """Output spikes of the first chip, [B, outputs]."""
    return chips.run(spikes)[-1][0].sum(axis=1)


if __name__ == "__main__":
    main(measure, __doc__ or "")
