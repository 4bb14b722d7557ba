"""How a layer is placed on weight-shared cores: a gang of C cores, and an index per synapse into a table of K levels.

Neuron n of a layer is neuron q = n // C of core n mod C; lane q mod L of group q // L. All cores of a gang do the same
at the same time, each for its own neurons. A row of the index memories holds the indices of L neurons of every core::

    row of source s and group g        first + g fan_in + s
    field (c L + lane) of it           index of the synapse from s to neuron (g L + lane) C + c

The spikes of a step are kept, and walked once for each group, in blocks of at most B: what one conversion of a neuron
sums up (`replicate`: B = P, the copies of the table; `histogram`: B = 2**count_bits - 1). A conversion of b spikes is
read in D = ceil(bits of b / pulse_bits) digits of the counters (histogram), or at once (replicate).

Several layers can share a gang, with one table: each has neurons and rows of its own, one behind the other.
"""

import dataclasses
import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..config import SharedConfig
from ..errors import InputError
from ..network.integer import IntegerLayer, IntegerNetwork, signed_bits
from ..network.sharing import distinct_levels, level_indices
from .plan import SPIKE_QUEUE, LayerPlan, dense_weights, shares_of_layers

__all__ = ["Gang", "SharedPlan", "place_shared"]

PACK_ROWS = 1 << 12
"""Rows of index memory that are made at a time."""
NOWHERE: Any = None
"""The gang of a layer that is not placed yet."""


@dataclass(frozen=True, kw_only=True)
class Gang:
    """What a layer has of its gang: where its part of each memory begins, and how large these are in all.

    Members: `name`; `index` of the layer among the `layers` of the gang; `cores` side by side, `lanes` of each;
    `table`, the K levels, ascending (the last one repeated where fewer are needed); `replicates`, whether a conversion
    reads copies of the table; `block`, the most spikes of one, and `pulse_bits`; first `row` and `word` of the layer,
    and `rows` (of index memory) and `words` (neurons of a core) of all layers; `lane_bits` of each core's potentials,
    `bias_bits` (0: no biases); `buffer`, rows under way where indices are streamed, or None, and the `latency` of the
    memory that is simulated outside; `pairs`, whether a level is two devices; `code_bits` of the
    converter of analog tables (0: digital), which counts units of 2**`code_shift`.
    """

    name: str
    index: int
    layers: int
    cores: int
    lanes: int
    table: tuple[int, ...]
    replicates: bool
    block: int
    pulse_bits: int
    row: int
    word: int
    rows: int
    words: int
    bias_bits: int
    lane_bits: tuple[int, ...]
    buffer: int | None
    latency: int
    pairs: bool
    code_bits: int = 0
    code_shift: int = 0

    @property
    def analog(self) -> bool:
        """Whether tables are analog."""
        return self.code_bits > 0

    @property
    def late(self) -> int:
        """Cycles by which a sum is known later than from a digital table."""
        return int(self.analog)

    @property
    def streamed(self) -> bool:
        """Whether indices come from a memory outside."""
        return self.buffer is not None

    @property
    def index_bits(self) -> int:
        """Bits of an index."""
        return (len(self.table) - 1).bit_length()

    @property
    def core_row_bits(self) -> int:
        """Bits of a row of one core's index memory."""
        return self.lanes * self.index_bits

    @property
    def row_bits(self) -> int:
        """Bits of a row of all cores."""
        return self.cores * self.core_row_bits

    @property
    def most_digits(self) -> int:
        """Digits of the largest counter."""
        return self.digits(self.block)

    def digits(self, spikes: int) -> int:
        """Digits in which a conversion of so many spikes is read."""
        return 1 if self.replicates else max(1, -(-int(spikes).bit_length() // self.pulse_bits))

    def blocks(self, spikes: int) -> list[int]:
        """Spikes of each conversion of a neuron, in a step of so many."""
        full, rest = divmod(spikes, self.block)
        return [self.block] * full + ([rest] if rest or not full else [])

    @property
    def devices(self) -> int:
        """Memristors of all cores."""
        copies = self.block if self.replicates else 1
        return self.cores * copies * len(self.table) * (2 if self.pairs else 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class SharedPlan(LayerPlan):
    """One layer on a gang of `lanes` cores; `groups` are the neurons of a core."""

    gang: Gang

    @property
    def parallel(self) -> bool:
        """Never: potentials are words of memories."""
        return False

    @property
    def index_groups(self) -> int:
        """Groups of neurons whose indices lie in one row."""
        return -(-self.groups // self.gang.lanes)

    @property
    def tail(self) -> int:
        """Neurons of a core in the last group."""
        return self.groups - (self.index_groups - 1) * self.gang.lanes

    @property
    def index_depth(self) -> int:
        """Rows of its part of the index memory."""
        return self.index_groups * self.layer.fan_in

    @property
    def weight_depth(self) -> int:
        """Rows of what stands for weights: indices."""
        return self.index_depth

    @property
    def weight_row_bits(self) -> int:
        """Bits of such a row, of all cores."""
        return self.gang.row_bits

    @property
    def spike_depth(self) -> int:
        """Most spikes of a step."""
        return self.layer.fan_in * self.layer.max_count

    @property
    def spike_queue(self) -> int:
        """Rows of spikes that wait for the serialiser: all of a step, where other layers need the gang."""
        return SPIKE_QUEUE if self.gang.layers == 1 else max(2, self.groups)

    @property
    def lane_bits(self) -> tuple[int, ...]:
        """Accumulator bits of each core."""
        return self.gang.lane_bits

    @property
    def cleared(self) -> int:
        """Cycles after reset in which memories are cleared."""
        return self.gang.words + 1

    def index_image(self) -> str:
        """The index memories of all cores side by side, as lines of hexadecimal digits."""
        digits = -(-self.gang.row_bits // 4)
        text = self.index_bytes[:, ::-1].tobytes().hex()
        width = len(text) // self.index_depth
        return "".join(f"{text[n + width - digits : n + width]}\n" for n in range(0, len(text), width))

    @property
    def index_bytes(self) -> np.ndarray:
        """The index memories of all cores side by side, uint8 [rows, bytes of a row], lowest bits first."""
        gang, layer = self.gang, self.layer
        table, lanes = np.array(sorted(set(gang.table))), gang.lanes
        result = np.empty((self.index_depth, -(-gang.row_bits // 8)), np.uint8)
        weights = dense_weights(layer)
        shifts = np.arange(gang.index_bits, dtype=np.uint8)
        for group in range(self.index_groups):
            first = group * lanes * self.lanes
            part = weights[first : first + lanes * self.lanes]
            indices = np.zeros((lanes * self.lanes, layer.fan_in), np.uint8)
            indices[: len(part)] = level_indices(part, table)
            # neuron (lane, core) -> field core * lanes + lane, of every source
            fields = indices.reshape(lanes, self.lanes, -1).transpose(2, 1, 0).reshape(layer.fan_in, -1)
            for start in range(0, layer.fan_in, PACK_ROWS):
                bits = (fields[start : start + PACK_ROWS, :, None] >> shifts) & 1
                packed = np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")
                begin = group * layer.fan_in + start
                result[begin : begin + len(packed)] = packed
        return result

    def core_index_rows(self, core: int) -> list[int]:
        """Contents of one core's index memory."""
        bits, mask = self.gang.core_row_bits, (1 << self.gang.core_row_bits) - 1
        return [int.from_bytes(row.tobytes(), "little") >> (core * bits) & mask for row in self.index_bytes]

    def fixed_digest(self) -> str:
        """SHA-256 of the contents that are hardware, as hex digits."""
        layer, digest = self.layer, hashlib.sha256()
        for connection in layer.connections:
            digest.update(np.ascontiguousarray(connection.weights).data)
        digest.update(layer.bias.astype("<i8").tobytes())
        digest.update(repr((layer.threshold, layer.subtracts, layer.leak.describe())).encode())
        return digest.hexdigest()

    def structure(self) -> dict:
        """Everything that decides the hardware of this layer, as JSON values."""
        return super().structure() | {"engine": "shared", "gang": dataclasses.asdict(self.gang)}


def place_shared(network: IntegerNetwork, core: SharedConfig, *, direct: bool = False) -> tuple[SharedPlan, ...]:
    """Place the layers of `network` on gangs of cores.

    Raises
    ------
    InputError
        For a layer that the cores cannot compute, or that does not fit them.
    """
    _check_options(core, direct=direct)
    shapes = {"input": network.input_shape} | {layer.name: layer.shape for layer in network.layers}
    for layer in network.layers:
        if not (layer.is_plain and all(len(shapes[source]) == 1 for source in network.sources(layer))):
            raise InputError(
                f"layer {layer.name!r}: a shared core takes dense layers of plain neurons (no map, synaptic current, "
                "refractory period, adaptation or parameter per neuron); accepted for this one is core.kind = 'digital'"
            )
        if layer.fan_in > core.fan_in:
            raise InputError(
                f"layer {layer.name!r}: {layer.fan_in} sources; accepted are up to core.fan_in = {core.fan_in}"
            )
    numbers = shares_of_layers(network, core.gangs, "core.gangs")
    layers: list[SharedPlan] = []
    found: dict[int, tuple[Gang, ...]] = {}
    for number in sorted(set(numbers)):
        members = [layer for layer, at in zip(network.layers, numbers, strict=True) if at == number]
        found[number] = _place(members, core, _cores(core, numbers, number), clears=network.state == "clear")
    taken = dict.fromkeys(found, 0)
    for layer, number in zip(network.layers, numbers, strict=True):
        gang = found[number][taken[number]]
        taken[number] += 1
        layers.append(_plan(layer, gang, clears=network.state == "clear"))
    return tuple(layers)


def _check_options(core: SharedConfig, *, direct: bool) -> None:
    """Raise InputError for what a shared core cannot do."""
    if core.levels & (core.levels - 1):
        raise InputError(
            f"core.levels: {core.levels} was given; accepted are powers of two, as {1 << core.levels.bit_length() - 1} "
            f"or {1 << core.levels.bit_length()}: an index of {(core.levels - 1).bit_length()} bits could name no level"
        )
    if core.read == "histogram" and core.pulse_bits > core.count_bits:
        raise InputError(
            f"core.pulse_bits: {core.pulse_bits} was given; accepted are 1 to core.count_bits = {core.count_bits}"
        )
    accepted = {
        "core.weights": (core.weights == "loaded" and "loaded", "'fixed'"),
        "core.parameters": (core.parameters == "loaded" and "loaded", "'fixed'"),
        "core.queue_depth": (core.queue_depth != "auto" and core.queue_depth, "'auto': the spikes of a step are kept"),
        "input.coding": (direct and "current", "spikes"),
    }
    for key, (given, what) in accepted.items():
        if given:
            raise InputError(f"{key}: {given!r} was given; accepted with core.kind = 'shared': {what}")


def _cores(core: SharedConfig, numbers: list[int], number: int) -> int:
    """Cores of a gang."""
    if isinstance(core.cores, int):
        return core.cores
    every = sorted(set(numbers))
    if len(core.cores) != len(every):
        raise InputError(
            f"core.cores: {len(core.cores)} numbers were given; accepted is one, or one for each of {len(every)} gangs"
        )
    return core.cores[every.index(number)]


def _plan(layer: IntegerLayer, gang: Gang, *, clears: bool) -> SharedPlan:
    return SharedPlan(
        layer=layer, lanes=gang.cores, weights="fixed", parameters="fixed", direct=False, clears=clears, gang=gang
    )  # fmt: skip


def _place(layers: list[IntegerLayer], core: SharedConfig, cores: int, *, clears: bool) -> tuple[Gang, ...]:
    """The gang of `layers`, as each of them sees it."""
    names = "_".join(layer.name for layer in layers)
    widest = max(layer.neurons for layer in layers)
    if cores > widest:
        raise InputError(f"core.cores: {cores} was given for {names!r}; accepted are up to its {widest} neurons")
    words = [-(-layer.neurons // cores) for layer in layers]
    if sum(words) > core.neurons:
        raise InputError(
            f"gang {names!r}: {' + '.join(str(layer.neurons) for layer in layers)} neurons take {sum(words)} of each "
            f"of {cores} cores; accepted are up to core.neurons = {core.neurons}, or more core.cores"
        )
    table = distinct_levels(layers)
    if len(table) > core.levels:
        raise InputError(
            f"gang {names!r}: {len(table)} distinct weights; accepted are up to core.levels = {core.levels}: train "
            f"with shared weights, or let quantise.levels = {core.levels} cluster them"
        )
    if core.pair == "single" and table[0] < 0:
        raise InputError(
            f"gang {names!r}: weights down to {table[0]}; accepted with core.pair = 'single' are none below 0"
        )
    replicates = core.read == "replicate"
    common = Gang(
        name=f"{names}_gang",
        index=0,
        layers=len(layers),
        cores=cores,
        lanes=min(core.lanes, max(words)),
        table=tuple(int(level) for level in table) + (int(table[-1]),) * (core.levels - len(table)),
        replicates=replicates,
        block=core.copies if replicates else (1 << core.count_bits) - 1,
        pulse_bits=core.pulse_bits,
        row=0,
        word=0,
        rows=0,
        words=sum(words),
        bias_bits=0,
        lane_bits=(),
        buffer=core.row_buffer if core.indices == "streamed" else None,
        latency=core.row_latency,
        pairs=core.pair == "differential",
    )
    if core.engine == "analog":
        common = dataclasses.replace(common, code_bits=core.adc_bits, code_shift=_code_shift(layers, core))
    plans = [_plan(layer, common, clears=clears) for layer in layers]
    depths = [plan.index_depth for plan in plans]
    if common.analog:
        needs = [[_analog_bits(plan)] * cores for plan in plans]
    else:
        needs = [plan.lane_needs(np.maximum(plan.neuron_bits, 2)) for plan in plans]
    whole = dataclasses.replace(
        common,
        rows=sum(depths),
        bias_bits=max(plan.bias_bits for plan in plans),
        lane_bits=tuple(max(bits) for bits in zip(*needs, strict=True)),
    )
    return tuple(
        dataclasses.replace(whole, index=n, row=sum(depths[:n]), word=sum(words[:n])) for n in range(len(layers))
    )


def _code_shift(layers: list[IntegerLayer], core: SharedConfig) -> int:
    """Exponent of the least step of a converter that reaches as far as it is to."""
    most = core.adc_range
    if isinstance(most, str):
        thetas = [int(np.max(layer.threshold)) for layer in layers if layer.threshold is not None]
        most = 4 * max(thetas, default=1 << (layers[0].potential_bits - 1))
    return max(0, (most - 1).bit_length() - (core.adc_bits - 1))


def _analog_bits(plan: SharedPlan) -> int:
    """Bits of a potential while codes add up, whatever the converter says."""
    gang, layer = plan.gang, plan.layer
    code = 1 << (gang.code_bits - 1 + gang.code_shift)
    each = sum(code << (gang.pulse_bits * digit) for digit in range(gang.most_digits))
    sums = each * len(gang.blocks(plan.spike_depth))
    low, high = layer.leak.range(layer.v_min, layer.v_max)
    if layer.reset == "delayed_subtract":
        low -= int(np.max(layer.subtracts))
    return signed_bits(low - sums + min(0, int(layer.bias.min())), high + sums + max(0, int(layer.bias.max())))
