"""The memories of a planned core, before anything is elaborated; registers and queues in flip-flops are none."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from ..items import AddressMap, address_bits
from ..network.stochastic import P_BITS, Z_BITS
from .cim import CimPlan
from .crossbar import CrossbarPlan
from .plan import CorePlan, LayerPlan
from .shared import SharedPlan
from .sparse import SparsePlan
from .sweep import SweepPlan
from .virtual import EVENT_MEMORY, VirtualPlan
from .write_verify import CODE_BITS, FACTOR_BITS

__all__ = ["REGISTER_DEPTH", "MemoryCost", "core_memories"]

REGISTER_DEPTH = 8
"""Queues of delays and short cuts up to this deep are flip-flops."""
TICK_BITS = 2
"""Of an event, beside its address: tick, last."""


@dataclass(frozen=True, kw_only=True)
class MemoryCost:
    """One memory of the core: `fc1.weights`, its rows and the bits of a row."""

    name: str
    depth: int
    width: int
    port_type: Literal["rom", "rom2", "1r1w", "2r1w", "cim"]

    @property
    def bits(self) -> int:
        """Capacity in bits."""
        return self.depth * self.width


def core_memories(plan: CorePlan) -> list[MemoryCost]:
    """Every memory of the core: those of each layer, of the edges, of the decision unit."""
    found = [memory for entry in plan.layers for memory in _layer(entry)]
    virtual = [entry for entry in plan.layers if isinstance(entry, VirtualPlan)]
    found += [memory for entry in virtual for memory in _event_memory(plan, entry)]
    for name in dict.fromkeys(entry.share.core for entry in virtual):
        found += _virtual([entry for entry in virtual if entry.share.core == name])
    shared = [entry for entry in plan.layers if isinstance(entry, SharedPlan)]
    for name in dict.fromkeys(entry.gang.name for entry in shared):
        found += _shared([entry for entry in shared if entry.gang.name == name])
    addresses = {"input": AddressMap(plan.network.input_shape).addresses}
    addresses |= {entry.name: entry.output_addresses for entry in plan.layers}
    for edge in plan.edges:
        if edge.queue > REGISTER_DEPTH:
            width = address_bits(addresses[edge.source]) + TICK_BITS
            found.append(MemoryCost(name=f"{edge.name}.items", depth=edge.queue, width=width, port_type="1r1w"))
    if plan.decision == "count":
        depth = plan.layers[-1].output_addresses
        found.append(MemoryCost(name="decision.counts", depth=depth, width=plan.steps.bit_length(), port_type="1r1w"))
    return found


def _layer(entry: LayerPlan | SweepPlan) -> Iterator[MemoryCost]:
    def memory(name: str, depth: int, width: int, writable: bool = True) -> MemoryCost:
        return MemoryCost(
            name=f"{entry.name}.{name}", depth=depth, width=width, port_type="1r1w" if writable else "rom"
        )

    if isinstance(entry, CimPlan):
        for array in entry.arrays:
            name = f"{entry.name}.{array.name}"
            yield MemoryCost(name=name, depth=array.rows, width=array.columns, port_type="cim")
        return
    if isinstance(entry, CrossbarPlan):
        yield memory("spikes", 2 * entry.steps, entry.rows)
        if entry.queue_rows > REGISTER_DEPTH:
            yield memory("items", entry.queue_rows, entry.flag_bits)
        yield memory("faults", max(2, entry.rows * entry.columns * entry.cells), 1)
        yield memory("columns", max(2, entry.columns), CODE_BITS + FACTOR_BITS + 1)
        return
    if isinstance(entry, VirtualPlan):
        return
    if isinstance(entry, SharedPlan):
        yield memory("spikes", 2 * entry.spike_depth, address_bits(entry.input_addresses))
        if entry.gang.layers > 1 and entry.spike_queue > REGISTER_DEPTH:
            row = address_bits(-(-entry.output_addresses // entry.lanes))
            yield memory("fired.items", entry.spike_queue, entry.lanes + row + TICK_BITS)
        return
    yield from _weights(entry)
    sums = sum(entry.lane_bits)
    if isinstance(entry, SweepPlan):
        if isinstance(entry, SparsePlan):
            yield memory("index", len(entry.row_counts), entry.index_bits, entry.weights == "loaded")
            for bank in (0, 1):
                for lane, bits in enumerate(entry.lane_bits):
                    yield memory(f"sums{bank}_{lane}", entry.groups, bits)
        else:
            yield memory("sums0", entry.groups, sums)
            yield memory("sums1", entry.groups, sums)
        if entry.state_fields:
            yield memory("states", entry.groups, entry.lanes * sum(bits for _, bits in entry.state_fields))
        if entry.layer.stochastic is not None:
            for lane in range(entry.lanes):
                yield memory(f"table{lane}", 1 << Z_BITS, P_BITS, writable=False)
        if entry.parameter_row_bits:
            yield memory("parameters", entry.groups, entry.parameter_row_bits, entry.parameters == "loaded")
    elif not entry.parallel:
        yield memory("potentials", entry.groups, sums)
    if entry.bias_bits and not entry.parallel:
        yield memory("biases", entry.groups, entry.lanes * entry.bias_bits, entry.bias_loaded)


def _event_memory(plan: CorePlan, entry: VirtualPlan) -> Iterator[MemoryCost]:
    """What stands in front of engines of virtual neurons."""
    if entry.turns > 1:
        for half in (0, 1):
            depth = entry.steps * entry.store_rows
            yield MemoryCost(name=f"{entry.name}.inputs{half}", depth=depth, width=entry.store_width, port_type="1r1w")
        yield MemoryCost(name=f"{entry.name}.flags", depth=entry.flag_rows, width=entry.lanes, port_type="1r1w")
        return
    depth = EVENT_MEMORY if plan.core.queue_depth == "auto" else plan.core.queue_depth
    if depth > REGISTER_DEPTH:
        width = address_bits(entry.input_addresses) + TICK_BITS
        yield MemoryCost(name=f"{entry.name}.waiting.items", depth=depth, width=width, port_type="1r1w")


def _virtual(entries: list[VirtualPlan]) -> Iterator[MemoryCost]:
    """Tables, weights and membranes of a virtual core."""
    first, share = entries[0], entries[0].share

    def memory(name: str, depth: int, width: int, writable: bool) -> MemoryCost:
        kind: Literal["1r1w", "rom"] = "1r1w" if writable else "rom"
        return MemoryCost(name=f"{share.core}.{name}", depth=depth, width=width, port_type=kind)

    loaded = first.weights == "loaded"
    yield memory("events", share.events, first.event_row_bits, loaded)
    yield memory("dispatch", share.rows, first.dispatch_row_bits, loaded)
    for engine, bits in enumerate(share.lane_bits):
        yield memory(f"weights{engine}", share.words, share.weight_bits, loaded)
        if not share.analog:
            yield memory(f"membrane{engine}", share.slots, bits, True)
    if share.bias_bits:
        yield memory("biases", share.biases, first.lanes * share.bias_bits, any(entry.bias_loaded for entry in entries))


def _shared(entries: list[SharedPlan]) -> Iterator[MemoryCost]:
    """Indices, membranes and biases of a gang of weight-shared cores."""
    gang = entries[0].gang

    def memory(name: str, depth: int, width: int, writable: bool) -> MemoryCost:
        kind: Literal["1r1w", "rom"] = "1r1w" if writable else "rom"
        return MemoryCost(name=f"{gang.name}.{name}", depth=depth, width=width, port_type=kind)

    for core, bits in enumerate(gang.lane_bits):
        if gang.buffer is None:
            yield memory(f"indices{core}", gang.rows, gang.core_row_bits, False)
        yield memory(f"membrane{core}", gang.words, bits, True)
    if gang.buffer is not None and gang.buffer > REGISTER_DEPTH:
        yield memory("ahead.items", gang.buffer, gang.row_bits, True)
    if gang.bias_bits:
        yield memory("biases", gang.words, gang.cores * gang.bias_bits, False)


def _weights(entry: LayerPlan | SweepPlan) -> Iterator[MemoryCost]:
    """The banks of weights: every n-th row each, with as many read ports as the plan asks for."""
    ports, banks = 1, 1
    if isinstance(entry, LayerPlan):
        ports, banks = entry.ports, entry.events // entry.ports
    kind: Any = f"{ports}r1w" if entry.weights == "loaded" else "rom2" if ports == 2 else "rom"
    for bank in range(banks):
        yield MemoryCost(
            name=f"{entry.name}.weights{bank if banks > 1 else ''}",
            depth=-(-(entry.weight_depth - bank) // banks),
            width=entry.weight_row_bits,
            port_type=kind,
        )
