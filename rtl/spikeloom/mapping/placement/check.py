"""An independent check of a placement, from the definition of a core alone: no model, no merged sources."""

from collections import Counter, defaultdict

import numpy as np
from scipy import sparse

from ...errors import SpikeloomError
from .problem import Placement, Problem

__all__ = ["check"]


def check(problem: Problem, placement: Placement) -> None:
    """Deal every synapse to its engine, one by one, and see that each memory holds what it is given.

    Raises
    ------
    SpikeloomError
        Names the first constraint that is broken, and by how much.
    """

    def fail(text: str):
        raise SpikeloomError(f"layer {problem.name!r}: {text}")

    neurons, turns, engines = problem.neurons, problem.passes, problem.engines
    for name, values, most in (("engine", placement.engine, engines), ("turn", placement.turn, turns)):
        values = np.asarray(values)
        if values.shape != (neurons,) or values.dtype.kind not in "iu":
            fail(f"{name} of shape {values.shape} and type {values.dtype}: there are {neurons} neurons")
        for neuron, value in enumerate(values.tolist()):
            if not 0 <= value < most:
                fail(f"neuron {neuron}: {name} {value} is not one of {most}")
    place = list(zip(placement.turn.tolist(), placement.engine.tolist(), strict=True))
    for (turn, engine), held in sorted(Counter(place).items()):
        if held > problem.slots:
            fail(f"slots: engine {engine} holds {held} neurons in pass {turn}; it has {problem.slots}")
    words: dict[tuple[int, int], set[int]] = defaultdict(set)
    targets: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)  # (pass, source): targets on each engine
    synapses = sparse.coo_array(problem.targets)
    for source, neuron, weight in zip(
        synapses.row.tolist(), synapses.col.tolist(), synapses.data.tolist(), strict=True
    ):
        if weight:
            turn, engine = place[neuron]
            words[turn, engine].add(weight)
            targets[turn, source][engine] += 1
    for (turn, engine), held in sorted(words.items()):
        if len(held) > problem.weight_depth:
            fail(f"weight_depth: engine {engine} needs {len(held)} words in pass {turn}; it has {problem.weight_depth}")
    rows: Counter[int] = Counter()
    expected = 0.0
    for (turn, source), each in targets.items():
        rows[turn] += max(each.values())
        expected += float(problem.rates[source]) * max(each.values())
    for turn, need in sorted(rows.items()):
        if need > problem.rows:
            fail(f"rows: pass {turn} needs {need} rows of the dispatch memory; it has {problem.rows}")
    if abs(expected - placement.expected_rows) > 1e-9 * max(1.0, expected):
        fail(f"expected_rows: {placement.expected_rows} is stated; it is {expected}")
    if placement.bound > expected * (1 + 1e-9):
        fail(f"bound: {placement.bound} is stated; this placement has {expected}")
