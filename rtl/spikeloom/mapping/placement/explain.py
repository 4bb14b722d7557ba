"""A placement explained: how full the memories are, where the rows go, and what limits."""

from typing import Any

import numpy as np
from scipy import sparse

from .limits import needs
from .problem import Placement, Problem, lengths
from .state import reduced

__all__ = ["explain"]


def explain(problem: Problem, placement: Placement) -> dict[str, Any]:
    """What a report shows of a placement, as JSON values.

    Returns
    -------
    dict
        neurons, words : [passes][engines]
            Slots, and words of the weight memory, that each engine uses.
        served : [passes][engines]
            Expected synapses that each engine serves: sum_e rate_e targets.
        rows : [passes]
            Rows of the dispatch memory in use.
        occupied : [passes]
            Part of the slots of those rows that hold a synapse.
        limits, used
            Of `slots`, `weight_depth`, `rows`: what there is, and the largest part of it in use.
        expected_rows, bound, bound_from, gap, status, method, passes, fewest_passes
            Of the placement.
        where : dict
            The expected rows in four parts. `useful`: sum_e rate_e targets_e / M; `rounding`: what ceil adds to that,
            because a row has M slots and a source seldom M targets; `passes`: because the targets of a source lie in
            several passes, which each round; `imbalance`: because they are unevenly spread over engines.
        useful : float
            Useful slots / (rows issued x M).
        text : list of str
            What limits, in words.
    """
    passes, engines = placement.passes, problem.engines
    each = lengths(problem, placement)
    bins = placement.turn * engines + placement.engine
    table = problem.targets
    source = np.repeat(np.arange(problem.sources), problem.fan_out)

    def by_bin(weights: np.ndarray | None, where: np.ndarray) -> np.ndarray:
        return np.bincount(where, weights=weights, minlength=passes * engines).reshape(passes, engines)

    neurons = by_bin(None, bins)
    served = by_bin(problem.rates[source], bins[table.indices])
    uses = sparse.csr_array((np.ones(table.nnz, np.int64), (bins[table.indices], table.data)))
    uses.resize(passes * engines, int(table.data.max(initial=0)) + 1)
    words = np.diff(uses.indptr).reshape(passes, engines)
    in_pass = np.bincount(placement.turn[table.indices] * problem.sources + source, minlength=passes * problem.sources)
    in_pass = in_pass.reshape(passes, problem.sources)
    least = -(-in_pass // engines)
    rows = each.sum(axis=1)
    useful = problem.useful / engines
    at_least = float(problem.rates @ -(-problem.fan_out // engines))
    where = {
        "useful": useful,
        "rounding": at_least - useful,
        "passes": float(problem.rates @ least.sum(axis=0)) - at_least,
        "imbalance": float(problem.rates @ (each - least).sum(axis=0)),
    }
    limits = {"slots": problem.slots, "weight_depth": problem.weight_depth, "rows": problem.rows}
    used = {
        "slots": int(neurons.max()) / problem.slots,
        "weight_depth": int(words.max()) / problem.weight_depth,
        "rows": int(rows.max()) / problem.rows,
    }
    total = placement.expected_rows
    return {
        "layer": problem.name,
        "engines": engines,
        "neurons": neurons.tolist(),
        "words": words.tolist(),
        "served": served.tolist(),
        "rows": rows.tolist(),
        "occupied": [
            float(given.sum() / (count * engines)) if count else 0.0 for given, count in zip(in_pass, rows, strict=True)
        ],
        "limits": limits,
        "used": used,
        "method": placement.method,
        "status": placement.status,
        "expected_rows": total,
        "bound": placement.bound,
        "bound_from": placement.bound_from,
        "gap": placement.gap,
        "passes": passes,
        "fewest_passes": placement.fewest_passes,
        "where": where,
        "useful": useful / total if total else 1.0,
        "text": _words(problem, placement, where, used),
    }


def _words(problem: Problem, placement: Placement, where: dict[str, float], used: dict[str, float]) -> list[str]:
    """What limits the passes, and what limits the rows."""
    text = []
    least = needs(reduced(problem))
    passes = {key: -(-value // getattr(problem, key)) for key, value in least.items()}
    if placement.passes > 1:
        binding = max(passes, key=lambda key: passes[key])
        need = f"{binding} = {getattr(problem, binding)} asks for {passes[binding]} of them"
        if passes[binding] < placement.passes:
            need += f" at least, and fullest are {max(used, key=lambda key: used[key])}"
        text.append(f"{placement.passes} passes: {need}; one pass needs {binding} of at least {least[binding]}")
    else:
        fullest = max(used, key=lambda key: used[key])
        text.append(f"one pass; {fullest} are fullest, {used[fullest]:.0%} in use")
    total = placement.expected_rows
    if total > 0:
        lost = {key: value for key, value in where.items() if key != "useful"}
        most = max(lost, key=lambda key: lost[key])
        remedy = {
            "rounding": "fewer engines would idle less",
            "passes": "more slots would need fewer passes",
            "imbalance": "neurons that share a source meet on an engine",
        }[most]
        if lost[most] > 1e-9 * total:
            text.append(
                f"of 100 slots issued {100 * where['useful'] / total:.1f} serve a synapse; most of the others, "
                f"{100 * lost[most] / total:.1f}, are lost to {most}: {remedy}"
            )
        else:
            text.append("all slots issued serve a synapse")
    return text
