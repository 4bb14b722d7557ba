"""What the float reference of `zoo:interception` sees in its pursuits, as recorded events: the data set of the network.

It exercises the network with the inputs that it will meet: calibration, simulation, switching activity. There are no
classes; the answer is a number of spikes.
"""

from dataclasses import dataclass

import numpy as np

from .code import INPUTS, encode
from .controllers import ReferenceController
from .prey import draw_prey
from .pursuit import pursue, steer
from .weights import DT, own_weights

__all__ = ["TEST_KEY", "InterceptionTask", "Observation"]

TEST_KEY = 1 << 32  # number of the first path of the test half
TRAIN, TEST = 200, 200
STEP_US = round(DT * 1e6)


@dataclass(frozen=True, eq=False)
class Observation:
    """The input spikes of one observation: `times_us` and `addresses`, int64 [events], in order of time."""

    times_us: np.ndarray
    addresses: np.ndarray


@dataclass(frozen=True, eq=False)
class InterceptionTask:
    """Observations of `train` and `test` pursuits of seeded prey, made when they are asked for."""

    seed: int = 0
    train: int = TRAIN
    test: int = TEST

    shape = (INPUTS,)

    def half(self, *, train: bool, count: int | None = None) -> tuple[list[Observation], None]:
        """The first `count` observations of one half, pursuit by pursuit; there are no labels."""
        first, paths = (0, self.train) if train else (TEST_KEY, self.test)
        numbers = range(first, first + paths)
        pursuit = pursue(draw_prey(self.seed, numbers), steer(ReferenceController(own_weights())), numbers=numbers)
        observations = []
        for spikes in encode(pursuit.recorded()[:count]):
            steps, addresses = np.nonzero(spikes)
            observations.append(Observation(steps * STEP_US, addresses))
        return observations, None
