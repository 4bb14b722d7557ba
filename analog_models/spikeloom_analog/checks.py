"""What users hand in, checked at the edge: finite numbers of the right sign, arrays of the right shape."""

import math
from typing import Any

import numpy as np

from spikeloom.errors import InputError

__all__ = ["count", "finite_array", "fraction", "not_negative", "positive", "whole_array"]


def _number(name: str, value: Any, accepted: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise InputError(f"{name}: {value!r} was given; accepted: {accepted}")
    if not math.isfinite(value):
        raise InputError(f"{name}: {value!r} was given; accepted: {accepted}")
    return float(value)


def positive(name: str, value: Any, unit: str) -> float:
    """`value` as a float, if it is a finite number above 0; InputError otherwise."""
    accepted = f"a finite number above 0, in {unit}"
    number = _number(name, value, accepted)
    if number <= 0:
        raise InputError(f"{name}: {value!r} was given; accepted: {accepted}")
    return number


def not_negative(name: str, value: Any, unit: str) -> float:
    """`value` as a float, if it is a finite number of 0 or more; InputError otherwise."""
    accepted = f"a finite number of 0 or more, in {unit}"
    number = _number(name, value, accepted)
    if number < 0:
        raise InputError(f"{name}: {value!r} was given; accepted: {accepted}")
    return number


def fraction(name: str, value: Any) -> float:
    """`value` as a float, if it is between 0 and 1; InputError otherwise."""
    accepted = "a number from 0 to 1"
    number = _number(name, value, accepted)
    if not 0 <= number <= 1:
        raise InputError(f"{name}: {value!r} was given; accepted: {accepted}")
    return number


def count(name: str, value: Any, least: int) -> int:
    """`value` as an int, if it is a whole number of at least `least`; InputError otherwise."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise InputError(f"{name}: {value!r} was given; accepted: a whole number of at least {least}")
    return int(value)


def finite_array(name: str, values: Any, dimensions: int, unit: str) -> np.ndarray:
    """`values` as a float64 array of so many dimensions, if none is NaN or infinite; InputError names the first."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"{name}: {type(values).__name__} was given; accepted: numbers in {unit}") from None
    if array.ndim != dimensions:
        raise InputError(f"{name}: shape {array.shape} was given; accepted: {dimensions} dimensions")
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise InputError(f"{name}{list(where)}: {array[where]} was given; accepted: finite numbers in {unit}")
    return array


def whole_array(name: str, values: Any, low: int, high: int) -> np.ndarray:
    """`values` as an int64 array, if all are whole and low <= value < high; InputError names the first."""
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(array.shape, np.int64)
    if array.dtype.kind not in "iub":
        raise InputError(f"{name}: {array.dtype} was given; accepted: whole numbers from {low} to {high - 1}")
    wrong = np.argwhere((array < low) | (array >= high))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise InputError(f"{name}{list(where)}: {array[where]} was given; accepted: whole numbers {low} to {high - 1}")
    return array.astype(np.int64)
