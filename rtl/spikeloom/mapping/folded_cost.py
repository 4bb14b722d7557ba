"""The cost model of a folded core: memories, and the exact cycles of given spikes.

Like that of the pipeline it is written from what the core does and when, in times of transfers (see `cost`). The
parts, from the input on: a store that takes an item per cycle and is read once a chunk is whole; a reader that fetches
a row of flags per cycle, one row ahead of the one that it sends; a merger that joins the last spike of a step with its
tick; lanes that take a row per cycle and pass. Cost: O(rows of flags + passes) an input.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..config import DigitalConfig
from ..errors import InputError
from ..network.integer import IntegerNetwork, signed_bits
from .bursts import LAST, LONG_AGO, SPIKE, TICK, Decision, Grouped, Outputs, Readout
from .cost import MARGIN, CostModel, CycleReport, LayerReport, MemoryCost
from .plan import CorePlan

__all__ = ["FoldedCost", "FoldedReport"]

HEADER = 4  # words of an image before its first record


@dataclass(frozen=True, kw_only=True)
class FoldedReport(CycleReport):
    """Timing of one input on a folded core.

    Attributes
    ----------
    lanes : int
    weight_waits : int
        Cycles in which the lanes were idle, with work at hand, because the tile's weights had not come.
    """

    lanes: int
    weight_waits: int

    @property
    def lane_use(self) -> float:
        """Weights added to a neuron, per lane and cycle, over the whole latency of the input."""
        return sum(layer.useful_lane_slots for layer in self.layers) / (self.lanes * self.latency)


class FoldedCost(CostModel):
    """Memories and cycles of `network` on one engine; parameters and errors as of `CostModel`."""

    def __init__(
        self,
        network: IntegerNetwork,
        core: DigitalConfig,
        *,
        steps: int,
        direct: bool = False,
        plan: CorePlan | None = None,
    ):
        super().__init__(network, core, steps=steps, direct=direct, plan=plan)
        widest = max(layer.neurons for layer in network.layers)
        if isinstance(core.lanes, list):
            raise InputError(f"core.lanes: {core.lanes} was given; accepted on a folded core is one number")
        self.width = widest if core.lanes == "full" else int(core.lanes)
        self.lanes = (self.width,) * len(network.layers)
        self.groups = tuple(-(-layer.neurons // self.width) for layer in network.layers)
        self.half = None if core.weight_buffer == "auto" else int(core.weight_buffer) // 2
        whole = 1 if self.half is None else min(4096, steps)
        self.chunk = whole if core.fold_steps == "auto" else int(core.fold_steps)
        self.flags = 1 << (self.width.bit_length() - 1)  # input flags in a row
        bits = max(layer.weight_bits for layer in network.layers)
        self.words = -(-self.width * bits // core.load_bits)  # of a row of weights
        self.tiles = tuple(self._tiles(n) for n in range(len(network.layers)))

    def _tiles(self, index: int) -> list[tuple[int, int]]:
        """First group and number of groups of each tile of a layer."""
        groups, fan_in = self.groups[index], self.network.layers[index].fan_in
        size = groups if self.half is None else min(groups, self.half // fan_in)
        return [(first, min(size, groups - first)) for first in range(0, groups, size)]

    # ---- memories ----

    @cached_property
    def shared_bias_bits(self) -> int:
        """Bits of a stored bias."""
        return max(entry.bias_bits for entry in self.plan.layers)

    def lane_bits(self, index: int) -> tuple[int, ...]:
        """Accumulator bits of each lane, over all layers, since they share it."""
        needed = np.ones(self.width, np.int64)
        for n, layer in enumerate(self.network.layers):
            low, high = layer.accumulator_range()
            if self.plan.layers[n].bias_loaded:
                reach = 1 << self.shared_bias_bits >> 1
                low = low - np.minimum(layer.bias, 0) - reach
                high = high - np.maximum(layer.bias, 0) + reach - 1
            for neuron, (a, b) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
                lane = neuron % self.width
                needed[lane] = max(needed[lane], signed_bits(a, b))
        if self.core.weights == "loaded":
            return (int(needed.max()),) * self.width
        return tuple(needed.tolist())

    @cached_property
    def memories(self) -> list[MemoryCost]:
        """Every memory of the core."""
        layers = self.network.layers
        found: list[MemoryCost] = []

        def add(name: str, depth: int, width: int, writable: bool = True) -> None:
            found.append(MemoryCost(name=name, depth=depth, width=width, port_type="1r1w" if writable else "rom"))

        for n in range(2):
            add(f"folded.inputs{n}", self.chunk * -(-self.network.inputs // self.flags), self.flags)
        if len(layers) > 1:
            add("folded.spikes", min(2, len(layers) - 1) * self.chunk * max(self.groups[:-1]), self.width)
        rows = sum(layer.fan_in * groups for layer, groups in zip(layers, self.groups, strict=True))
        bits = max(layer.weight_bits for layer in layers)
        depth = rows if self.half is None else 2 * self.half
        add("folded.weights", depth, self.width * bits, self.core.weights == "loaded")
        add("folded.potentials", sum(self.groups), sum(self.lane_bits(0)))
        if self.shared_bias_bits:
            loaded = any(entry.bias_loaded for entry in self.plan.layers)
            add("folded.biases", sum(self.groups), self.width * self.shared_bias_bits, loaded)
        if self.decision == "count":
            add("decision.counts", self.network.outputs, self.steps.bit_length())
        return found

    # ---- cycles ----

    def cycles(
        self,
        inputs: np.ndarray,
        spikes: Sequence[np.ndarray],
        *,
        gap: Literal["isolated", "back_to_back"] = "isolated",
        after_reset: int | None = None,
    ) -> list[FoldedReport]:  # type: ignore[override]
        """The cycles of each input, exactly; parameters and errors as of `CostModel.cycles`.

        Streamed weights are offered whenever the port takes them. An isolated input finds both halves of the buffer
        filled with its first tiles.
        """
        inputs, spikes = self._checked(inputs, spikes, gap)
        work = self._work(inputs, spikes)
        sources = [_rows(inputs, self.flags)] + [_rows(array, self.width) for array in spikes]
        arriving = inputs.sum(axis=2, dtype=np.int64).tolist()
        play, reports = None, []
        for b, steps in enumerate(arriving):
            if play is None or gap == "isolated":
                play = _Play(self, since_reset=after_reset)
            first, last_out, waits = play.input(steps, [source[b] for source in sources])
            layers = tuple(LayerReport(**entry[b]) for entry in work)
            reports.append(
                FoldedReport(
                    first_in=first, last_out=last_out, interval=play.entry() - first, layers=layers,
                    lanes=self.width, weight_waits=waits,
                )
            )  # fmt: skip
        return reports

    def _work(self, inputs: np.ndarray, spikes: list[np.ndarray]) -> list[list[dict]]:
        work = super()._work(inputs, spikes)
        for index, before in enumerate([inputs, *spikes[:-1]]):
            silent = (before.sum(axis=2) == 0).sum(axis=1)
            for entry, steps in zip(work[index], silent.tolist(), strict=True):
                held = entry["busy_cycles"] - entry["weight_rows"] - entry["leak_cycles"]
                entry["leak_cycles"] = steps * self.groups[index]
                entry["busy_cycles"] = entry["weight_rows"] + entry["leak_cycles"] + held
        return work

    def _overhead(self) -> int:
        """Cycles of a chunk in which the lanes may idle: the reader finds the first spike of each layer."""
        rows = [-(-self.network.inputs // self.flags), *self.groups[:-1]]
        return sum(rows) + 8 * len(rows)

    def bound(self, inputs: np.ndarray, spikes: Sequence[np.ndarray], *, drain: bool = True) -> np.ndarray:
        """A plain upper bound for weights on chip; int64 [B].

        The sum over steps and layers of the passes (one per spike in, at least one) times the groups, or of the rows
        of flags to be looked at where these are more; spikes and values that leave; and what a chunk costs.
        """
        inputs, spikes = self._checked(inputs, spikes)
        steps = inputs.shape[1]
        last = self.network.layers[-1]
        values = last.neurons * (steps if self.core.readout == "tick" else 1) if last.threshold is None else 0
        total = np.full(len(inputs), MARGIN + values)
        flags = [-(-self.network.inputs // self.flags), *self.groups[:-1]]
        for index, before in enumerate([inputs, *spikes[:-1]]):
            events = before.sum(axis=2, dtype=np.int64)
            for _, groups in self.tiles[index]:
                total += np.maximum(np.maximum(events, 1) * groups + 1, events + flags[index] + 1).sum(axis=1)
        total += spikes[-1].sum(axis=(1, 2), dtype=np.int64)
        total += -(-steps // self.chunk) * self._overhead()
        collected = inputs.sum(axis=2, dtype=np.int64) + 1
        return total + (collected[:, : self.chunk].sum(axis=1))

    def estimate(self, rates: Sequence[float]) -> float:
        """Cycles of an input from spikes per step, of the input and of each layer, with weights in time.

        Raises
        ------
        InputError
            For a wrong number of rates, or a negative one.
        """
        self._check_rates(rates)
        passes = sum(max(rate, 1) * groups for rate, groups in zip(rates, self.groups, strict=False))
        chunks = -(-self.steps // self.chunk)
        lanes = passes * self.steps + chunks * 8 * len(self.groups)
        if self.half is not None:
            rows = sum(layer.fan_in * groups for layer, groups in zip(self.network.layers, self.groups, strict=True))
            lanes = max(lanes, chunks * rows * self.words)
        return lanes + (rates[0] + 1) * min(self.chunk, self.steps) + MARGIN

    def to_json(self) -> dict[str, Any]:
        """Memories and the placement, as JSON values."""
        result = super().to_json()
        for index, entry in enumerate(result["layers"]):
            entry |= {"cycles_per_empty_step": self.groups[index], "tiles": len(self.tiles[index])}
        rows = sum(layer.fan_in * groups for layer, groups in zip(self.network.layers, self.groups, strict=True))
        streamed = rows * self.words + HEADER + sum(map(len, self.tiles))
        return result | {
            "schedule": "folded",
            "chunk_steps": self.chunk,
            "streamed_words_per_chunk": 0 if self.half is None else streamed,
        }


def _rows(spikes: np.ndarray, width: int) -> list:
    """Spikes in each row of `width` flags, nested lists [input][step][row]."""
    return np.add.reduceat(spikes, np.arange(0, spikes.shape[2], width), axis=2, dtype=np.int64).tolist()


class _Play:
    """One core from one input to the next."""

    def __init__(self, model: FoldedCost, *, since_reset: int | None):
        self.model, core, outer = model, model.core, model.network.layers[-1]
        self.outputs = Outputs()
        since = -LONG_AGO if since_reset is None else since_reset
        after: Any = self.outputs
        if model.decision in ("count", "first"):
            after = Decision(self.outputs, neurons=model.network.outputs, kind=model.decision, since_reset=since)
        readout = Readout(self.outputs, decides=model.decision == "value") if outer.threshold is None else None
        self.lanes = Grouped(outer, after, readout, core, lanes=model.width)
        swept = model.chunk * -(-model.network.inputs // model.flags) - since  # the store is cleared after reset
        self.offer = 0
        self.swept = max(LONG_AGO, swept)
        self.chunks = 0
        self.freed = [LONG_AGO, LONG_AGO]  # halves of the store
        self.fetched = self.moved = LONG_AGO  # latest row of flags: read, and handed on
        self.sent = LONG_AGO  # latest item
        self.waiting = False  # a spike waits for its successor
        self.single = False  # the latest pass was a tick's, of a single group
        # The weight stream: when the last word of each tile came, and when its half was free again. The first two
        # tiles are there from the beginning. `heads`: first cycles of the heads of images, in which no input starts.
        self.come = [LONG_AGO] * 2
        self.released: list[int] = []
        self.heads: list[int] = []
        self.sizes = [
            groups * layer.fan_in * model.words
            for layer, tiles in zip(model.network.layers, model.tiles, strict=True)
            for _, groups in tiles
        ]
        self.waits = 0

    def entry(self, *, begins: bool = True) -> int:
        """When the first item of the next chunk is taken."""
        time = max(self.offer, self.swept, self.freed[self.chunks % 2] + 1)
        if self.model.half is not None and begins:
            self._stream(len(self.released) + 2)
            for head in self.heads:
                if head <= time < head + HEADER:
                    time = head + HEADER
        return time

    def _stream(self, count: int) -> None:
        """Let tiles come until there are `count`; the halves for them have been freed."""
        while len(self.come) < count:
            number = len(self.come)
            head = HEADER if number % len(self.sizes) == 0 else 0
            record = max(self.come[-1] + 1 + head, self.released[number - 2] + 1)
            self.come.append(record + self.sizes[number % len(self.sizes)])
            if (number + 1) % len(self.sizes) == 0:
                self.heads.append(self.come[-1] + 1)

    def input(self, arriving: list[int], sources: list) -> tuple[int, int, int]:
        """One input: its first transfer, its last output, cycles of waiting for weights."""
        model, steps = self.model, len(arriving)
        self.waits, begin = 0, None
        for start in range(0, steps, model.chunk):
            end = min(steps, start + model.chunk)
            half = self.chunks % 2
            first = self.entry(begins=start == 0)
            begin = first if begin is None else begin
            self.chunks += 1
            self.offer = first + sum(arriving[start:end]) + end - start
            self._chunk(range(start, end), half, self.offer, sources, final=end == steps)
        assert begin is not None
        return begin, self.outputs.last, self.waits

    def _chunk(self, steps: range, half: int, available: int, sources: list, *, final: bool) -> None:
        for layer, tiles in enumerate(self.model.tiles):
            gate = available if layer == 0 else self.lanes.committed + 1
            for number, (first, groups) in enumerate(tiles):
                if self.model.half is not None:
                    gate = self._weights(gate)
                for t in steps:
                    output = None
                    if layer == len(self.model.tiles) - 1:
                        end = LAST if final and t == steps[-1] else TICK
                        output = (sources[-1][t], end)
                    self._unit(sources[layer][t], first, groups, gate, output)
                if layer == 0 and number == len(tiles) - 1:
                    self.freed[half] = self.moved
                if self.model.half is not None:
                    self.released.append(self.lanes.issued)

    def _weights(self, gate: int) -> int:
        """When the rows of a tile that needs its weights may be read: once they have come."""
        number = len(self.released)
        self._stream(number + 1)
        come = self.come[number]
        self.waits += max(0, come + 1 - max(gate, self.moved, self.lanes.issued + 1))
        return max(gate, come + 1)

    def _unit(self, flags: list[int], first: int, groups: int, gate: int, output) -> None:
        """One step of a tile: the rows of flags of its source, then the tick."""
        final = len(flags) - 1
        fetched, moved, sent = self.fetched, self.moved, self.sent
        for row, count in enumerate(flags):
            fetched = max(fetched + 1, moved, gate)
            if not count and row != final:
                moved = fetched + 1
                continue
            moved = max(fetched + 1, sent)
            sent = moved
            for _ in range(count):
                sent += 1
                if self.waiting:
                    sent = self._pass(sent, first, groups, None)
                self.waiting = True
            if row == final:
                sent = self._pass(sent + 1, first, groups, output, tick=True)
                self.waiting = False
        self.fetched, self.moved, self.sent = fetched, moved, sent

    def _pass(self, time: int, first: int, groups: int, output, *, tick: bool = False) -> int:
        """A pass offered at `time`; returns when the lanes take it."""
        lanes = self.lanes
        taken = max(time, lanes.issued)
        if self.single:  # the row behind a single group's tick stays empty
            empty = max(lanes.issued + 1, lanes.committed_before)
            if lanes.summed <= empty < lanes.committed:
                empty = lanes.committed
            lanes.issued = max(taken, empty)
        else:
            lanes.issued = taken
        self.single = tick and groups == 1
        if output is None:
            lanes._rows(groups)
        else:
            self._leave(first, groups, *output)
        return taken

    def _leave(self, first: int, groups: int, spikes: list[int], end: int) -> None:
        """Rows of the output layer that end a step."""
        lanes = self.lanes
        for group in range(first, first + groups):
            final = group == lanes.groups - 1
            ready = lanes._issue()
            if lanes.readout is not None and (end == LAST or lanes.every_tick):
                count = lanes.tail if final else lanes.lanes
                ready = lanes.readout.values(count, ready, final=final and end == LAST)
            if final:
                lanes._hand_on(spikes[group], end, ready)
            elif spikes[group]:
                lanes._hand_on(spikes[group], SPIKE, ready)
            else:
                lanes._commit(ready)
