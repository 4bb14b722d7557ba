"""What a core must have for a layer, and which of its limits a layer meets first."""

from dataclasses import replace

import numpy as np

from ...errors import InputError
from .greedy import constructed
from .problem import Problem, shape_of
from .state import Reduced, State, reduced

__all__ = ["explain_failure", "fewest_passes", "needs"]


def needs(given: Reduced) -> dict[str, int]:
    """Least `slots`, `weight_depth` and `rows` with which one pass could do, each on its own.

    All neurons need a slot; all weights in use stand in at least one memory; an event needs at least ceil(targets / M)
    rows, in whichever passes. In P passes a P-th of each could do.
    """
    problem = given.problem
    words = int(given.own.sum()) + shape_of(given.shared)[1]
    return {
        "slots": -(-problem.neurons // problem.engines),
        "weight_depth": -(-words // problem.engines),
        "rows": int(given.count @ -(-given.fan_out // problem.engines)),
    }


def fewest_passes(given: Reduced) -> int:
    """Passes that are certainly needed.

    Raises
    ------
    InputError
        Where that is more than allowed, or where a single neuron exceeds a memory; says which, and what is accepted.
    """
    problem = given.problem

    def fail(text: str):
        raise InputError(f"layer {problem.name!r}: {text}")

    words = given.own + np.diff(given.shared.indptr)
    worst = int(words.argmax())
    if words[worst] > problem.weight_depth:
        fail(
            f"weight_depth = {problem.weight_depth}: neuron {worst} alone has {words[worst]} different weights; "
            f"accepted is at least {words[worst]}"
        )
    rows = given.synapses @ given.count.astype(np.float64)
    worst = int(rows.argmax())
    if rows[worst] > problem.rows:
        fail(
            f"rows = {problem.rows}: neuron {worst} alone has {int(rows[worst])} sources, and each needs a row of the "
            f"dispatch memory; accepted is at least {int(rows[worst])}"
        )
    least = needs(given)
    passes = {key: -(-value // getattr(problem, key)) for key, value in least.items()}
    binding = max(passes, key=lambda key: passes[key])
    if passes[binding] > problem.passes:
        wanted = {
            "slots": f"{problem.neurons} neurons share",
            "weight_depth": f"all {int(given.own.sum()) + shape_of(given.shared)[1]} different weights share",
            "rows": f"the events of all sources need at least {least['rows']} rows of",
        }[binding]
        fail(
            f"{binding} = {getattr(problem, binding)}, passes = {problem.passes}: {wanted} "
            f"{'the dispatch memory' if binding == 'rows' else f'{problem.engines} engines'}; accepted are at least "
            f"{passes[binding]} passes, or {binding} of at least {-(-least[binding] // problem.passes)}"
        )
    return max(passes.values())


def explain_failure(given: Reduced, state: State, *, proven: bool) -> str:
    """Message for a layer of which not all neurons found a place in the most passes: what binds, and what would do."""
    problem, placed = given.problem, int((state.bin >= 0).sum())
    lines = [
        f"layer {problem.name!r}: {placed} of {problem.neurons} neurons found a place in {problem.passes} "
        f"pass{'es' if problem.passes > 1 else ''}" + (", and it is proven that not all can" if proven else "")
    ]
    huge = 1 << 40
    for keys in (("rows",), ("weight_depth",), ("rows", "weight_depth")):
        found = _without(problem, **{key: huge for key in keys})
        if found is not None:
            wanted = {"rows": int(found.rows.max()), "weight_depth": _words(found)}
            given_text = ", ".join(f"{key} = {getattr(problem, key)}" for key in keys)
            accepted = " and ".join(f"{key} = {wanted[key]}" for key in keys)
            lines.append(f"{given_text} binds; accepted are {accepted} (a placement was found), or more passes")
            break
    return "; ".join(lines)


def _without(problem: Problem, **limits: int) -> State | None:
    """A greedy placement of all neurons under other limits."""
    given = reduced(replace(problem, **limits))
    state = constructed(given, problem.passes)
    return state if (state.bin >= 0).all() else None


def _words(state: State) -> int:
    """Largest number of different weights of an engine."""
    weights, most = state.given.problem.weights_of, 0
    for members in state.members:
        most = max(most, len(np.unique(weights[members].indices)) if members else 0)
    return most
