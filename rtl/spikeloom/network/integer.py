"""The integer network: the one definition of what a correct accelerator computes.

One step of a neuron with stored potential v and input spikes s_i::

    u = leak(v)                        none | linear | shift | multiply
    a = u + bias + sum_i w_i s_i       exact
    u = clamp(a, v_min, v_max)         once per step
    s = u >= theta
    v = 0 | u - r | u                  zero, subtract, none

The delayed kinds reset in the *next* step: u = leak(v) - r (v >= theta), or 0 where v >= theta; v = u.

Further kinds, each with its own equations, in which every state is clamped to its width once per step::

    synaptic current   i = clamp(leak_i(i) + sum_i w_i s_i);  u = clamp(leak(v) + bias + i)            (CubaLIF)
                       with `bias_in_current`: i = clamp(leak_i(i) + bias + sum_i w_i s_i);  u = clamp(leak(v) + i)
    adaptive           theta_t = theta + b;  s = u >= theta_t;  then b = clamp(leak_b(b) + increment s)
    refractory         in the r steps after a spike v = 0 and s = 0; i and b go on
    stochastic         z8 = clamp(a >> shift) to 8 bits;  s = table[z8 + 128] > random word; no v (see `stochastic`)

A network is a graph of layers; a connection of delay d brings the spikes of d steps before.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

import numpy as np

from ..errors import InputError
from .connections import Connection
from .graph import INPUT, Layer, LayerGraph
from .stochastic import MOST_ADDRESSES, Z_BITS, Stochastic

__all__ = ["INPUT", "Adaptation", "IntegerLayer", "IntegerNetwork", "Leak", "ResetKind", "signed_bits"]

ResetKind = Literal["zero", "subtract", "delayed_zero", "delayed_subtract", "none"]
RESET_KINDS = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")
LEAK_KINDS = ("none", "linear", "shift", "multiply")
MAX_BITS = 62  # the reference computes in 64-bit integers; one bit of head room for sums
MAX_ADAPTATION_BITS = 24


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

    `amount` and `factor` may be a tuple, one number per neuron. `>>` floors. Raises InputError where the parameters do
    not belong to the kind.
    """

    kind: Literal["none", "linear", "shift", "multiply"] = "none"
    amount: int | tuple[int, ...] = 0
    shifts: tuple[int, ...] = ()
    factor: int | tuple[int, ...] = 0
    fraction_bits: int = 0

    def __post_init__(self):
        kind = self.kind
        if kind not in LEAK_KINDS:
            raise InputError(f"leak kind {kind!r}: accepted are {', '.join(LEAK_KINDS)}")
        amounts, factors = (_numbers(value) for value in (self.amount, self.factor))
        if kind == "linear" and min(amounts) < 1:
            raise InputError(f"linear leak of {min(amounts)} per step: accepted is an integer of at least 1")
        if kind == "shift" and not (len(self.shifts) in (1, 2) and all(1 <= k <= MAX_BITS for k in self.shifts)):
            raise InputError(f"shift leak by {self.shifts}: accepted are one or two shifts of 1 to {MAX_BITS}")
        if kind == "multiply" and not (
            1 <= self.fraction_bits <= 24 and 0 <= min(factors) and max(factors) <= 1 << self.fraction_bits
        ):
            raise InputError(
                f"multiply leak by {_range_text(factors)} / 2**{self.fraction_bits}: accepted are 1 to 24 fraction "
                "bits and a factor of 0 to 2**fraction_bits"
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
            top = np.iinfo(v.dtype).max  # takes every v but the type's lowest to 0 just as well
            amount = np.array([min(amount, top) for amount in _numbers(self.amount)], v.dtype)
            amount = amount if self.per_neuron else amount[0]
            return np.where(v >= 0, np.maximum(v - amount, 0), np.minimum(v + amount, 0)).astype(v.dtype)
        if self.kind == "shift":
            u = v
            for k in self.shifts:
                u = u - (v >> k)
            return u
        return (v * np.array(self.factor, v.dtype)) >> self.fraction_bits

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
        points = np.array(sorted(values), dtype=np.int64)
        bounds = self.apply(points[:, None] if self.per_neuron else points)
        return int(bounds.min()), int(bounds.max())

    @property
    def per_neuron(self) -> bool:
        """Whether every neuron has a number of its own."""
        return not (isinstance(self.amount, int) and isinstance(self.factor, int))

    def describe(self) -> str:
        """A short text such as `shift 4`."""

        detail = {
            "none": "",
            "linear": f" {_range_text(_numbers(self.amount))}",
            "shift": " " + "+".join(map(str, self.shifts)),
            "multiply": f" {_range_text(_numbers(self.factor))}/2^{self.fraction_bits}",
        }[self.kind]
        return self.kind + detail

    def check_neurons(self, neurons: int) -> None:
        """Raise InputError unless numbers per neuron are as many as `neurons`."""
        for name in ("amount", "factor"):
            value = getattr(self, name)
            if not isinstance(value, int) and len(value) != neurons:
                raise InputError(f"leak {name}: {len(value)} numbers; accepted is one, or one for each of {neurons}")


def _numbers(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value


def _range_text(numbers: tuple[int, ...]) -> str:
    """`3`, or `1..3` for numbers that differ."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low}..{high}"


@dataclass(frozen=True, kw_only=True)
class Adaptation:
    """A threshold that rises with every spike: theta_t = theta + b, b = clamp(leak(b) + increment s).

    `bits` is the width of the unsigned b (0 <= b < 2**bits). Raises InputError for numbers outside 1 to 24 bits, an
    increment outside 1 to 2**bits - 1 or a leak per neuron.
    """

    bits: int
    leak: Leak
    increment: int

    def __post_init__(self):
        if not 1 <= self.bits <= MAX_ADAPTATION_BITS:
            raise InputError(f"adaptation of {self.bits} bits: accepted is 1 to {MAX_ADAPTATION_BITS}")
        if not 1 <= self.increment < 1 << self.bits:
            raise InputError(f"adaptation by {self.increment}: accepted is 1 to {(1 << self.bits) - 1}")
        if self.leak.per_neuron:
            raise InputError("adaptation with a leak per neuron: accepted is one for all")


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerLayer(Layer):
    """A layer of integer neurons and the connections that lead to it.

    Parameters
    ----------
    name : str
        Unique in the network.
    connections : tuple of Connection
        Their spikes add up. All have the same number of targets; where one is a convolution, its shape is the layer's.
    weight_bits, potential_bits : int
        Widths of a stored weight and of the stored potential v (signed).
    bias : int64 array [neurons], optional
        Added once per step. Zero by default.
    leak : Leak
    reset : str
        zero, subtract, delayed_zero, delayed_subtract or none.
    threshold : int, int64 array [neurons] or None
        theta; None makes a read-out: it never fires, its potential is the answer.
    reset_amount : int, int64 array [neurons] or None
        r of the subtracting kinds; theta by default.
    max_count : int
        Largest number of spikes that one source may send in one step.
    current_bits : int or None
        Width of a synaptic current i (signed); None: spikes go straight into the potential.
    current_leak : Leak
        Of the synaptic current.
    bias_in_current : bool
        Whether the bias, and a direct current, enter the synaptic current in place of the potential.
    refractory : int
        Steps r after a spike in which the neuron rests.
    adaptation : Adaptation or None
    stochastic : Stochastic or None
        Neurons without a potential that spike at random. What is recorded as their potential is z8, of 8 bits; a
        threshold of 1 says that they fire, and all else that belongs to a potential is as by default.

    Raises
    ------
    InputError
        Where a value does not fit its width or an option does not belong to the kind.
    """

    name: str
    connections: tuple[Connection, ...]
    weight_bits: int
    potential_bits: int
    bias: np.ndarray = field(default=None)  # type: ignore[assignment]
    leak: Leak = Leak()
    reset: ResetKind = "zero"
    threshold: int | np.ndarray | None = None
    reset_amount: int | np.ndarray | None = None
    max_count: int = 1
    current_bits: int | None = None
    current_leak: Leak = Leak()
    bias_in_current: bool = False
    refractory: int = 0
    adaptation: Adaptation | None = None
    stochastic: Stochastic | None = None

    @classmethod
    def dense(cls, *, name: str, weights: np.ndarray, **rest) -> "IntegerLayer":
        """A layer with one dense connection, weights [neurons, fan_in], from the layer before it."""
        try:
            return cls(name=name, connections=(Connection(weights=weights),), **rest)
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith("layer ") else f"layer {name!r}: {text}") from None

    def __post_init__(self):
        def fail(text: str):
            raise InputError(f"layer {self.name!r}: {text}")

        object.__setattr__(self, "connections", tuple(self.connections))
        wrong = self.check_connections()
        if wrong:
            fail(wrong)
        neurons = self.neurons
        bias = np.zeros(neurons, np.int64) if self.bias is None else np.array(self.bias)
        if bias.shape != (neurons,) or bias.dtype.kind not in "iu":
            fail(f"bias of shape {bias.shape} and type {bias.dtype}: accepted are {neurons} integers")
        if signed_bits(bias.min(), bias.max()) > MAX_BITS:
            fail(f"bias from {bias.min()} to {bias.max()} need more than {MAX_BITS} bits")
        bias = bias.astype(np.int64)
        bias.flags.writeable = False
        object.__setattr__(self, "bias", bias)
        if not 1 <= self.weight_bits <= 32:
            fail(f"weight_bits = {self.weight_bits}: accepted is 1 to 32")
        if not 2 <= self.potential_bits <= 48:
            fail(f"potential_bits = {self.potential_bits}: accepted is 2 to 48")
        for connection in self.connections:
            low, high = int(connection.weights.min()), int(connection.weights.max())
            need = signed_bits(low, high)
            if need > self.weight_bits:
                fail(f"weights from {low} to {high} need {need} bits; weight_bits is {self.weight_bits}")
        if self.reset not in RESET_KINDS:
            fail(f"reset {self.reset!r}: accepted are {', '.join(RESET_KINDS)}")
        if self.max_count < 1:
            fail(f"max_count = {self.max_count}: accepted is at least 1")
        for name in ("threshold", "reset_amount"):
            value = getattr(self, name)
            if isinstance(value, np.ndarray):
                if value.shape != (neurons,) or value.dtype.kind not in "iu":
                    fail(f"{name} of shape {value.shape} and type {value.dtype}: accepted are {neurons} integers")
                value = value.astype(np.int64)
                if (value == value[0]).all():  # one for all: no memory for it
                    value = int(value[0])
                else:
                    value.flags.writeable = False
                object.__setattr__(self, name, value)
        threshold, amount = (None if x is None else np.array(x) for x in (self.threshold, self.reset_amount))
        if threshold is None:
            if self.reset != "none":
                fail(f"reset {self.reset!r} without a threshold: a read-out has reset = 'none'")
            if self.refractory or self.adaptation is not None:
                fail("a refractory period or an adaptation without a threshold: a read-out has neither")
        elif not (1 <= threshold.min() and threshold.max() <= self.v_max):
            fail(
                f"threshold {threshold.min() if threshold.min() < 1 else threshold.max()} is unreachable: "
                f"{self.potential_bits}-bit potentials reach 1 to "
                f"{self.v_max}; raise potential_bits or lower the threshold"
            )
        if amount is not None:
            if not self.reset.endswith("subtract"):
                fail(f"reset_amount = {self.reset_amount} does not belong to reset {self.reset!r}")
            if not (1 <= amount.min() and amount.max() <= self.v_max):
                fail(f"reset_amount = {self.reset_amount}: accepted is 1 to {self.v_max}")
        if self.current_bits is not None and not 2 <= self.current_bits <= 48:
            fail(f"current_bits = {self.current_bits}: accepted is 2 to 48")
        if self.current_bits is None and self.current_leak.kind != "none":
            fail("a leak of the synaptic current without one: accepted is current_bits")
        if self.current_bits is None and self.bias_in_current:
            fail("a bias into the synaptic current without one: accepted is current_bits")
        if not 0 <= self.refractory <= 1 << 16:
            fail(f"refractory = {self.refractory}: accepted is 0 to {1 << 16} steps")
        if self.adaptation is not None and self.reset.startswith("delayed"):
            fail(f"an adaptive threshold with reset {self.reset!r}: accepted are zero, subtract, none")
        for leak, bits in ((self.leak, self.potential_bits), (self.current_leak, self.current_bits or 0)):
            leak.check_neurons(neurons)
            if leak.kind == "multiply" and bits + leak.fraction_bits > MAX_BITS:
                fail(
                    f"potential_bits = {bits} and {leak.fraction_bits} fraction bits of the leak: "
                    f"accepted are at most {MAX_BITS} together"
                )
        if self.stochastic is not None:
            wrong = self._check_stochastic()
            if wrong:
                fail(wrong)
        # In Python integers, since a sum that is too large does not fit numpy's either; |weights| < 2**32 here.
        low, high = self._sums()
        sums = max(-int(low.min()), int(high.max()), 0) * self.max_count
        reach = sums + max(-int(bias.min()), int(bias.max()), 0) - self.v_min
        if signed_bits(-reach, reach) > MAX_BITS:
            fail(f"its sums reach {reach} and need more than {MAX_BITS} bits")

    def _check_stochastic(self) -> str | None:
        """What a stochastic layer cannot have, or None."""
        given = (self.potential_bits, self.leak.kind, self.reset, self.current_bits, self.refractory, self.adaptation)
        if given != (Z_BITS, "none", "none", None, 0, None) or not np.array_equal(self.threshold, 1):  # type: ignore[arg-type]
            return (
                f"stochastic neurons with {self.potential_bits} potential_bits, threshold {self.threshold}, leak "
                f"{self.leak.kind}, reset {self.reset!r}, current_bits {self.current_bits}, refractory "
                f"{self.refractory}; accepted are 8, 1, none, 'none', None, 0: they have no potential"
            )
        if int(self.addresses.max()) >= MOST_ADDRESSES:
            return f"{int(self.addresses.max()) + 1} event addresses; accepted for stochastic neurons: {MOST_ADDRESSES}"
        return None

    def _sums(self) -> tuple[np.ndarray, np.ndarray]:
        """Sums of the negative and of the positive weights of each neuron over all connections."""
        parts = [connection.sums() for connection in self.connections]
        return sum(low for low, _ in parts), sum(high for _, high in parts)  # type: ignore[return-value]

    @property
    def has_plain_neurons(self) -> bool:
        """Whether the equations are those of the plain kinds, and their parameters the same for all neurons."""
        return (
            self.current_bits is None
            and not self.refractory
            and self.adaptation is None
            and self.stochastic is None
            and not isinstance(self.threshold, np.ndarray)
            and not isinstance(self.reset_amount, np.ndarray)
            and not self.leak.per_neuron
        )

    @property
    def is_plain(self) -> bool:
        """Whether neurons are plain, and all connections dense and flat.

        Such a layer fits the engines without a separate update sweep.
        """
        return self.has_plain_neurons and all(
            not c.is_convolution and len(c.source_shape or ()) == 1 for c in self.connections
        )

    @property
    def dense_operations(self) -> int:
        """Multiply-adds of a step when every source is looked at: one per source and target that are connected."""
        return sum(c.weights.size if not c.is_convolution else int(c.matrix.nnz) for c in self.connections)

    def summed_range(self) -> tuple[np.ndarray, np.ndarray]:
        """Proven bounds (low, high), int64 [neurons] each, of a step's sum of w s alone, in any order."""
        low, high = self._sums()
        return low * self.max_count, high * self.max_count

    @property
    def v_min(self) -> int:
        """Smallest potential, -2**(potential_bits - 1)."""
        return -(1 << (self.potential_bits - 1))

    @property
    def v_max(self) -> int:
        """Largest potential, 2**(potential_bits - 1) - 1."""
        return (1 << (self.potential_bits - 1)) - 1

    @property
    def subtracts(self) -> int | np.ndarray:
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
        negative, positive = self.summed_range()
        return low + np.minimum(self.bias, 0) + negative, high + np.maximum(self.bias, 0) + positive

    def accumulator_bits(self) -> np.ndarray:
        """Signed bits, int64 [neurons], that hold each neuron's accumulator: no overflow in any order of events."""
        low, high = self.accumulator_range()
        return np.array([signed_bits(a, b) for a, b in zip(low, high, strict=True)], dtype=np.int64)


@dataclass(frozen=True, kw_only=True, eq=False)
class IntegerNetwork(LayerGraph):
    """A graph of integer layers; the last one is the output.

    Layers stand in an order in which every connection without a delay comes from the input or from a layer before.
    `state` says what happens to the potentials, and to spikes on their way through delays, at the end of an input:
    `clear` (all is as after reset) or `keep`.

    Raises
    ------
    InputError
        For a source that is not there, one of another shape, a loop without a delay, a read-out that feeds something.
    """

    name: str
    layers: tuple[IntegerLayer, ...]
    state: Literal["clear", "keep"] = "clear"

    def __post_init__(self):
        self.check_graph()
        if self.state not in ("clear", "keep"):
            raise InputError(f"network {self.name!r}: state {self.state!r}: accepted are clear, keep")
        streams: dict[tuple[int, int], str] = {}
        for layer in self.layers:
            if layer.stochastic is None:
                continue
            key = (layer.stochastic.seed, layer.stochastic.stream)
            if key in streams:
                raise InputError(
                    f"network {self.name!r}: layers {streams[key]!r} and {layer.name!r} both draw the random words of "
                    f"seed {key[0]}, stream {key[1]}; accepted is a stream of its own for each layer"
                )
            streams[key] = layer.name

    def content_hash(self) -> str:
        """SHA-256 of everything that decides an answer, as 64 hex digits."""
        digest = hashlib.sha256()
        for layer in self.layers:
            digest.update(json.dumps(_header(self, layer), sort_keys=True).encode())
            for connection in layer.connections:
                digest.update(connection.weights.astype("<i8").tobytes())
            digest.update(layer.bias.astype("<i8").tobytes())
        digest.update(self.state.encode())
        return digest.hexdigest()


def _header(network: IntegerNetwork, layer: IntegerLayer) -> dict:
    """The parameters of a layer but its weights and biases, as JSON values."""

    def plain(value):
        return value.tolist() if isinstance(value, np.ndarray) else value

    def leak(given: Leak) -> list:
        return [given.kind, given.amount, list(given.shifts), given.factor, given.fraction_bits]

    adaptation = layer.adaptation
    drawn = {} if layer.stochastic is None else {"stochastic": asdict(layer.stochastic)}
    return drawn | {
        "connections": [
            {
                "source": source,
                "delay": c.delay,
                "weights": list(c.weights.shape),
                "source_shape": list(c.source_shape or ()),
                "pool": list(c.pool),
                "stride": list(c.stride),
                "padding": list(c.padding),
                "groups": c.groups,
            }
            for source, c in zip(network.sources(layer), layer.connections, strict=True)
        ],
        "weight_bits": layer.weight_bits,
        "potential_bits": layer.potential_bits,
        "leak": leak(layer.leak),
        "reset": layer.reset,
        "threshold": plain(layer.threshold),
        "reset_amount": plain(layer.subtracts),
        "max_count": layer.max_count,
        "current_bits": layer.current_bits,
        "current_leak": leak(layer.current_leak),
        **({"bias_in_current": True} if layer.bias_in_current else {}),
        "refractory": layer.refractory,
        "adaptation": None if adaptation is None else [adaptation.bits, leak(adaptation.leak), adaptation.increment],
    }
