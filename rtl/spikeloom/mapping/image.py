"""Images: what the load port of a core takes, told apart by the hash of the core they are for.

File: little-endian 32-bit words `MAGIC, hash low, hash high, n`, then n words of records; a record is
{region (8 bits, high), rows (24 bits, low)} and its rows, each filled up to whole words, lowest bits first. A core
with a wider load port takes words of that width; each is that many bits of the file, and n counts them.

With streamed weights an image ends with the tiles of the network in the order of the schedule, records
{TILE (8 bits), number of the tile (24 bits)} and its rows; they are sent anew for every chunk of an input.
"""

import struct

import numpy as np

from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork, Leak, signed_bits
from .plan import MAGIC, CorePlan, LayerPlan
from .rows import WORD_BITS
from .sparse import SparsePlan
from .sweep import SweepPlan

__all__ = ["TILE", "build_image", "image_words", "read_image", "stream_words"]

TILE = 0xFF
"""Region of a record that brings a tile."""


def image_words(
    plan: CorePlan, network: IntegerNetwork | None = None, *, current: np.ndarray | None = None
) -> list[int]:
    """Words that load `network` (by default the plan's own) into the core of `plan`.

    With `current` (integers [neurons of the first layer], direct current of one input) only the biases of the first
    layer: bias + current.

    Raises
    ------
    InputError
        If the core loads nothing (or no bias, for `current`), or where the network does not fit its widths, shapes
        or kinds.
    """
    if not plan.loads:
        raise InputError(
            "this core loads nothing: weights and parameters are fixed; set core.weights or core.parameters to 'loaded'"
        )
    network = network or plan.network
    check_fits(plan, network)
    if current is not None:
        current = np.asarray(current)
        if not plan.layers[0].bias_loaded:
            raise InputError(f"layer {plan.layers[0].name!r}: this core takes no direct current: its biases are fixed")
        if current.shape != network.layers[0].bias.shape or current.dtype.kind not in "iu":
            raise InputError(
                f"current of shape {current.shape} and type {current.dtype}: "
                f"accepted are {network.layers[0].neurons} integers"
            )
    body: list[int] = []
    tables = {"weights": "weight_rows", "parameters": "parameter_rows", "index": "index_rows"}
    tables |= {"events": "events_rows", "dispatch": "dispatch_rows"}
    plans = {entry.name: (entry, layer) for entry, layer in zip(plan.layers, network.layers, strict=True)}
    for number, (name, kind, rows, bits) in enumerate(plan.regions):
        entry, layer = plans[name]
        if current is not None and (kind != "bias" or entry is not plan.layers[0]):
            continue
        if kind in tables:
            contents = getattr(entry, tables[kind])(layer)
        elif kind == "bias":
            bias = layer.bias if current is None else layer.bias + current.astype(np.int64)
            _check_bias(entry, bias)
            contents = entry.bias_rows(bias)
        else:
            values = _registers(entry, layer)
            contents = [sum(value << (WORD_BITS * n) for n, value in enumerate(values))]
        body.append(number << 24 | rows)
        body += _words(contents, bits, plan.load_bits)
    if plan.streams and current is None:
        body += _tiles(plan, network)
    return _head(plan, body)


def stream_words(plan: CorePlan, network: IntegerNetwork | None = None) -> list[int]:
    """Words that bring the weights of `network` to a core that streams them, once: what a chunk of an input needs.

    Raises
    ------
    InputError
        If the core streams no weights, or where the network does not fit.
    """
    if not plan.streams:
        raise InputError("this core streams no weights; accepted is a number of rows as core.weight_buffer")
    network = network or plan.network
    check_fits(plan, network)
    return _head(plan, _tiles(plan, network))


def _head(plan: CorePlan, body: list[int]) -> list[int]:
    core = int(plan.hash, 16)
    return [MAGIC, core & 0xFFFF_FFFF, core >> 32, len(body), *body]


def _words(contents: list[int], bits: int, word_bits: int) -> list[int]:
    """Rows as words, each row filled up to whole ones."""
    words, size = -(-bits // word_bits), word_bits // 8
    data = b"".join(row.to_bytes(words * size, "little") for row in contents)
    if word_bits == WORD_BITS:
        return np.frombuffer(data, dtype="<u4").tolist()
    return [int.from_bytes(data[n : n + size], "little") for n in range(0, len(data), size)]


def _tiles(plan: CorePlan, network: IntegerNetwork) -> list[int]:
    """The records of all tiles, in order."""
    folded, body = plan.folded, []
    assert folded is not None
    rows = [entry.weight_rows(layer) for entry, layer in zip(folded.layers, network.layers, strict=True)]
    for number, tile in enumerate(folded.tiles):
        body.append(TILE << 24 | number)
        body += _words(rows[tile.layer][folded.tile_rows(tile)], folded.weight_row_bits, plan.load_bits)
    return body


def build_image(plan: CorePlan, network: IntegerNetwork | None = None, *, tiles: bool = False) -> bytes:
    """The image file of `network` for the core of `plan`, see `image_words`; with `tiles` as of `stream_words`."""
    words = stream_words(plan, network) if tiles else image_words(plan, network)
    size = plan.load_bits // 8
    return b"".join(word.to_bytes(size, "little") for word in words)


def read_image(data: bytes, plan: CorePlan, *, origin: str = "image") -> list[int]:
    """The words of an image file, checked to be one for the core of `plan`.

    Raises
    ------
    InputError
        If it is damaged or was made for another core.
    """
    size = plan.load_bits // 8
    if len(data) < 4 * size or len(data) % size or struct.unpack_from("<I", data)[0] != MAGIC:
        raise InputError(f"{origin}: not an image: accepted is a file that `spikeloom image` wrote")
    words = [int.from_bytes(data[n : n + size], "little") for n in range(0, len(data), size)]
    if words[3] != len(words) - 4:
        raise InputError(f"{origin}: holds {len(words) - 4} words where its head says {words[3]}; it is damaged")
    given = f"{words[2] << 32 | words[1]:016x}"
    if given != plan.hash:
        raise InputError(
            f"{origin}: made for core {given}; accepted here is core {plan.hash}: build the image for this core"
        )
    return words


def check_fits(plan: CorePlan, network: IntegerNetwork) -> None:
    """Raise InputError, naming layer and reason, unless the core of `plan` computes `network` exactly."""
    if len(network.layers) != len(plan.layers):
        raise InputError(f"the network has {len(network.layers)} layers; the core has {len(plan.layers)}")
    if network.state != plan.network.state:
        raise InputError(f"the network's state is {network.state!r}; the core was built for {plan.network.state!r}")
    for entry, layer in zip(plan.layers, network.layers, strict=True):

        def fail(given: str, accepted, layer=layer):
            raise InputError(f"layer {layer.name!r}: {given} does not fit the core; accepted: {accepted}")

        built = entry.layer
        if layer.is_plain and built.is_plain and len(layer.connections) == len(built.connections) == 1:
            given, wanted = (list(x.connections[0].weights.shape) for x in (layer, built))
            if given != wanted:
                fail(f"shape {given}", f"{wanted} [neurons, fan_in]")
        if _shapes(layer) != _shapes(built):
            fail(f"connections {_shapes(layer)}", f"{_shapes(built)} [weights, source, delay, pool, stride, padding]")
        for name in (
            "weight_bits", "potential_bits", "reset", "max_count", "current_bits", "bias_in_current", "refractory",
            "adaptation",
        ):  # fmt: skip
            if getattr(layer, name) != getattr(built, name):
                fail(f"{name} {getattr(layer, name)!r}", repr(getattr(built, name)))
        if layer.stochastic != built.stochastic:
            fail("another table, shift or seed of stochastic neurons", "those fixed at elaboration")
        if (layer.threshold is None) != (built.threshold is None):
            fail(f"threshold {layer.threshold}", "a read-out" if built.threshold is None else "a firing layer")
        for name in ("threshold", "subtracts"):
            if isinstance(getattr(layer, name), np.ndarray) != isinstance(getattr(built, name), np.ndarray):
                fail(f"{name} {getattr(layer, name)}", "one per neuron or one for all, as the core was built for")
        for name in ("leak", "current_leak"):
            given, wanted = getattr(layer, name), getattr(built, name)
            if _leak_kind(given) != _leak_kind(wanted):
                fail(f"{name.replace('_', ' ')} {given.describe()!r}", f"the kind of {wanted.describe()!r}")
        if entry.weights == "fixed" and not all(
            np.array_equal(ours.weights, theirs.weights)
            for ours, theirs in zip(layer.connections, built.connections, strict=True)
        ):
            fail("another set of weights", "the one fixed at elaboration, or core.weights = 'loaded'")
        if not entry.bias_loaded and not np.array_equal(layer.bias, built.bias):
            fail("another bias", "the one fixed at elaboration, or core.parameters = 'loaded'")
        parameters = ("threshold", "subtracts", "leak", "current_leak")
        if entry.parameters == "fixed" and any(
            not np.array_equal(getattr(layer, n), getattr(built, n))
            if isinstance(getattr(built, n), np.ndarray)
            else getattr(layer, n) != getattr(built, n)
            for n in parameters
        ):
            fail("another threshold, reset or leak", "those fixed at elaboration, or core.parameters = 'loaded'")
        _registers(entry, layer)
        if isinstance(entry, SweepPlan):
            entry.parameter_rows(layer)
        if isinstance(entry, SparsePlan) and entry.weights == "loaded":
            entry.weight_rows(layer)
        if entry.bias_loaded:
            _check_bias(entry, layer.bias)
        for lane, (need, have) in enumerate(zip(_lane_needs(entry, layer), entry.lane_bits, strict=True)):
            if need > have:
                fail(f"an accumulator of {need} bits in lane {lane}", f"{have} bits")


def _shapes(layer: IntegerLayer) -> list:
    """What decides where spikes go: of each connection, the weights' shape and how the kernel moves."""
    return [
        [
            list(c.weights.shape),
            list(c.source_shape or ()),
            c.delay,
            *map(list, (c.pool, c.stride, c.padding)),
            c.groups,
        ]
        for c in layer.connections
    ]


def _leak_kind(leak: Leak) -> tuple:
    per_neuron = [isinstance(value, int) for value in (leak.amount, leak.factor)]
    return leak.kind, len(leak.shifts), leak.fraction_bits, per_neuron


def _lane_needs(entry: LayerPlan | SweepPlan, layer: IntegerLayer) -> list[int]:
    """Accumulator bits that each lane needs for `layer`, with any direct current that its biases can hold."""
    if isinstance(entry, SweepPlan):
        low, high = layer.summed_range()
        bits = np.array([signed_bits(a, b) for a, b in zip(low, high, strict=True)])
        return [int(need) for need in entry.placed(bits).max(axis=0)]
    low, high = layer.accumulator_range()
    if entry.direct:
        half = 1 << (entry.bias_bits - 1)
        low, high = low - np.minimum(layer.bias, 0) - half, high - np.maximum(layer.bias, 0) + half - 1
    return entry.lane_needs(np.array([signed_bits(a, b) for a, b in zip(low, high, strict=True)], np.int64))


def _registers(entry: LayerPlan | SweepPlan, layer: IntegerLayer) -> list[int]:
    """Values of the parameter registers of `entry` for `layer`, in order."""
    values: dict = {"threshold": layer.threshold, "subtracts": layer.subtracts}
    for prefix, leak in (("", layer.leak), ("current_", layer.current_leak)):
        values |= {f"{prefix}leak_amount": leak.amount, f"{prefix}leak_factor": leak.factor}
        values |= {f"{prefix}leak_shift{n}": k for n, k in enumerate(leak.shifts)}
    result = []
    for name, (bits, _) in entry.registers.items():
        value = values[name]
        if value is None or not 0 <= value < 1 << bits:
            raise InputError(
                f"layer {layer.name!r}: {name} = {value} does not fit the core; accepted: 0 to {(1 << bits) - 1}"
            )
        result.append(int(value))
    return result


def _check_bias(entry: LayerPlan | SweepPlan, bias: np.ndarray) -> None:
    low, high = -(1 << (entry.bias_bits - 1)), (1 << (entry.bias_bits - 1)) - 1
    if bias.size and (bias.min() < low or bias.max() > high):
        raise InputError(
            f"layer {entry.name!r}: bias from {bias.min()} to {bias.max()} does not fit the core; "
            f"accepted: {low} to {high}"
        )
