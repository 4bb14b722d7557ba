"""What is proven, one module a subject; `PROOFS` is all of it, `HANDSHAKES` the blocks whose paths are looked at."""

from collections.abc import Callable
from typing import Any

from spikeloom.blocks.decision import DecisionUnit
from spikeloom.blocks.events import EventLayout, EventQueue
from spikeloom.blocks.routing import Delay, Fork, Join, MemoryQueue
from spikeloom.blocks.serialiser import FlagRegister, GroupSerialiser
from spikeloom.cores.digital.grouped import PassMerger

from . import axi_lite, columns, cores, loading, queues, routing, serialising
from .harness import Proof

__all__ = ["HANDSHAKES", "PROOFS"]

PROOFS: tuple[Proof, ...] = (
    *queues.PROOFS,
    *routing.PROOFS,
    *serialising.PROOFS,
    *loading.PROOFS,
    *cores.PROOFS,
    *columns.PROOFS,
    *axi_lite.PROOFS,
)

HANDSHAKES: dict[str, Callable[[], Any]] = {
    "EventQueue": lambda: EventQueue(3, depth=3),
    "MemoryQueue": lambda: MemoryQueue(3, depth=9, name="queue"),
    "Fork": lambda: Fork(EventLayout(3), 3),
    "Join": lambda: Join(sources=[2, 3], bases=[0, 2], addresses=5, leader=1),
    "Delay": lambda: Delay(2, steps=2, capacity=6, follows=True, clears=True, name="delay"),
    "GroupSerialiser": lambda: GroupSerialiser(10, width=4),
    "FlagRegister": lambda: FlagRegister(10, width=4),
    "PassMerger": lambda: PassMerger(5),
    "DecisionUnit count": lambda: DecisionUnit(3, kind="count", value_bits=3),
    "DecisionUnit first": lambda: DecisionUnit(3, kind="first", value_bits=3),
}
"""Blocks of which no `valid` may depend on any `ready` in the same cycle."""
