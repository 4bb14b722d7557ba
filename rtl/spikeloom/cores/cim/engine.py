"""One layer in compute-in-memory arrays: spikes are added to all columns at once, and a tick updates all of them.

Spikes wait in front of the bank that holds their weights. A pass takes one of each bank that has any and adds them;
the next pass begins in the cycle behind the last row that the one before has issued, so that passes of B cycles follow
each other without a gap. A tick goes through its own passes (`CimPlan.passes`) when all spikes before it are added::

    cycle      0    1    2   ...  B-1   B    B+1
    read      v0   v1   v2        vB-1  v0   v1      two rows: of the sums, of the weights (while it has bits)
    add             0    1        B-2   B-1  0
    write           v0   v1       vB-2  vB-1 v0      one row, masked
"""

import itertools

from amaranth.hdl import *
from amaranth.lib.wiring import connect

from ...blocks.neuron import NeuronParameters
from ...blocks.serialiser import FlagRegister, GroupSerialiser
from ...blocks.sram import Sram
from ...mapping.cim import SLOT_DEPTH, ArrayPlan, CimPlan
from ..digital.parallel import flag_group_width
from ..ports import LayerEngine
from .column import ColumnControl, ColumnPeriphery

__all__ = ["CimEngine"]

IDLE, ADD = 0, 1
FIRST = 2
"""Number of the first pass of a tick; the others follow."""


class CimEngine(LayerEngine):
    """A layer whose potentials are changed in place; see the module."""

    plan: CimPlan

    def elaborate(self, platform):
        m, plan, layer = Module(), self.plan, self.plan.layer
        bits, passes = plan.bits, plan.passes
        item = self._entrance(m)
        parameters = NeuronParameters.of(layer, plan.registers)
        self._load_registers(m, parameters.registers)
        width = flag_group_width(layer.neurons)
        m.submodules.flags = flags = FlagRegister(layer.neurons, width=width)
        m.submodules.serialiser = serialiser = GroupSerialiser(layer.neurons, width=width)
        connect(m, flags.o, serialiser.i)
        o = serialiser.o
        m.d.comb += [self.o.valid.eq(o.valid), self.o.payload.eq(o.payload), o.ready.eq(self.o.ready)]

        # The pass that is being issued, and its row.
        doing = Signal(range(FIRST + len(passes)))
        row = Signal(range(bits))
        at_end = Signal(name="at_last_row")
        hold = Signal()
        free = Signal()  # the next pass may begin
        start_add = Signal()
        start_tick = Signal()
        tick_last = Signal()
        unshown = Signal()  # potentials of the tick before are still to be read
        slots = [_Slot(m, n, plan) for n in range(plan.slots_in)]
        waiting = Signal()
        m.d.comb += [
            waiting.eq(Cat(slot.valid for slot in slots).any()),
            at_end.eq((row == bits - 1) & ~hold),
            free.eq((doing == IDLE) | (at_end & ((doing == ADD) | (doing == FIRST + len(passes) - 1)))),
            start_add.eq(free & waiting),
            start_tick.eq(free & ~waiting & item.valid & item.p.tick & ~unshown),
        ]
        with m.If(start_add):
            m.d.sync += doing.eq(ADD)
        with m.Elif(start_tick):
            m.d.sync += [doing.eq(FIRST), tick_last.eq(item.p.last)]
        with m.Elif(free):
            m.d.sync += doing.eq(IDLE)
        with m.Elif(at_end):
            m.d.sync += doing.eq(doing + 1)
        m.d.sync += row.eq(Mux(free | at_end, 0, Mux(hold, row, row + 1)))
        self._dispatch(m, slots, item, start_tick=start_tick)
        for slot in slots:
            slot.issue(m, start=start_add, adding=doing == ADD)

        # The flags of a step need the register that the step before may still occupy. Where somebody reads its
        # potentials they wait for that, too.
        shows = not self._fires or self._probed
        emits = FIRST + (len(passes) - 1 if plan.late else [name for name, _ in passes].index("compare"))
        emitted, lasts = Signal(2), Signal(2)  # one and two cycles later
        m.d.sync += [emitted.eq(Cat((doing == emits) & at_end, emitted[0])), lasts.eq(Cat(tick_last, lasts[0]))]
        if not shows:
            m.d.comb += [
                hold.eq((doing == emits) & (row == bits - 1) & (~flags.free | emitted.any())),
                flags.load.eq(emitted[1]),
                flags.last.eq(lasts[1]),
            ]

        doing_now = Signal.like(doing, name="doing_now")  # with the rows that have been read
        row_now = Signal.like(row, name="row_now")
        active = Signal(plan.slots_in)
        run = Signal()
        m.d.sync += [
            run.eq((doing != IDLE) & ~hold),
            doing_now.eq(doing),
            row_now.eq(row),
            active.eq(Cat(slot.active for slot in slots)),
        ]
        constants = {"compare": parameters.threshold, "subtract": parameters.subtracts, "decay": parameters.leak_amount}
        banks = self._arrays(m, slots, doing=doing, row=row, run=run, doing_now=doing_now, row_now=row_now)
        tiles = []
        for tile in range(plan.tiles):
            m.submodules[f"columns{tile}"] = columns = ColumnPeriphery(
                layer.neurons, banks=plan.banks, ends=tile == 0, fires=self._fires,
                zeroes=layer.reset.endswith("zero"), saturates=plan.saturates, decays=layer.leak.kind == "linear",
                subtracts=layer.reset.endswith("subtract"),
            )  # fmt: skip
            tiles.append(columns)
        for tile, columns in enumerate(tiles):
            own = active[tile * plan.banks : (tile + 1) * plan.banks]
            control, writes = self._control(m, tile, own, run, doing_now, row_now, constants, lasts[0])
            memory, other = banks[tile, 0], Const(0, layer.neurons)
            for n, (name, level) in enumerate(passes):
                if name == "merge" and tile % (2 << level) == 0:
                    other = other | (
                        tiles[tile + (1 << level)].seen & (doing_now == FIRST + n).replicate(layer.neurons)
                    )
            m.d.comb += [
                columns.control.eq(control),
                columns.v.eq(memory.r_data),
                columns.other.eq(other),
                *(columns.weights[n].eq(banks[tile, n].r2_data) for n in range(plan.banks)),
                memory.w_en.eq(writes),
                memory.w_addr.eq(row_now),
                memory.w_data.eq(columns.sum),
                memory.w_mask.eq(columns.mask),
            ]
            if plan.registers:  # potentials under other parameters mean nothing: loading them clears, as reset does
                m.d.comb += columns.wipe.eq(self.load_registers.en)
        self._load_rows(m, banks)
        if self._fires:
            m.d.comb += flags.flags.eq(tiles[0].fired)
        if shows:
            collects = FIRST + [name for name, _ in passes].index(plan.shows_after)
            ended = (doing < FIRST) & ~(run & (doing_now >= FIRST)) if plan.late else Const(1)
            self._show_values(
                m, tiles[0], flags, collect=run & (doing_now == collects), row=row_now, last=lasts[1], start=start_tick,
                unshown=unshown, ended=ended,
            )  # fmt: skip
        return m

    # ---- spikes ----

    def _dispatch(self, m: Module, slots: list["_Slot"], item, *, start_tick) -> None:
        """Lead each spike to its slot; a tick waits until all are empty."""
        plan = self.plan
        name_bits = (plan.slots_in - 1).bit_length()
        address = Signal(max(len(item.p.address), name_bits + 1))
        m.d.comb += address.eq(item.p.address)
        at = Signal(range(max(2, plan.weights_each * plan.weight_bits)), name="weight_row")
        m.d.comb += at.eq(address[name_bits:] * plan.weight_bits)
        taken = []
        for n, slot in enumerate(slots):
            here = item.valid & ~item.p.tick & (address[:name_bits] == n)
            taken.append(slot.take(m, here, at + plan.base(n % plan.banks)))
        m.d.comb += item.ready.eq(Mux(item.p.tick, start_tick, Cat(taken).any()))

    # ---- arrays ----

    def _arrays(self, m: Module, slots, *, doing, row, run, doing_now, row_now) -> dict[tuple[int, int], "_Bank"]:
        """The banks of all tiles, each as one memory; reads are connected."""
        plan = self.plan
        banks = {}
        for tile in range(plan.tiles):
            for bank in range(plan.banks):
                pieces = [array for array in plan.arrays if (array.tile, array.bank) == (tile, bank)]
                banks[tile, bank] = memory = _Bank(m, plan, pieces)
                slot = slots[tile * plan.banks + bank]
                wanted = [(doing == ADD) & slot.active & (row < plan.weight_bits)]
                address = slot.row
                if (tile, bank) == (0, 0) and plan.bias_bits:
                    biasing = Signal()
                    m.d.comb += biasing.eq((doing == FIRST) & (row < plan.bias_row_count))
                    wanted.append(biasing)
                    address = Mux(biasing, row + plan.bias_row, slot.row)
                m.d.comb += [memory.r2_en.eq(Cat(wanted).any()), memory.r2_addr.eq(address)]
                if bank == 0:
                    adding = (doing == ADD) & Cat(s.active for s in slots[tile * plan.banks :][: plan.banks]).any()
                    others = [
                        doing == FIRST + n
                        for n, (name, level) in enumerate(plan.passes)
                        if (tile % (1 << level) == 0 if name == "merge" else tile == 0)
                    ]
                    m.d.comb += [memory.r_en.eq(adding | Cat(others).any()), memory.r_addr.eq(row)]
        return banks

    def _control(self, m: Module, tile, active, run, doing, row, constants, tick_last) -> tuple[Signal, Signal]:
        """What the columns of a tile do with the row that was read, and whether they write it."""
        plan = self.plan
        control = Signal(ColumnControl(plan.banks), name=f"control{tile}")
        writes = Signal(name=f"writes{tile}")
        numbers: dict[str, list[int]] = {}
        for n, (name, level) in enumerate(plan.passes):
            numbers.setdefault(f"{name}{level}" if name == "merge" else name, []).append(FIRST + n)

        def during(*names: str) -> Value:
            return Cat(doing == n for name in names for n in numbers.get(name, [])).any()

        levels = (plan.tiles - 1).bit_length()
        into = [f"merge{level}" for level in range(levels) if tile % (2 << level) == 0]
        out_of = [f"merge{level}" for level in range(levels) if tile % (2 << level) == 1 << level]
        adds = (doing == ADD) & active.any()
        biases = during("bias") if tile == 0 else Const(0)
        last_pass = (doing == FIRST + len(plan.passes) - 1) if tile == 0 else Const(0)
        bit: Value = Const(0)
        for name, value in constants.items():
            if tile == 0 and value is not None and name in numbers:
                bit = bit | (during(name) & _bit_of(value, row, plan.bits))
        head = plan.layer.potential_bits - 1
        m.d.comb += [
            control.run.eq(run),
            control.first.eq(row == 0),
            control.last.eq(row == plan.bits - 1),
            control.bit.eq(bit),
            control.head.eq(row == head),
            control.above.eq(row > head),
            control.clear.eq((last_pass & tick_last & int(plan.clears)) | during(*out_of)),
            control.add.eq(adds | biases),
            control.active.eq(Mux(doing == ADD, active, biases)),
            control.merge.eq(during(*into)),
        ]
        if tile == 0:
            names = ("compare", "subtract", "decay", "clamp")
            m.d.comb += [getattr(control, name).eq(during(name)) for name in names]
        m.d.comb += writes.eq(run & (control.add | control.merge | control.subtract | control.decay | control.clamp))
        return control, writes

    def _load_rows(self, m: Module, banks) -> None:
        """Write rows of weights and biases as the load port brings them; no pass is under way then."""
        plan = self.plan
        kinds = [kind for kind, *_ in plan.regions]
        if "weights" in kinds:
            load, bits = self.load_weights, plan.weight_bits
            # Rows come in order, from the first one on.
            next_bit, next_source = Signal(range(max(2, bits))), Signal(range(max(2, plan.layer.fan_in)))
            bit, source = Signal.like(next_bit, name="load_bit"), Signal.like(next_source, name="load_source")
            begins = load.row == 0
            m.d.comb += [bit.eq(Mux(begins, 0, next_bit)), source.eq(Mux(begins, 0, next_source))]
            with m.If(load.en):
                at_end = bit == bits - 1
                m.d.sync += [next_bit.eq(Mux(at_end, 0, bit + 1)), next_source.eq(source + at_end)]
            name_bits = (plan.slots_in - 1).bit_length()
            name, place = (source | Const(0, name_bits + 1))[:name_bits], source[name_bits:]
            for (tile, bank), memory in banks.items():
                slot = tile * plan.banks + bank
                memory.load(m, load.en & (name == slot), place * bits + bit + plan.base(bank), load.data)
        if "bias" in kinds:
            load = self.load_bias
            banks[0, 0].load(m, load.en, load.row + plan.bias_row, load.data)

    # ---- potentials ----

    def _show_values(self, m: Module, columns: ColumnPeriphery, flags, *, collect, row, last, start, unshown, ended):
        """Collect the bits of the potentials as a pass sees them, show them, and let the flags of the step go."""
        plan, layer = self.plan, self.plan.layer
        bits = layer.potential_bits
        seen = columns.sum if plan.shows_after == "subtract" else columns.seen
        fix = Signal()
        m.d.sync += fix.eq(collect & (row == plan.bits - 1))
        values = []
        for n in range(layer.neurons):
            value = Signal(signed(bits), name=f"shown{n}", reset_less=True)
            with m.If(collect & (row < bits)):
                m.d.sync += value.eq(Cat(value[1:], seen[n]))
            if plan.shows_after == "compare":
                with m.If(fix):
                    if plan.saturates:
                        with m.If(columns.beyond[n]):
                            limit = Cat((~columns.negative[n]).replicate(bits - 1), columns.negative[n])
                            m.d.sync += value.eq(limit)
                    if layer.reset == "zero":
                        with m.If(columns.fired[n]):
                            m.d.sync += value.eq(0)
            values.append(value)
        showing, done, shown_last = Signal(), Signal(), Signal()
        served = self._report(
            m, active=showing, commit=done, last=shown_last, row=Const(0), values=values, count=layer.neurons
        )
        m.d.comb += [done.eq(showing & served & flags.free & ended), flags.load.eq(done), flags.last.eq(shown_last)]
        with m.If(fix):
            m.d.sync += [showing.eq(1), shown_last.eq(last)]
        with m.Elif(done):
            m.d.sync += [showing.eq(0), unshown.eq(0)]
        with m.If(start):
            m.d.sync += unshown.eq(1)


class _Slot:
    """The spikes in front of a bank, as first rows of their weights, and the one that is being added."""

    def __init__(self, m: Module, number: int, plan: CimPlan):
        bits = range(max(array.rows for array in plan.arrays))
        self._entries = [Signal(bits, name=f"slot{number}_entry{n}", reset_less=True) for n in range(SLOT_DEPTH)]
        self._level = Signal(range(SLOT_DEPTH + 1), name=f"slot{number}_level")
        self._taken, self._popped = Signal(name=f"slot{number}_taken"), Signal(name=f"slot{number}_popped")
        self.valid = Signal(name=f"slot{number}_valid")
        """One is waiting."""
        self.active = Signal(name=f"slot{number}_active")
        """One takes part in the pass."""
        self.row = Signal(bits, name=f"slot{number}_row", reset_less=True)
        m.d.comb += self.valid.eq(self._level != 0)

    def take(self, m: Module, valid, row) -> Signal:
        """Take the first row of a spike's weights while there is room; returns whether it was taken."""
        level, entries = self._level, self._entries
        m.d.comb += self._taken.eq(valid & (level != SLOT_DEPTH))
        m.d.sync += level.eq(level + self._taken - self._popped)
        with m.If(self._popped):
            m.d.sync += [entry.eq(behind) for entry, behind in itertools.pairwise(entries)]
        for n, entry in enumerate(entries):
            with m.If(self._taken & (level - self._popped == n)):
                m.d.sync += entry.eq(row)
        return self._taken

    def issue(self, m: Module, *, start, adding) -> None:
        """Begin with the next spike when a pass starts; then a row per cycle."""
        m.d.comb += self._popped.eq(start & self.valid)
        with m.If(start):
            m.d.sync += [self.active.eq(self.valid), self.row.eq(self._entries[0])]
        with m.Elif(adding):
            m.d.sync += self.row.eq(self.row + 1)


class _Bank:
    """The arrays of a bank side by side, as one."""

    def __init__(self, m: Module, plan: CimPlan, pieces: list[ArrayPlan]):
        rows, columns = range(pieces[0].rows), plan.layer.neurons
        name = f"bank{pieces[0].tile}_{pieces[0].bank}"

        def wire(what: str, shape) -> Signal:
            return Signal(shape, name=f"{name}_{what}")

        self.r_en, self.r2_en, self.w_en = wire("r_en", 1), wire("r2_en", 1), wire("w_en", 1)
        self.r_addr, self.r2_addr, self.w_addr = wire("r_addr", rows), wire("r2_addr", rows), wire("w_addr", rows)
        self.r_data, self.r2_data = wire("r_data", columns), wire("r2_data", columns)
        self.w_data, self.w_mask = wire("w_data", columns), wire("w_mask", columns)
        for piece in pieces:
            m.submodules[piece.name] = array = Sram(
                name=f"{plan.name}.{piece.name}", depth=piece.rows, width=piece.columns, port_type="cim",
                contents=plan.contents(piece),
            )  # fmt: skip
            part = slice(piece.first, piece.first + piece.columns)
            m.d.comb += [getattr(array, port).eq(getattr(self, port)) for port in ("r_en", "r2_en", "w_en")]
            m.d.comb += [getattr(array, port).eq(getattr(self, port)) for port in ("r_addr", "r2_addr", "w_addr")]
            m.d.comb += [self.r_data[part].eq(array.r_data), self.r2_data[part].eq(array.r2_data)]
            m.d.comb += [array.w_data.eq(self.w_data[part]), array.w_mask.eq(self.w_mask[part])]

    def load(self, m: Module, en, row, data) -> None:
        """Write a whole row when `en` is high."""
        with m.If(en):
            m.d.comb += [self.w_en.eq(1), self.w_addr.eq(row), self.w_data.eq(data), self.w_mask.eq(~0)]


def _bit_of(value, row, bits: int) -> Value:
    """Bit number `row` of a constant or a register of at most `bits` bits."""
    wide = Const(value, bits) if isinstance(value, int) else value | Const(0, bits)
    return wide.bit_select(row, 1)
