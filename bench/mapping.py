"""Neurons placed on the engines of a virtual core: expected issue rows of the three methods, bounds, seconds.

Rows are expected events x rows per event, summed over layers, at rates measured by the reference simulation. Each
placement goes through the independent checker. `gap` is to a proven bound. `counted_gap`, of networks with random
connections, is to the rows that such a network needs except with chance 1e-9 (`placement/counting.py`): no proof for
one network, but it shows how much of a gap is the network's. Cases:

    nmnist           the zoo's CNN, 16 engines, recordings as input (SPIKELOOM_DATA); also `nmnist_pruned`, 70 % zeros,
                     `nmnist_mlp`, 2312-100-10, and `nmnist_mlp_pruned`, 90 % zeros, pruned in training
    pruned_digits    64-512-10, 90 % zeros, 16 engines, the digits as input
    pruned_mnist     784-1024-10, 90 % zeros, 16 engines, MNIST as input (SPIKELOOM_DATA)
    graph            2 000 neurons, each a source of 8 others on average, one event each, on 20 engines x 100
    graph_passes     the same on 20 x 32: four passes
    dense            digits, not pruned: nothing to gain
"""

from collections.abc import Iterator

import numpy as np
from _common import data_folder, main, stream, zoo_project
from scipy import sparse
from sparse import pruned

from spikeloom.config import DataConfig
from spikeloom.errors import InputError
from spikeloom.mapping.placement import Problem, check, counting_bound, explain, measured_rates, place, problem_of
from spikeloom.network.integer import IntegerNetwork
from spikeloom.project import Project

SECONDS, INPUTS, ENGINES = 60.0, 100, 16
ROWS, DEPTH = 1 << 16, 1 << 13


def problems(network: IntegerNetwork, project: Project) -> list[Problem]:
    """A problem for each layer, at the rates that the inputs of a project cause."""
    rates = measured_rates(network, project.inputs(INPUTS).spikes)
    return [
        problem_of(
            layer, engines=ENGINES, slots=-(-layer.neurons // ENGINES), weight_depth=DEPTH, rows=ROWS, rates=each
        )
        for layer, each in zip(network.layers, rates, strict=True)
    ]


def graph(slots: int, passes: int) -> list[Problem]:
    """The random graph."""
    pattern = stream(41, 0).random((2000, 2000)) < 8 / 2000
    targets = sparse.csr_array(np.where(pattern, np.cumsum(pattern).reshape(pattern.shape), 0))
    return [
        Problem(
            name="graph", targets=targets, rates=np.ones(2000), engines=20, slots=slots, weight_depth=DEPTH, rows=ROWS,
            passes=passes,
        )
    ]  # fmt: skip


def cases() -> Iterator[tuple[str, list[Problem]]]:
    digits = zoo_project("digits")
    yield "dense", problems(digits.network, digits)
    yield "pruned_digits", problems(pruned([64, 512, 10], 0.1), digits)
    yield "graph", graph(100, 1)
    yield "graph_passes", graph(32, 4)
    try:
        mnist = zoo_project("mnist8", data=DataConfig(set="mnist", path=str(data_folder("mnist"))))
        recordings = DataConfig(set="nmnist", path=str(data_folder("nmnist")))
    except InputError as error:
        if "SPIKELOOM_DATA is not set" not in str(error):
            raise
        return
    for name in ("nmnist", "nmnist_pruned", "nmnist_mlp", "nmnist_mlp_pruned"):
        project = zoo_project(name, data=recordings)
        yield name, problems(project.network, project)
    yield "pruned_mnist", problems(pruned([784, 1024, 10], 0.1), mnist)


def measure() -> dict:
    """The figures."""
    answer: dict = {"search_seconds": SECONDS}
    for name, given in cases():
        rows: dict[str, float] = {}
        bound = counted = served = 0.0
        for problem in given:
            for method in ("round_robin", "greedy", "ilp"):
                placement = place(problem, method, seconds=SECONDS)
                check(problem, placement)
                rows[method] = rows.get(method, 0.0) + placement.expected_rows
            bound += placement.bound
            served += problem.useful
            if name.startswith(("pruned", "graph", "nmnist_mlp_pruned")) and placement.passes == 1:
                counted += counting_bound(problem)
            answer[f"{name}_{problem.name}"] = {
                "neurons": problem.neurons,
                "status": placement.status,
                "passes": placement.passes,
                "bound_from": placement.bound_from,
                "seconds": round(placement.seconds, 1),
                "where": {key: round(value, 2) for key, value in explain(problem, placement)["where"].items()},
            }
        answer |= {f"{name}_{method}": round(value, 2) for method, value in rows.items()}
        answer[f"{name}_bound"] = round(bound, 2)
        answer[f"{name}_gap"] = round(1 - bound / rows["ilp"], 4)
        if counted:
            answer[f"{name}_counted_gap"] = round(1 - max(counted, bound) / rows["ilp"], 4)
        answer[f"{name}_saved"] = round(1 - rows["ilp"] / rows["round_robin"], 4)
        answer[f"{name}_useful"] = round(served / given[0].engines / rows["ilp"], 4)
        if rows["ilp"] > rows["greedy"]:
            raise AssertionError(f"{name}: the program is worse than greedy")
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
