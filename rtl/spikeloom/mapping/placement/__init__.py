"""Neurons of a layer placed on the engines of a `virtual` core, and the memories that this takes."""

from .check import check
from .counting import counting_bound
from .explain import explain
from .mapper import place
from .problem import Placement, Problem, lengths, measured_rates, problem_of, synapses

__all__ = [
    "Placement",
    "Problem",
    "check",
    "counting_bound",
    "explain",
    "lengths",
    "measured_rates",
    "place",
    "problem_of",
    "synapses",
]
