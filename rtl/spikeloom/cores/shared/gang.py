"""A gang of weight-shared cores: what walks the spikes of a step, and the cores that do the same side by side.

A step of a layer is a job. Its spikes are walked once for each group of L neurons: a row of the index memories per
spike. When a block is complete its neurons are read one after the other, a digit per cycle, while the next block comes
in. The last digit of a neuron's last block ends its step: leak, threshold, reset, and its potential is stored::

    cycle       0     1     2     3     ...   n + 2   n + 3   n + 4      n + 5
    job         taken
    spike list        s1    s2    s3
    indices                 s1    s2
    count                         s1          sn
    bank                                              moves
    table                                                     neuron 0   neuron 1
    membrane                                                             neuron 0, done

The last layer that has a step goes first. Where several layers share a gang, a step begins when the rows of spikes of
the layer's step before have left: there is room for all then, so no layer ever waits for one that needs the gang.
"""

from collections.abc import Sequence

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.neuron import NeuronParameters, add_small, layers_step_end, per_layer
from ...blocks.routing import MemoryQueue
from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.rows import pack_rows
from ...mapping.shared import Gang, SharedPlan
from ..macro import kept_answer
from .collector import Collector, DrawnLayout
from .layer import SharedEngine
from .table import DigitalTable

__all__ = ["IndexPort", "SharedGang", "TablePort"]

STEP_BITS = 32


class IndexPort(wiring.Signature):
    """To the index memory outside: `row` is the address of a row that is wanted, `indices` the rows, in that order.

    At most `Gang.buffer` rows are under way, so `indices.ready` never waits once a row was asked for.
    """

    def __init__(self, gang: Gang):
        super().__init__(
            {
                "row": Out(stream.Signature(address_bits(gang.rows))),
                "indices": In(stream.Signature(gang.row_bits)),
            }
        )


class TablePort(wiring.Signature):
    """Between a gang and its analog tables.

    Members
    -------
    go : Out(1)
        The other outputs are a conversion, to be answered in the next cycle. At most one comes per cycle, in order.
    layer : Out, of the layers of the gang. step : Out(32), number of the step of that layer since reset. Elapsed time
        is this field and nothing else.
    drawn : Out(ArrayLayout of cores), what each core reads
    code : In(ArrayLayout of cores), signed
    """

    def __init__(self, gang: Gang):
        super().__init__(
            {
                "go": Out(1),
                "layer": Out(address_bits(gang.layers)),
                "step": Out(STEP_BITS),
                "drawn": Out(data.ArrayLayout(DrawnLayout(gang), gang.cores)),
                "code": In(data.ArrayLayout(signed(gang.code_bits), gang.cores)),
            }
        )


class SharedGang(Elaboratable):
    """Index memories, collectors, tables and membranes of the layers `layers`, between their spikes and `done`."""

    def __init__(self, layers: Sequence[SharedEngine]):
        self.layers = layers
        self.plans: list[SharedPlan] = [layer.plan for layer in layers]
        self.gang = self.plans[0].gang
        self.outside = IndexPort(self.gang).create(path=("outside",)) if self.gang.buffer is not None else None
        self.analog = TablePort(self.gang).create(path=("analog",)) if self.gang.analog else None

    @property
    def ports(self) -> dict:
        """The ports that the accelerator hands on: of an index memory outside, and of analog tables."""
        name = self.gang.name
        found = {f"indices_{name}": self.outside, f"analog_{name}": self.analog}
        return {port: interface for port, interface in found.items() if interface is not None}

    @property
    def name(self) -> str:
        """Name of the submodule."""
        return self.gang.name

    def elaborate(self, platform):
        m, plans, gang = Module(), self.plans, self.gang

        # ---- the job ----
        cleared = Signal(range(gang.words + 1))  # words of the membranes, after reset
        clearing = Signal()
        busy, begin, end = Signal(), Signal(), Signal()
        offers, chosen = Signal(len(plans)), Signal(range(max(2, len(plans))))
        layer = Signal.like(chosen)
        deepest = max(plan.spike_depth for plan in plans)
        count, spikes, last = Signal(range(deepest + 1)), Signal(range(deepest + 1)), Signal()
        m.d.comb += [clearing.eq(cleared != gang.words), begin.eq(~busy & ~clearing & offers.any())]
        m.d.sync += cleared.eq(cleared + clearing)
        for n, each in enumerate(self.layers):
            m.d.comb += offers[n].eq(each.spikes.valid & each.done.room)
            with m.If(offers[n]):
                m.d.comb += [chosen.eq(n), count.eq(each.spikes.count)]
            m.d.comb += each.spikes.free.eq(end & (layer == n))
        with m.If(begin):
            m.d.sync += [busy.eq(1), layer.eq(chosen), spikes.eq(count)]
            m.d.sync += last.eq(Mux(per_layer([each.spikes.last for each in self.layers], chosen), 1, 0))
        with m.If(end):
            m.d.sync += busy.eq(0)

        # ---- rows of indices, one per spike and group ----
        row, row_valid, take = self._rows(m, begin, chosen, count, layer, spikes)

        # ---- blocks: what is collected, and what is being read ----
        most_groups = max(plan.index_groups for plan in plans)
        groups_left = Signal(range(most_groups + 1))  # still to be collected, this one included
        left = Signal(range(deepest + 1))  # spikes of this group
        have = Signal(range(gang.block + 1))
        begins_group, complete = Signal(), Signal()
        of_first, of_end, of_final, of_size = Signal(), Signal(), Signal(), Signal(range(gang.block + 1))
        move, empty, ends_block, ends_group = Signal(), Signal(), Signal(), Signal()
        free = Signal()  # the bank that is read
        m.d.comb += [
            move.eq(complete & free),
            take.eq(row_valid & (groups_left != 0) & (~complete | move)),
            empty.eq((groups_left != 0) & (spikes == 0) & (~complete | move)),
            ends_group.eq(empty | (take & (left == 1))),
            ends_block.eq(ends_group | (take & (have == gang.block - 1))),
        ]
        with m.If(move):
            m.d.sync += complete.eq(0)
        with m.If(take):
            m.d.sync += [have.eq(have + 1), left.eq(left - 1)]
        with m.If(ends_block):
            m.d.sync += [
                complete.eq(1),
                have.eq(0),
                of_first.eq(begins_group),
                of_end.eq(ends_group),
                of_final.eq(groups_left == 1),
                of_size.eq(Mux(take, have + 1, 0)),
                begins_group.eq(ends_group),
            ]
        with m.If(ends_group):
            m.d.sync += [left.eq(spikes), groups_left.eq(groups_left - 1)]
        with m.If(begin):
            groups = per_layer([plan.index_groups for plan in plans], chosen)
            m.d.sync += [groups_left.eq(groups), left.eq(count), begins_group.eq(1)]

        # ---- conversions: a digit of a neuron per cycle ----
        advance = Signal()
        reads, first, ending, final = Signal(), Signal(), Signal(), Signal()  # the bank holds a block, and which
        digit, digits = Signal(range(max(2, gang.most_digits))), Signal(range(max(2, gang.most_digits)))
        lane, lanes = Signal(range(max(2, gang.lanes))), Signal(range(max(2, gang.lanes)))
        word, group_word = Signal(address_bits(gang.words)), Signal(address_bits(gang.words))
        draws, at_digit, at_lane = Signal(), Signal(), Signal()
        m.d.comb += [
            draws.eq(reads & advance),
            at_digit.eq(digit == digits),
            at_lane.eq(lane == lanes),
            free.eq(~reads | (draws & at_digit & at_lane)),
        ]
        start = per_layer([plan.gang.word for plan in plans], layer)
        tail = per_layer([plan.tail - 1 for plan in plans], layer)
        following = Signal.like(word)  # behind the group that is, or was, read
        with m.If(begin):
            m.d.sync += following.eq(per_layer([plan.gang.word for plan in plans], chosen))
        with m.If(draws):
            m.d.sync += digit.eq(Mux(at_digit, 0, digit + 1))
            with m.If(at_digit):
                m.d.sync += [lane.eq(lane + 1), word.eq(word + 1)]
                with m.If(at_lane):
                    m.d.sync += [reads.eq(0), following.eq(word + 1)]
        with m.If(move):
            behind = Mux(reads, word + 1, following)  # of the neuron that is drawn in this cycle
            place = Mux(of_first, behind, group_word)
            m.d.sync += [
                reads.eq(1),
                first.eq(of_first),
                ending.eq(of_end),
                final.eq(of_final),
                digit.eq(0),
                digits.eq(self._digits(of_size) - 1),
                lane.eq(0),
                lanes.eq(Mux(of_final, tail, gang.lanes - 1)),
                word.eq(place),
                group_word.eq(place),
            ]

        # ---- the cores ----
        ends_neuron = reads & ending & at_digit
        drawn = [reads, ends_neuron, first & (digit == 0), ends_neuron & final & at_lane, word, digit]
        if self.analog is not None:  # the request is on the port for a cycle
            drawn = self._behind(m, advance, drawn, "asked")
        fetches, (*_, place_drawn, _) = drawn[0] & advance, drawn
        adds, ends, fresh, closes, at, shift = self._behind(m, advance, drawn, "added")
        bias = self._biases(m, place_drawn, fetches) if gang.bias_bits else None
        codes = self._ask(m, advance, reads, layer, end) if self.analog is not None else None
        parameters = [NeuronParameters.of(plan.layer, {}) for plan in plans]
        for c in range(gang.cores):
            m.submodules[f"core{c}"] = core = _Core(plans, c, parameters)
            m.d.comb += [
                core.row.eq(row.word_select(c, gang.core_row_bits)),
                core.take.eq(take),
                core.fresh.eq(have == 0),
                core.clear.eq(empty),
                core.move.eq(move),
                core.digit.eq(draws & ~at_digit),
                core.shift.eq(draws & at_digit),
                core.fetches.eq(fetches),
                core.advance.eq(advance),
                core.word.eq(place_drawn),
                core.adds.eq(adds),
                core.at.eq(at),
                core.ends.eq(ends),
                core.power.eq(shift),
                core.layer.eq(layer),
                core.forgets.eq(last & int(plans[0].clears)),
                core.clearing.eq(clearing),
                core.cleared.eq(cleared),
            ]
            if self.analog is not None and codes is not None:
                with m.If(advance):
                    m.d.sync += self.analog.drawn[c].eq(core.drawn)
                m.d.comb += core.code.eq(codes.word_select(c, gang.code_bits))
            if bias is not None:
                own = bias.r_data.word_select(c, gang.bias_bits)
                m.d.comb += core.bias.eq(Mux(fresh, own, 0))
        m.d.comb += end.eq(closes & advance)

        served: Value = Const(1)
        for n, (each, plan) in enumerate(zip(self.layers, plans, strict=True)):
            done = each.done
            active = ends & (layer == n) if len(plans) > 1 else ends
            # Cores beside the last neurons have none.
            within = plan.layer.neurons - (plan.groups - 1) * plan.lanes
            mask = Mux(closes, (1 << within) - 1, (1 << plan.lanes) - 1)
            cores = [m.submodules[f"core{c}"] for c in range(gang.cores)]
            m.d.comb += [
                done.active.eq(active),
                done.row.eq(at - start),
                done.flags.eq(Cat(*[core.fired for core in cores]) & mask),
                done.final.eq(closes),
                done.last.eq(last),
                done.advance.eq(advance),
            ]
            m.d.comb += [done.values[c].eq(core.value) for c, core in enumerate(cores)]
            served = served & (~active | done.served)
        m.d.comb += advance.eq(served)
        return m

    def _behind(self, m: Module, advance: Value, values: list, name: str) -> list[Signal]:
        """Registers that take `values` with `advance`."""
        held = [Signal(len(value), name=f"{name}{n}") for n, value in enumerate(map(Value.cast, values))]
        with m.If(advance):
            m.d.sync += [register.eq(value) for register, value in zip(held, values, strict=True)]
        return held

    def _ask(self, m: Module, advance: Value, reads: Value, layer: Value, end: Value) -> Value:
        """Drive the analog port but for what is drawn; the codes of all cores, when they are added."""
        port = self.analog
        assert port is not None
        steps = [Signal(STEP_BITS, name=f"step{n}") for n in range(len(self.plans))]
        for n, step in enumerate(steps):
            m.d.sync += step.eq(step + (end & (layer == n)))
        m.d.sync += port.go.eq(reads & advance)
        m.d.comb += [port.layer.eq(layer), port.step.eq(per_layer(steps, layer))]
        return kept_answer(m, go=port.go, advance=advance, answer=Value.cast(port.code))

    def _digits(self, size: Value) -> Value:
        """Digits in which a block of `size` spikes is read."""
        gang = self.gang
        result: Value | int = 1
        for n in range(1, gang.most_digits):
            result = Mux(size >= (1 << (n * gang.pulse_bits)), n + 1, result)
        return Value.cast(result)

    def _rows(self, m: Module, begin, chosen, count, layer, spikes) -> tuple[Value, Value, Signal]:
        """The rows of a job in order: the row, whether it is there, and the signal that takes it."""
        plans, gang, take = self.plans, self.gang, Signal()
        bits = address_bits(gang.rows)
        walking, at, groups_left = Signal(), Signal.like(spikes), Signal(range(max(p.index_groups for p in plans) + 1))
        base = Signal(bits)
        looked, looked_base = Signal(), Signal(bits)  # a spike is read, for the group that begins there
        step, move, ends_group = Signal(), Signal(), Signal()
        fan_in = per_layer([plan.layer.fan_in for plan in plans], layer)
        m.d.comb += [step.eq(walking & (~looked | move)), ends_group.eq(at == spikes - 1)]
        with m.If(step | move):
            m.d.sync += looked.eq(step)
        with m.If(step):
            m.d.sync += [looked_base.eq(base), at.eq(Mux(ends_group, 0, at + 1))]
            with m.If(ends_group):
                m.d.sync += [base.eq(base + fan_in), groups_left.eq(groups_left - 1), walking.eq(groups_left != 1)]
        with m.If(begin):
            m.d.sync += [
                walking.eq(count != 0),
                at.eq(0),
                groups_left.eq(per_layer([plan.index_groups for plan in plans], chosen)),
                base.eq(per_layer([plan.gang.row for plan in plans], chosen)),
            ]
        sources = []
        for n, each in enumerate(self.layers):
            m.d.comb += [each.spikes.r_en.eq(step & (layer == n)), each.spikes.at.eq(at)]
            sources.append(each.spikes.source)
        address = Signal(bits)
        m.d.comb += address.eq(looked_base + per_layer(sources, layer))
        if gang.buffer is None:
            there = Signal()
            memories = [self._indices(m, c) for c in range(gang.cores)]
            m.d.comb += move.eq(looked & (~there | take))
            with m.If(move | take):
                m.d.sync += there.eq(move)
            for memory in memories:
                m.d.comb += [memory.r_en.eq(move), memory.r_addr.eq(address)]
            return Cat(*[memory.r_data for memory in memories]), there, take
        assert self.outside is not None
        m.submodules.ahead = ahead = MemoryQueue(gang.row_bits, depth=gang.buffer, name=f"{gang.name}.ahead")
        room, wanted, came = Signal(range(gang.buffer + 1), init=gang.buffer), self.outside.row, self.outside.indices
        m.d.comb += [
            wanted.valid.eq(looked & (room != 0)),
            wanted.payload.eq(address),
            move.eq(wanted.valid & wanted.ready),
            ahead.i.valid.eq(came.valid),
            ahead.i.payload.eq(came.payload),
            came.ready.eq(ahead.i.ready),
            ahead.o.ready.eq(take),
        ]
        m.d.sync += room.eq(room - move + take)
        return ahead.o.payload, ahead.o.valid, take

    def _indices(self, m: Module, c: int) -> Sram:
        """The index memory of core c."""
        gang = self.gang
        m.submodules[f"indices{c}"] = memory = Sram(
            name=f"{gang.name}.indices{c}", depth=gang.rows, width=gang.core_row_bits, port_type="rom",
            contents=[row for plan in self.plans for row in plan.core_index_rows(c)],
        )  # fmt: skip
        return memory

    def _biases(self, m: Module, word: Value, draws: Value) -> Sram:
        """Biases, a row for each neuron of a core, by layers."""
        gang, rows = self.gang, []
        for plan in self.plans:
            padded = plan.layer.bias.copy()
            padded.resize(plan.groups * plan.lanes)
            rows += pack_rows(padded.reshape(plan.groups, plan.lanes), gang.bias_bits)
        m.submodules.biases = biases = Sram(
            name=f"{gang.name}.biases", depth=gang.words, width=gang.cores * gang.bias_bits, port_type="rom",
            contents=rows,
        )  # fmt: skip
        m.d.comb += [biases.r_en.eq(draws), biases.r_addr.eq(word)]
        return biases


class _Core(wiring.Component):
    """Collector, table and membrane of one core; told what to do by its gang, whose names these are."""

    def __init__(self, plans: Sequence[SharedPlan], number: int, parameters: Sequence[NeuronParameters]):
        gang = plans[0].gang
        self.plans, self.gang, self.number, self.parameters = plans, gang, number, parameters
        word, bits = address_bits(gang.words), max(plan.layer.potential_bits for plan in plans)
        flags = ("take", "fresh", "clear", "move", "digit", "shift", "fetches", "advance", "adds", "ends")
        ports: dict = {name: In(1) for name in (*flags, "forgets", "clearing")}
        ports |= {"row": In(gang.core_row_bits), "word": In(word), "at": In(word), "cleared": In(range(gang.words + 1))}
        ports |= {"power": In(range(max(2, gang.most_digits))), "layer": In(address_bits(gang.layers))}
        ports |= {"fired": Out(1), "value": Out(signed(bits))}
        if gang.bias_bits:
            ports["bias"] = In(signed(gang.bias_bits))
        if gang.analog:
            ports |= {"drawn": Out(DrawnLayout(gang)), "code": In(signed(gang.code_bits))}
        super().__init__(ports)

    def elaborate(self, platform):
        m, gang = Module(), self.gang
        bits = gang.lane_bits[self.number]
        m.submodules.collector = collector = Collector(gang)
        for name in ("row", "take", "fresh", "clear", "move", "digit", "shift"):
            m.d.comb += getattr(collector, name).eq(getattr(self, name))
        if gang.analog:
            m.d.comb += self.drawn.eq(collector.drawn)
            read = (self.code << gang.code_shift).as_signed()
        else:
            m.submodules.table = table = DigitalTable(gang)
            m.d.comb += table.drawn.eq(collector.drawn)
            read = Signal.like(table.sum, reset_less=True)
            with m.If(self.advance):
                m.d.sync += read.eq(table.sum)

        m.submodules.membrane = membrane = Sram(
            name=f"{gang.name}.membrane{self.number}", depth=gang.words, width=bits, port_type="1r1w"
        )
        word, acc, before = Signal(signed(bits)), Signal(signed(bits)), Signal(signed(bits), reset_less=True)
        again = Signal()  # the neuron that was in the adder before
        m.d.comb += [
            membrane.r_en.eq(self.fetches),
            membrane.r_addr.eq(self.word),
            membrane.w_en.eq((self.adds & self.advance) | self.clearing),
            membrane.w_addr.eq(Mux(self.clearing, self.cleared, self.at)),
            membrane.w_data.eq(Mux(self.clearing, 0, word)),
        ]
        with m.If(self.advance):
            m.d.sync += [again.eq(self.adds & (self.at == self.word)), before.eq(word)]
        stored = Mux(again, before, membrane.r_data.as_signed())
        powers = [read << (n * gang.pulse_bits) for n in range(gang.most_digits)]
        brought = Signal(powers[-1].shape())
        m.d.comb += brought.eq(per_layer(powers, self.power))
        if gang.bias_bits:
            brought = brought + self.bias
        m.d.comb += acc.eq(add_small(stored, brought, 0, bits=bits))
        layers = [plan.layer for plan in self.plans]
        fire, v, after = layers_step_end(m, layers, acc, self.parameters, self.layer, name="")
        m.d.comb += [
            self.fired.eq(fire),
            self.value.eq(v),
            word.eq(Mux(self.ends, Mux(self.forgets, 0, after), acc)),
        ]
        return m
