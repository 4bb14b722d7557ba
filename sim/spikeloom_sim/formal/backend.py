"""RTLIL to a problem for an SMT solver; runs in a process of its own (`python -m`), since an error in Yosys ends it."""

import sys

from pyosys import libyosys as ys  # pyright: ignore[reportAttributeAccessIssue]

PREPARE = (
    "hierarchy -top top",
    "delete w:$verilog_initial_trigger",
    "proc",
    "flatten",
    # Reset alone must bring the design up: no register has an initial value, but for the solver's own.
    "setattr -unset init w:*",
)


def smt2(source: str, target: str) -> None:
    """Write the transition system of the RTLIL in `source` to `target`."""
    _run(f"read_rtlil {source}", *PREPARE, "opt", "async2sync", "dffunmap", "opt_clean", f"write_smt2 -wires {target}")


def paths(source: str, target: str, starts: str, ends: str) -> None:
    """Write to `target` the pairs of one-bit ports of which the second depends on the first in the same cycle.

    `starts` and `ends` are names with commas between them. The netlist is looked at bit by bit, after Yosys has
    removed what has no effect.
    """
    design = _run(
        f"read_rtlil {source}", *PREPARE, "opt", "memory -nomap", "opt -full", "simplemap", "opt_clean", "splitnets"
    )  # fmt: skip
    module = design.top_module()
    pairs = []
    for end in ends.split(","):
        ys.run_pass(f"select -set cone o:{end} %cie*", design)
        for start in starts.split(","):
            ys.run_pass(f"select @cone i:{start} %i", design)
            if module.selected_wires():
                pairs.append(f"{start} {end}")
            ys.run_pass("select -clear", design)
    with open(target, "w") as stream:
        stream.writelines(f"{pair}\n" for pair in pairs)


def _run(*steps: str):
    design = ys.Design()
    for step in steps:
        ys.run_pass(step, design)
    return design


if __name__ == "__main__":
    {"smt2": smt2, "paths": paths}[sys.argv[1]](*sys.argv[2:])
