"""One engine for all layers of a chain: P lanes sweep the groups of one tile after the other.

The lanes work as those of the grouped engine do; which layer a row belongs to goes through the pipeline beside it and
selects the layer's parameters::

    stage   0 issue                1 integrate                                2 fire
    work    read v, bias and w     a = (first ? leak(v) + bias : v) + w       last ? reset(clamp(a)) : a; write back

Spikes of a hidden layer go to the memory from which the next layer reads them, those of the output layer leave.
"""

from amaranth.hdl import *
from amaranth.lib import data, stream
from amaranth.lib.wiring import connect

from ...blocks.neuron import NeuronParameters, add_small, fires, leaked, per_layer, saturate
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.folded import FoldedPlan
from ..ports import LayerEngine, LoadRow
from .folding import Sequencer, UnitLayout
from .grouped import PassLayout, PassMerger

__all__ = ["FoldedEngine"]

WAITS_BITS = 32


class FoldedEngine(LayerEngine):
    """All layers on shared lanes.

    Members
    -------
    i, o, readout : as of every engine; those of the network
    load_<layer>_weights, load_<layer>_bias, load_<layer>_registers : In(LoadRow), where loaded at run time

    Attributes
    ----------
    probes : dict of streams {row, values}, by layer, where probed
    tile_rows : LoadRow, where weights are streamed: rows of the tile that is coming in
    tile_wanted, tile_size : its number and its rows
    tile_free : whether a half of the buffer can take it
    tile_filled : In, it has come in whole
    weight_waits : cycles in which the lanes were idle, with work at hand, because the tile's weights had not come
    """

    plan: FoldedPlan  # type: ignore[assignment]

    def __init__(self, plan: FoldedPlan, *, spike_queue: int, readout_ticks: bool, probe: bool):
        super().__init__(plan, queue_depth=0, spike_queue=spike_queue, readout_ticks=readout_ticks, probe=False)  # type: ignore[arg-type]
        self.probes = {}
        if probe:
            for entry in plan.layers:
                values = data.ArrayLayout(signed(entry.layer.potential_bits), plan.lanes)
                shape = data.StructLayout({"row": address_bits(entry.groups), "values": values})
                self.probes[entry.name] = stream.Signature(shape).create(path=(f"probe_{entry.name}",))
        if plan.half is not None:
            self.tile_rows = LoadRow(plan.half, plan.weight_row_bits).create(path=("tile_rows",))
            self.tile_wanted = Signal(range(max(2, len(plan.tiles))))
            self.tile_size = Signal(24)
            self.tile_free = Signal()
            self.tile_filled = Signal()
            self.weight_waits = Signal(WAITS_BITS)

    def elaborate(self, platform):
        m, plan = Module(), self.plan
        layers, lanes, lane_bits = plan.layers, plan.lanes, plan.shared.lane_bits
        outer, sources = len(layers) - 1, max(entry.layer.fan_in for entry in layers)
        m.submodules.sequencer = sequencer = Sequencer(plan)
        m.submodules.merger = merger = PassMerger(sources)
        m.d.comb += [
            sequencer.i.valid.eq(self.i.valid),
            sequencer.i.payload.eq(self.i.payload),
            self.i.ready.eq(sequencer.i.ready),
        ]
        connect(m, sequencer.o, merger.i)
        parameters = self._parameters(m, sequencer)
        weights, potentials = self._memories(m)

        advance = Signal()  # all stages move on

        # Stage 0: the pass and its group counter. An item and the pass it completes belong to the same unit.
        current = Signal(PassLayout(sources), reset_less=True)
        unit = Signal(UnitLayout(plan), reset_less=True)
        valid = Signal()
        group = Signal(unit.groups.shape())
        row = Signal(range(max(2, plan.rows)), reset_less=True)
        weight_row = Signal(range(plan.weight_depth), reset_less=True)
        spike_row = Signal(unit.spikes.shape(), reset_less=True)
        first = Signal(init=1)  # first pass of a unit
        held_back = Signal()
        issue, at_end = Signal(), Signal()
        m.d.comb += [
            issue.eq(valid & advance & ~held_back),
            at_end.eq(group == unit.groups),
            merger.o.ready.eq(~valid | (issue & at_end)),
            potentials.r_en.eq(issue),
            potentials.r_addr.eq(row),
            weights.r_en.eq(issue & current.event),
            weights.r_addr.eq(weight_row),
        ]
        coming = sequencer.unit
        with m.If(merger.o.ready):
            m.d.sync += [
                valid.eq(merger.o.valid),
                current.eq(merger.o.payload),
                unit.eq(coming),
                group.eq(0),
                row.eq(per_layer([entry.row for entry in layers], coming.layer) + coming.first),
                weight_row.eq(self._weight_base(coming) + merger.o.p.address),
                spike_row.eq(coming.spikes + coming.first),
            ]
        with m.Elif(issue):
            m.d.sync += [
                group.eq(group + 1),
                row.eq(row + 1),
                weight_row.eq(weight_row + per_layer([entry.layer.fan_in for entry in layers], unit.layer)),
                spike_row.eq(spike_row + 1),
            ]
        with m.If(issue & at_end):
            m.d.sync += first.eq(current.tick)
        # A tile of one group meets its own row again at once. What is behind the fire stage would come too late.
        with m.If(advance):
            m.d.sync += held_back.eq(issue & current.tick & (unit.groups == 0))
        bias_row = self._biases(m, issue & first, row)

        # Stage 1: what was read, leaked once per step, and the weights. Stage 2: sums.
        control = data.StructLayout(
            {
                "tick": 1,
                "last": 1,
                "layer": len(unit.layer),
                "row": len(row),
                "spike_row": len(spike_row),
                "final": 1,
            }
        )
        adding, firing = (Signal(control, reset_less=True, name=name) for name in ("adding", "firing"))
        adding_valid, firing_valid = Signal(), Signal()
        adds, leaks, clean = (Signal(reset_less=True, name=name) for name in ("adds", "leaks", "clean"))
        layer_groups = per_layer([entry.groups - 1 for entry in layers], unit.layer)
        layer_rows = per_layer([entry.row for entry in layers], unit.layer)
        with m.If(advance):
            m.d.sync += [
                adding_valid.eq(issue),
                adding.tick.eq(current.tick),
                adding.last.eq(current.last),
                adding.layer.eq(unit.layer),
                adding.row.eq(row),
                adding.spike_row.eq(spike_row),
                adding.final.eq(row == layer_rows + layer_groups),
                adds.eq(current.event),
                leaks.eq(first),
                clean.eq(unit.fresh),  # looked at in a first pass only
                firing_valid.eq(adding_valid),
                firing.eq(adding),
            ]
        m.d.comb += sequencer.settled.eq(sequencer.sent & ~valid & ~adding_valid & ~firing_valid)
        written = Signal(sum(lane_bits))
        m.d.comb += [
            potentials.w_en.eq(firing_valid & advance),
            potentials.w_addr.eq(firing.row),
            potentials.w_data.eq(written),
        ]
        sums = [Signal(signed(bits), name=f"sum{lane}") for lane, bits in enumerate(lane_bits)]
        stored = self._forwarded(m, potentials.r_data, Cat(*sums), written, adding, firing, firing_valid, advance)
        fired, values, offset = [], [], 0
        starting = self._starting(adding.layer, parameters)
        ending = self._ending(firing.layer, parameters)
        for lane, bits in enumerate(lane_bits):
            field = slice(offset, offset + bits)
            offset += bits
            bias = None
            if bias_row is not None:
                bias = bias_row.word_select(lane, plan.shared.bias_bits).as_signed()
            base = Signal(signed(bits), name=f"base{lane}")
            v = stored[field].as_signed()
            m.d.comb += base.eq(Mux(leaks, starting(v, bias, clean), v))
            weight = weights.r_data.word_select(lane, plan.shared.weight_bits)
            with m.If(advance):
                gated = (weight & adds.replicate(len(weight))).as_signed()
                m.d.sync += sums[lane].eq(add_small(base, gated, 0, bits=bits))
            fire = Signal(name=f"fire{lane}")
            after = Signal(signed(max(entry.layer.potential_bits for entry in layers)), name=f"v{lane}")
            fires_now, result = ending(sums[lane], fire)
            m.d.comb += [fire.eq(fires_now), after.eq(result), written[field].eq(Mux(firing.tick, after, sums[lane]))]
            # Lanes beyond a layer hold weights, biases and potentials of 0: they never fire.
            fired.append(fire)
            values.append(after)

        flags = Signal(lanes)
        ticking = firing_valid & firing.tick
        at_output = firing.layer == outer
        m.d.comb += [
            flags.eq(Cat(*fired)),
            sequencer.w_en.eq(ticking & ~at_output & advance),
            sequencer.w_row.eq(firing.spike_row),
            sequencer.w_data.eq(flags),
        ]
        self._leave(m, ticking, at_output, firing, flags, values, advance)
        if plan.half is not None:
            self._buffer(m, sequencer, freed=issue & at_end & current.tick & unit.ends, half=unit.half)
            with m.If(sequencer.lacks & sequencer.sent & ~valid):
                m.d.sync += self.weight_waits.eq(self.weight_waits + 1)
        return m

    # ---- parameters ----

    def _parameters(self, m, sequencer) -> list[NeuronParameters]:
        """Constants or registers of each layer; loading them makes the potentials stale."""
        found = []
        renew = Const(0, 1)
        for entry in self.plan.layers:
            parameters, port = NeuronParameters.of(entry.layer, entry.registers), f"load_{entry.name}_registers"
            found.append(parameters)
            self._load_registers(m, parameters.registers, port)
            if parameters.registers:
                renew = renew | getattr(self, port).en
        m.d.comb += sequencer.renew.eq(renew)
        return found

    def _is(self, layer: Value, numbers: list[int]) -> Value:
        """Whether `layer` is one of `numbers`."""
        if len(numbers) == len(self.plan.layers):
            return Const(1)
        return Cat(*[layer == n for n in numbers]).any() if numbers else Const(0)

    def _resets(self, kind: str) -> list[int]:
        return [n for n, entry in enumerate(self.plan.layers) if entry.layer.reset == kind]

    def _thresholds(self, layer: Value, parameters):
        """Threshold of `layer`; what it is for a read-out does not matter."""
        known = [p.threshold for p in parameters if p.threshold is not None]
        return per_layer([known[0] if p.threshold is None else p.threshold for p in parameters], layer) if known else 1

    def _starting(self, layer: Value, parameters: list[NeuronParameters]):
        """The function (v, bias, clean) that gives leak(v) + bias of a neuron of `layer`."""
        plan = self.plan
        bits = max(entry.layer.potential_bits for entry in plan.layers)
        # One leak for all layers of a kind, and of the same shifts where these are wires.
        kinds: dict[tuple, list[int]] = {}
        for n, (entry, p) in enumerate(zip(plan.layers, parameters, strict=True)):
            leak = entry.layer.leak
            fixed = leak.shifts if all(isinstance(k, int) for k in p.leak_shifts) else len(leak.shifts)
            kinds.setdefault((leak.kind, leak.fraction_bits, fixed), []).append(n)
        chosen = []
        for (kind, fraction_bits, _), numbers in kinds.items():
            # Layers of other kinds do not matter to this one.
            own = [parameters[n if n in numbers else numbers[0]] for n in range(len(parameters))]
            shifts = zip(*[p.leak_shifts for p in own], strict=True)
            joint = NeuronParameters(
                threshold=None, subtracts=0,
                leak_amount=per_layer([p.leak_amount for p in own], layer),
                leak_shifts=tuple(per_layer(each, layer) for each in shifts),
                leak_factor=per_layer([p.leak_factor for p in own], layer),
                registers=(),
            )  # fmt: skip
            chosen.append((self._is(layer, numbers), kind, fraction_bits, joint))
        threshold = self._thresholds(layer, parameters)
        subtracts = per_layer([p.subtracts for p in parameters], layer)
        zero, subtract = (self._resets(f"delayed_{kind}") for kind in ("zero", "subtract"))

        def start(v, bias, clean):
            v = v[:bits]
            v = (v & ~clean.replicate(len(v))).as_signed()
            u = None
            for mine, kind, fraction_bits, joint in chosen:
                leaving = leaked(v, kind, fraction_bits, joint)
                u = leaving if u is None else Mux(mine, leaving, u)
            if zero:
                u = Mux(fires(v, threshold) & self._is(layer, zero), 0, u)
            if subtract:
                u = u - Mux(fires(v, threshold) & self._is(layer, subtract), subtracts, 0)
            return u if bias is None else u + bias

        return start

    def _ending(self, layer: Value, parameters: list[NeuronParameters]):
        """The function (sum, fire) that gives the spike and the potential of a neuron of `layer` after the step.

        `fire` is the signal that the spike drives.
        """
        plan = self.plan
        widths: dict[int, list[int]] = {}
        for n, entry in enumerate(plan.layers):
            widths.setdefault(entry.layer.potential_bits, []).append(n)
        threshold = self._thresholds(layer, parameters)
        subtracts = per_layer([p.subtracts for p in parameters], layer)
        firing = self._is(layer, [n for n, entry in enumerate(plan.layers) if entry.layer.threshold is not None])
        zero, subtract = self._resets("zero"), self._resets("subtract")

        def end(acc, fire):
            u = None
            for bits, numbers in widths.items():
                clamped = saturate(acc, bits)
                u = clamped if u is None else Mux(self._is(layer, numbers), clamped, u)
            if zero:
                u = Mux(fire & self._is(layer, zero), 0, u)
            if subtract:
                u = u - Mux(fire & self._is(layer, subtract), subtracts, 0)
            return fires(acc, threshold) & firing, u

        return end

    # ---- memories ----

    def _memories(self, m) -> tuple[Sram, Sram]:
        plan = self.plan
        fixed = plan.layers[0].weights == "fixed"
        m.submodules.weights = weights = Sram(
            name=f"{plan.name}.weights", depth=plan.weight_depth, width=plan.weight_row_bits,
            port_type="rom" if fixed else "1r1w",
            contents=[row for entry in plan.layers for row in entry.weight_rows()] if fixed else (),
        )  # fmt: skip
        if plan.half is None and not fixed:
            for entry in plan.layers:
                load = getattr(self, f"load_{entry.name}_weights")
                with m.If(load.en):
                    m.d.comb += [weights.w_en.eq(1), weights.w_addr.eq(load.row + entry.weight_row)]
                    m.d.comb += weights.w_data.eq(load.data)
        elif plan.half is not None:
            self._filling = Signal()  # half of the buffer
            m.d.comb += [
                weights.w_en.eq(self.tile_rows.en),
                weights.w_addr.eq(self.tile_rows.row + Mux(self._filling, plan.half, 0)),
                weights.w_data.eq(self.tile_rows.data),
            ]
        m.submodules.potentials = potentials = Sram(
            name=f"{plan.name}.potentials", depth=plan.rows, width=sum(plan.shared.lane_bits), port_type="1r1w"
        )
        return weights, potentials

    def _weight_base(self, unit) -> Value:
        """First row of the weights of a unit's tile."""
        plan = self.plan
        if plan.half is not None:
            return Mux(unit.half, plan.half, 0)
        return per_layer([entry.weight_row for entry in plan.layers], unit.layer)

    def _biases(self, m, enable, row) -> Value | None:
        """Biases of a row, in the cycle after `enable`."""
        plan = self.plan
        if not plan.shared.bias_bits:
            return None
        loaded = any(entry.bias_loaded for entry in plan.layers)
        m.submodules.biases = biases = Sram(
            name=f"{plan.name}.biases", depth=plan.rows, width=plan.lanes * plan.shared.bias_bits,
            port_type="1r1w" if loaded else "rom",
            contents=[contents for entry in plan.layers for contents in entry.bias_rows()],
        )  # fmt: skip
        m.d.comb += [biases.r_en.eq(enable), biases.r_addr.eq(row)]
        for entry in plan.layers:
            if entry.bias_loaded:
                load = getattr(self, f"load_{entry.name}_bias")
                with m.If(load.en):
                    m.d.comb += [
                        biases.w_en.eq(1), biases.w_addr.eq(load.row + entry.row), biases.w_data.eq(load.data),
                    ]  # fmt: skip
        return biases.r_data

    def _forwarded(self, m, read, sums, written, adding, firing, firing_valid, advance) -> Value:
        """The row in stage 1 as it stands once the rows ahead of it are written; see the grouped engine.

        A tile of two groups needs the row written last. One of a single group also needs the row that is in stage 2,
        but never past its neurons' reset: after a tick, stage 0 waits for a cycle.
        """
        least = min(tile.groups for tile in self.plan.tiles)
        if least > 2:
            return read
        kept, kept_row, kept_valid = Signal.like(written, reset_less=True), Signal(len(firing.row)), Signal()
        with m.If(advance):
            m.d.sync += [kept.eq(written), kept_row.eq(firing.row), kept_valid.eq(firing_valid)]
        row = Mux(kept_valid & (kept_row == adding.row), kept, read)
        return row if least == 2 else Mux(firing_valid & (firing.row == adding.row), sums, row)

    # ---- what leaves ----

    def _leave(self, m, ticking, at_output, firing, flags, values, advance) -> None:
        """Spikes, values of a read-out and probes, and whether the stages may move on."""
        plan, layers = self.plan, self.plan.layers
        outer = layers[-1]
        spikes = self._serialised(m)
        local = Signal(address_bits(outer.groups))
        active, pushes = Signal(), Signal()
        tail = outer.layer.neurons - (outer.groups - 1) * plan.lanes
        m.d.comb += [active.eq(ticking & at_output), local.eq(firing.row - outer.row)]
        served = self._report(
            m, active=active, commit=active & advance, last=firing.last, row=local,
            values=[value[: outer.layer.potential_bits].as_signed() for value in values],
            count=Mux(firing.final, tail, plan.lanes),
        )  # fmt: skip
        for number, entry in enumerate(layers):
            if entry.name not in self.probes:
                continue
            served = served & self._show(
                m, self.probes[entry.name], active=ticking & (firing.layer == number), commit=advance,
                row=firing.row - entry.row, values=values, name=f"{entry.name}_shown",
            )  # fmt: skip
        m.d.comb += [
            spikes.p.flags.eq(flags),
            spikes.p.group.eq(local),
            spikes.p.tick.eq(firing.final),
            spikes.p.last.eq(firing.last),  # goes with the tick only
            pushes.eq(active & (firing.final | flags.any())),
            spikes.valid.eq(pushes & served),
            advance.eq(served & (~pushes | spikes.ready)),
        ]

    # ---- streamed weights ----

    def _buffer(self, m, sequencer, *, freed: Value, half: Value) -> None:
        """Two halves of a weight buffer: the load port fills one while the other is worked on."""
        plan = self.plan
        full = Signal(2)
        # The tile that comes next: layer, number in the layer, and rows, fewer in the last of a layer.
        layer, number, final = Signal(range(max(2, len(plan.layers)))), Signal(self.tile_wanted.shape()), Signal()
        rows: list[list[int]] = [[] for _ in plan.layers]
        for tile in plan.tiles:
            span = plan.tile_rows(tile)
            rows[tile.layer].append(span.stop - span.start)
        m.d.comb += [
            final.eq(number == per_layer([len(sizes) - 1 for sizes in rows], layer)),
            self.tile_size.eq(
                Mux(final, per_layer([sizes[-1] for sizes in rows], layer), per_layer([s[0] for s in rows], layer))
            ),
        ]
        m.d.comb += self.tile_free.eq(~Mux(self._filling, full[1], full[0]))
        for n in range(2):
            m.d.comb += sequencer.filled[n].eq(self.tile_filled & (self._filling == n))
            with m.If(sequencer.filled[n]):
                m.d.sync += full[n].eq(1)
            with m.Elif(freed & (half == n)):
                m.d.sync += full[n].eq(0)
        with m.If(self.tile_filled):
            m.d.sync += self._filling.eq(~self._filling)
            m.d.sync += [self.tile_wanted.eq(self.tile_wanted + 1), number.eq(number + 1)]
            with m.If(final):
                m.d.sync += [number.eq(0), layer.eq(layer + 1)]
                with m.If(layer == len(plan.layers) - 1):
                    m.d.sync += [layer.eq(0), self.tile_wanted.eq(0)]
