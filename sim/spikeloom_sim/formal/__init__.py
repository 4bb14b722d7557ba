"""Proofs about gateware by an SMT solver: `harness` does them, `proofs` lists them, one module a subject."""

from .harness import Claims, Fault, FormalPlatform, Outcome, Proof, combinational_paths, planted, prove

__all__ = ["Claims", "Fault", "FormalPlatform", "Outcome", "Proof", "combinational_paths", "planted", "prove"]
