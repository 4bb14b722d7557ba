"""The integer network: the one definition of what a correct accelerator computes.

One step of a neuron with stored potential v and input spikes s_i::

    u = leak(v)                        none | linear | shift | multiply
    a = u + bias + sum_i w_i s_i       exact
    u = clamp(a, v_min, v_max)         once per step
    s = u >= theta
    v = 0 | u - r | u                  zero, subtract, none

The delayed kinds reset in the *next* step: u = leak(v) - r (v >= theta), or 0 where v >= theta; v = u.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from ..errors import InputError

__all__ = ["IntegerLayer", "IntegerNetwork", "Leak", "ResetKind", "signed_bits"]

ResetKind = Literal["zero", "subtract", "delayed_zero", "delayed_subtract", "none"]
RESET_KINDS = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")
LEAK_KINDS = ("none", "linear", "shift", "multiply")
MAX_BITS = 62  # the reference computes in 64-bit integers; one bit of head room for sums


def signed_bits(low: int, high: int) -> int:
    """Bits of the smallest two's complement number that holds every value of [low, high]."""
    return max(1, *((value if value >= 0 else ~value).bit_length() + 1 for value in (int(low), int(high))))


@dataclass(frozen=True, kw_only=True)
class Leak:
    """How a potential decays in one step.

    ========  ==================================================  =====================
    kind      u =                                                 parameters
    ========  ==================================================  =====================
    none      v
    linear    v - sign(v) min(abs(v), amount)                     amount >= 1
    shift     v - (v >> k1), or v - (v >> k1) - (v >> k2)         shifts = (k1[, k2])
    multiply  (v * factor) >> fraction_bits                       0 <= factor <= 2**fraction_bits
    ========  ==================================================  =====================

    `>>` floors. Raises InputError where the parameters do not belong to the kind.
    """

    kind: Literal["none", "linear", "shift", "multiply"] = "none"
    amount: int = 0
    shifts: tuple[int, ...] = ()
    factor: int = 0
    fraction_bits: int = 0

    def __post_init__(self):
        kind = self.kind
        if kind not in LEAK_KINDS:
            raise InputError(f"leak kind {kind!r}: accepted are {', '.join(LEAK_KINDS)}")
        if kind == "linear" and self.amount < 1:
            raise InputError(f"linear leak of {self.amount} per step: accepted is an integer of at least 1")
        if kind == "shift" and not (len(self.shifts) in (1, 2) and all(1 <= k <= MAX_BITS for k in self.shifts)):
            raise InputError(f"shift leak by {self.shifts}: accepted are one or two shifts of 1 to {MAX_BITS}")
        if kind == "multiply" and not (1 <= self.fraction_bits <= 24 and 0 <= self.factor <= 1 << self.fraction_bits):
            raise InputError(
                f"multiply leak by {self.factor} / 2**{self.fraction_bits}: accepted are 1 to 24 fraction bits "
                "and a factor of 0 to 2**fraction_bits"
            )
        unused = {
            "none": ("amount", "shifts", "factor", "fraction_bits"),
            "linear": ("shifts", "factor", "fraction_bits"),
            "shift": ("amount", "factor", "fraction_bits"),
            "multiply": ("amount", "shifts"),
        }[kind]
        for name in unused:
            if getattr(self, name):
                raise InputError(f"leak parameter {name} = {getattr(self, name)} does not belong to kind {kind!r}")

    def apply(self, v: np.ndarray) -> np.ndarray:
        """The leaked potential u, of the shape and integer type of `v`.

        The type must hold v * factor for `multiply`; every other kind stays within the range of `v`.
        """
        if self.kind == "none":
            return v
        if self.kind == "linear":
            amount = min(self.amount, np.iinfo(v.dtype).max)  # takes every v but the type's lowest to 0 just as well
            return np.where(v >= 0, np.maximum(v - amount, 0), np.minimum(v + amount, 0)).astype(v.dtype)
        if self.kind == "shift":
            u = v
            for k in self.shifts:
                u = u - (v >> k)
            return u
        return (v * v.dtype.type(self.factor)) >> self.fraction_bits

    def range(self, low: int, high: int) -> tuple[int, int]:
        """Smallest and largest u over low <= v <= high, both attained.

        Every kind but the two-shift one is monotone in v. Two shifts make u drop, by 1, exactly at the multiples of
        the larger power of two; from one multiple to the next u never falls, so the extremes lie at the ends or at
        the outermost multiples.
        """
        values = {low, high}
        if self.kind == "shift" and len(self.shifts) == 2:
            larger = max(self.shifts)
            first, last = -(-low >> larger) << larger, high >> larger << larger  # multiples: first >= low, last <= high
            values |= {v for v in (first, last - 1) if low <= v <= high}
        bounds = self.apply(np.array(sorted(values), dtype=np.int64))
        return int(bounds.min()), int(bounds.max())

    def describe(self) -> str:
        """A short text such as `shift 4`."""
        detail = {
            "none": "",
            "linear": f" {self.amount}",
            "shift": " " + "+".join(map(str, self.shifts)),
            "multiply": f" {self.factor}/2^{self.fraction_bits}",
        }[self.kind]
        return self.kind + detail


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerLayer:
    """A fully connected layer of integer neurons.

    Parameters
    ----------
    name : str
        Unique in the network.
    weights : int64 array [neurons, fan_in]
        Synaptic weights, signed, within `weight_bits`.
    weight_bits, potential_bits : int
        Widths of a stored weight and of the stored potential v (signed).
    bias : int64 array [neurons], optional
        Added once per step. Zero by default.
    leak : Leak
    reset : str
        zero, subtract, delayed_zero, delayed_subtract or none.
    threshold : int or None
        theta; None makes a read-out: it never fires, its potential is the answer.
    reset_amount : int or None
        r of the subtracting kinds; theta by default.
    max_count : int
        Largest number of spikes that one source may send in one step.

    Raises
    ------
    InputError
        Where a value does not fit its width or an option does not belong to the kind.
    """

    name: str
    weights: np.ndarray
    weight_bits: int
    potential_bits: int
    bias: np.ndarray = field(default=None)  # type: ignore[assignment]
    leak: Leak = Leak()
    reset: ResetKind = "zero"
    threshold: int | None = None
    reset_amount: int | None = None
    max_count: int = 1

    def __post_init__(self):
        def fail(text: str):
            raise InputError(f"layer {self.name!r}: {text}")

        weights = np.array(self.weights)
        if weights.ndim != 2 or 0 in weights.shape or weights.dtype.kind not in "iu":
            fail(
                f"weights of shape {weights.shape} and type {weights.dtype}: accepted is [neurons, fan_in] of integers"
            )
        bias = np.zeros(len(weights), np.int64) if self.bias is None else np.array(self.bias)
        if bias.shape != (len(weights),) or bias.dtype.kind not in "iu":
            fail(f"bias of shape {bias.shape} and type {bias.dtype}: accepted are {len(weights)} integers")
        for what, array in (("weights", weights), ("bias", bias)):
            if signed_bits(array.min(), array.max()) > MAX_BITS:
                fail(f"{what} from {array.min()} to {array.max()} need more than {MAX_BITS} bits")
        weights, bias = weights.astype(np.int64), bias.astype(np.int64)
        for array in (weights, bias):
            array.flags.writeable = False
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "bias", bias)
        if not 1 <= self.weight_bits <= 32:
            fail(f"weight_bits = {self.weight_bits}: accepted is 1 to 32")
        if not 2 <= self.potential_bits <= 48:
            fail(f"potential_bits = {self.potential_bits}: accepted is 2 to 48")
        need = signed_bits(weights.min(), weights.max())
        if need > self.weight_bits:
            fail(f"weights from {weights.min()} to {weights.max()} need {need} bits; weight_bits is {self.weight_bits}")
        if self.reset not in RESET_KINDS:
            fail(f"reset {self.reset!r}: accepted are {', '.join(RESET_KINDS)}")
        if self.max_count < 1:
            fail(f"max_count = {self.max_count}: accepted is at least 1")
        if self.threshold is None:
            if self.reset != "none":
                fail(f"reset {self.reset!r} without a threshold: a read-out has reset = 'none'")
        elif not 1 <= self.threshold <= self.v_max:
            fail(
                f"threshold {self.threshold} is unreachable: {self.potential_bits}-bit potentials reach 1 to "
                f"{self.v_max}; raise potential_bits or lower the threshold"
            )
        if self.reset_amount is not None:
            if not self.reset.endswith("subtract"):
                fail(f"reset_amount = {self.reset_amount} does not belong to reset {self.reset!r}")
            if not 1 <= self.reset_amount <= self.v_max:
                fail(f"reset_amount = {self.reset_amount}: accepted is 1 to {self.v_max}")
        if self.leak.kind == "multiply" and self.potential_bits + self.leak.fraction_bits > MAX_BITS:
            fail(
                f"potential_bits = {self.potential_bits} and {self.leak.fraction_bits} fraction bits of the leak: "
                f"accepted are at most {MAX_BITS} together"
            )
        # In Python integers, since a sum that is too large does not fit numpy's either; |weights| < 2**32 here.
        sums = int(np.abs(weights).sum(axis=1).max()) * self.max_count
        reach = sums + max(-int(bias.min()), int(bias.max()), 0) - self.v_min
        if signed_bits(-reach, reach) > MAX_BITS:
            fail(f"its sums reach {reach} and need more than {MAX_BITS} bits")

    @property
    def neurons(self) -> int:
        """Number of neurons."""
        return self.weights.shape[0]

    @property
    def fan_in(self) -> int:
        """Number of input addresses."""
        return self.weights.shape[1]

    @property
    def v_min(self) -> int:
        """Smallest potential, -2**(potential_bits - 1)."""
        return -(1 << (self.potential_bits - 1))

    @property
    def v_max(self) -> int:
        """Largest potential, 2**(potential_bits - 1) - 1."""
        return (1 << (self.potential_bits - 1)) - 1

    @property
    def subtracts(self) -> int:
        """r: what a spike takes off the potential (0 unless the reset subtracts)."""
        if not self.reset.endswith("subtract"):
            return 0
        assert self.threshold is not None
        return self.threshold if self.reset_amount is None else self.reset_amount

    def accumulator_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Proven bounds (low, high), int64 [neurons] each, of a step's accumulator at any moment and in any order.

        low = min(u) + min(bias, 0) + max_count * (sum of negative weights); high likewise. u ranges over what the
        leak (and a delayed reset) can make of every potential in v_min .. v_max: any order of the terms stays
        inside, because each prefix of the sum lies between the sum of its negative and of its positive terms.
        """
        low, high = self.leak.range(self.v_min, self.v_max)
        low, high = min(low, self.v_min), max(high, self.v_max)  # the register also holds v itself
        # A subtracting reset stays above v_min: it takes at most v_max off a potential that is not negative.
        negative = np.minimum(self.weights, 0).sum(axis=1) * self.max_count
        positive = np.maximum(self.weights, 0).sum(axis=1) * self.max_count
        return low + np.minimum(self.bias, 0) + negative, high + np.maximum(self.bias, 0) + positive

    def accumulator_bits(self) -> np.ndarray:
        """Signed bits, int64 [neurons], that hold each neuron's accumulator: no overflow in any order of events."""
        low, high = self.accumulator_range()
        return np.array([signed_bits(a, b) for a, b in zip(low, high, strict=True)], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerNetwork:
    """A chain of integer layers, input first.

    `state` says what happens to the potentials at the end of an input: `clear` (v = 0) or `keep`.
    """

    name: str
    layers: tuple[IntegerLayer, ...]
    state: Literal["clear", "keep"] = "clear"

    def __post_init__(self):
        if not self.layers:
            raise InputError(f"network {self.name!r} has no layer; accepted is at least one")
        if self.state not in ("clear", "keep"):
            raise InputError(f"network {self.name!r}: state {self.state!r}: accepted are clear, keep")
        names = [layer.name for layer in self.layers]
        if len(set(names)) != len(names):
            raise InputError(f"network {self.name!r}: layer names {names} must differ")
        for before, after in zip(self.layers, self.layers[1:], strict=False):
            if before.threshold is None:
                raise InputError(f"layer {before.name!r} is a read-out; only the last layer may be one")
            if before.neurons != after.fan_in:
                raise InputError(
                    f"layer {after.name!r} has a fan-in of {after.fan_in}, "
                    f"but {before.name!r} has {before.neurons} neurons"
                )

    @property
    def inputs(self) -> int:
        """Number of input addresses."""
        return self.layers[0].fan_in

    @property
    def outputs(self) -> int:
        """Number of neurons of the last layer."""
        return self.layers[-1].neurons

    def content_hash(self) -> str:
        """SHA-256 of everything that decides an answer, as 64 hex digits."""
        digest = hashlib.sha256()
        for layer in self.layers:
            digest.update(json.dumps(_header(layer), sort_keys=True).encode())
            digest.update(layer.weights.astype("<i8").tobytes())
            digest.update(layer.bias.astype("<i8").tobytes())
        digest.update(self.state.encode())
        return digest.hexdigest()


def _header(layer: IntegerLayer) -> dict:
    """The scalar parameters of a layer as JSON values."""
    leak = layer.leak
    return {
        "shape": list(layer.weights.shape),
        "weight_bits": layer.weight_bits,
        "potential_bits": layer.potential_bits,
        "leak": [leak.kind, leak.amount, list(leak.shifts), leak.factor, leak.fraction_bits],
        "reset": layer.reset,
        "threshold": layer.threshold,
        "reset_amount": layer.subtracts,
        "max_count": layer.max_count,
    }
