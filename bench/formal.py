"""Every proof and every fault planted for it; `--table` prints the table of docs/verification.md."""

import sys
from pathlib import Path

from _common import main, scratch

from spikeloom_sim.formal import Outcome, Proof, prove
from spikeloom_sim.formal.proofs import PROOFS


def row(proof: Proof, outcome: Outcome, found: int) -> str:
    """One line of the table."""
    how = f"for ever, k = {outcome.k}" if outcome.status == "proven" else f"{outcome.depth} cycles"
    if outcome.status == "counterexample":
        how = f"VIOLATED in cycle {outcome.depth}"
    return f"| `{proof.name}` | {proof.claim} | {how} | {found} of {len(proof.faults)} |"


def measure(*, show: bool = False) -> dict:
    """What holds and how, and whether each planted fault is found."""
    rows, missed, failed, faults, seconds = [], [], [], 0, 0.0
    counts = {"proven": 0, "bounded": 0, "counterexample": 0}
    with scratch() as place:
        for proof in PROOFS:
            folder = Path(place, proof.name)
            outcome = prove(proof, folder)
            counts[outcome.status] += 1
            seconds += outcome.seconds
            if outcome.status != ("proven" if proof.induction else "bounded"):
                failed.append(proof.name)
            found = 0
            for number, fault in enumerate(proof.faults):
                answer = prove(proof, folder / f"fault{number}", fault=fault)
                seconds += answer.seconds
                found += answer.status == "counterexample"
                if answer.status != "counterexample":
                    missed.append(f"{proof.name}: {fault}")
            faults += len(proof.faults)
            rows.append(row(proof, outcome, found))
    if show:
        print("| proof | claim | holds | planted faults found |\n|---|---|---|---|", *rows, sep="\n")
    return {
        "proven_for_ever": counts["proven"],
        "proven_to_a_depth": counts["bounded"],
        "violated": counts["counterexample"],
        "not_as_stated": failed,
        "faults": faults,
        "faults_missed": missed,
        "solver_seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    if "--table" in sys.argv:
        measure(show=True)
    else:
        main(measure, __doc__ or "")
