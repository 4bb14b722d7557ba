"""Time and memory of elaborating 784-128-10 and 784-1024-1024-10, from the network to the build folder."""

import json
import resource
import subprocess
import sys
import time
from pathlib import Path

from _common import fixed_project, main, random_network, scratch, silent_inputs, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate


def one(name: str) -> dict:
    """Elaborate one design in this process."""
    begin = time.monotonic()
    if name == "mnist":
        project = zoo_project("mnist4")
    else:
        lanes = "full" if name == "large_full" else 64
        network = random_network([784, 1024, 1024, 10], weight_bits=8, potential_bits=12)
        core = DigitalConfig(lanes=lanes if lanes == "full" else [64, 64, 10])
        project = fixed_project(network, steps=25, core=core, name="large_core")
    with scratch() as place:
        elaborate(project, Path(place, name), inputs=silent_inputs(project))
    kilobytes = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {"s": round(time.monotonic() - begin, 2), "mb": round(kilobytes / 1024)}


def measure() -> dict:
    """The figures of the table in the README: `large` has a lane for every neuron, `large_64` 64 lanes a layer."""
    answer = {}
    for key, name in (("mnist", "mnist"), ("large", "large_full"), ("large_64", "large_64")):
        done = subprocess.run([sys.executable, __file__, "--one", name], stdout=subprocess.PIPE, text=True, check=True)
        result = json.loads(done.stdout.splitlines()[-1])
        answer |= {f"{key}_s": result["s"], f"{key}_mb": result["mb"]}
    return answer


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2])))
    else:
        main(measure, __doc__ or "")
