"""Write-verify programming and calibration of an array, one command after the other."""

from amaranth.hdl import *
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.sram import Sram
from ...items import address_bits
from ...mapping.write_verify import AMPLITUDES, BOOST_LIMIT, CODE_BITS, DISTANCES, FACTOR_BITS, NEAREST, WriteVerifyPlan
from .port import AccessKind, AccessLayout

__all__ = ["CommandKind", "CommandLayout", "OutcomeLayout", "Programmer"]

PULSE_BITS = 6


class CommandKind(enum.Enum, shape=2):
    """What a command does."""

    PROGRAM = 0
    """Bring a cell to `target`; the fault map remembers whether that failed."""
    READ = 1
    """Read a cell, and its bit of the fault map."""
    CALIBRATE = 2
    """Measure offset and gain of a column; reads of its cells are corrected from then on."""


class CommandLayout(data.StructLayout):
    """{kind, row, column, cell, target}."""

    def __init__(self, rows: int, columns: int, cells: int):
        super().__init__(
            {
                "kind": CommandKind,
                "row": address_bits(rows),
                "column": address_bits(columns),
                "cell": address_bits(cells),
                "target": CODE_BITS,
            }
        )


class OutcomeLayout(data.StructLayout):
    """One answer per command, in order: {code, pulses, fault}.

    PROGRAM, READ: the last code read, the pulses given, the bit of the fault map. CALIBRATE: the offset, 0, and whether
    the column has no usable gain (it then keeps the one it had).
    """

    def __init__(self):
        super().__init__({"code": CODE_BITS, "pulses": PULSE_BITS, "fault": 1})


class Programmer(wiring.Component):
    """Pulse, read, compare, adjust; give up after `most_pulses`.

    A pulse starts from the amplitude that the plan has for the distance of the cell from its target, the difference
    of the bits of |target - code| and of the smaller of both. What is added to it, kept for each direction, grows by
    one when a pulse brought the cell no nearer by a factor of two, and shrinks by one when it went too far.

    Members
    -------
    command : In(stream of CommandLayout)
    outcome : Out(stream of OutcomeLayout)
    wanted : Out(1)
        A command waits for the array, or works on it.
    granted : In(1)
        The array is free for it; stays so until `wanted` falls.
    access, answer : of the analog port
    """

    command: stream.Interface
    outcome: stream.Interface
    access: stream.Interface
    answer: stream.Interface

    def __init__(self, rows: int, columns: int, cells: int, plan: WriteVerifyPlan, *, name: str):
        self._rows, self._columns, self._cells, self._plan, self._name = rows, columns, cells, plan, name
        super().__init__(
            {
                "command": In(stream.Signature(CommandLayout(rows, columns, cells))),
                "outcome": Out(stream.Signature(OutcomeLayout())),
                "wanted": Out(1),
                "granted": In(1),
                "access": Out(stream.Signature(AccessLayout(rows, columns, cells))),
                "answer": In(stream.Signature(CODE_BITS)),
            }
        )

    def elaborate(self, platform):
        m, plan = Module(), self._plan
        size = self._rows * self._columns * self._cells
        m.submodules.faults = faults = Sram(name=f"{self._name}.faults", depth=max(2, size), width=1, port_type="1r1w")
        width = CODE_BITS + FACTOR_BITS + 1
        m.submodules.columns = columns = Sram(
            name=f"{self._name}.columns", depth=max(2, self._columns), width=width, port_type="1r1w"
        )
        sweep = Signal(range(max(2, size, self._columns)))
        command = Signal(self.command.payload.shape())
        code, raw = Signal(CODE_BITS), Signal(CODE_BITS)
        pulses = Signal(PULSE_BITS)
        fault = Signal()
        cell = Signal(range(max(2, size)))
        m.d.comb += cell.eq((command.row * self._columns + command.column) * self._cells + command.cell)
        offset, factor = columns.r_data[:CODE_BITS], columns.r_data[CODE_BITS:]

        # Distance from the target and the next amplitude, a cycle each: a read takes microseconds, cycles are free.
        above = Signal()
        away, nearer = Signal(CODE_BITS), Signal(CODE_BITS)
        good = Signal()
        distance = Signal(range(DISTANCES))
        former = Signal(range(DISTANCES))
        direction = Signal()
        boosts = Array(Signal(signed(4), name=f"boost{n}") for n in range(2))  # of SET, of RESET
        # What the pulse before says about the next one in its direction: too weak, or too strong.
        weak, strong = Signal(), Signal()
        boost = Signal(signed(4))
        m.d.comb += [
            weak.eq((pulses != 0) & (above == direction) & (distance >= former)),
            strong.eq((pulses != 0) & (above != direction)),
            boost.eq(boosts[direction]),
        ]
        with m.If(weak & (boosts[direction] != BOOST_LIMIT)):
            m.d.comb += boost.eq(boosts[direction] + 1)
        with m.If(strong & (boosts[direction] != -BOOST_LIMIT)):
            m.d.comb += boost.eq(boosts[direction] - 1)
        wanted_amplitude = Signal(signed((AMPLITUDES - 1).bit_length() + 2))
        amplitude = Signal(range(AMPLITUDES))
        first = Array(Const(a, (AMPLITUDES - 1).bit_length()) for a in plan.amplitudes)[distance]

        # Gain of a column: reference / what was measured, by restoring division.
        quotient = Signal(CODE_BITS + FACTOR_BITS)
        rest = Signal(CODE_BITS + 1)
        span = Signal(CODE_BITS)
        left = Signal(range(CODE_BITS + FACTOR_BITS + 1))
        trial = Signal(CODE_BITS + 1)
        m.d.comb += trial.eq(Cat(quotient[-1], rest)[: CODE_BITS + 1])

        # (raw - offset) * gain by shift and add: a multiplier would be the longest path.
        product = Signal(CODE_BITS + FACTOR_BITS + 1)
        multiplier = Signal(FACTOR_BITS + 1)

        payload = self.access.payload
        with m.FSM(init="SWEEP") as fsm:
            with m.State("SWEEP"):
                m.d.sync += sweep.eq(sweep + 1)
                with m.If(sweep == max(2, size, self._columns) - 1):
                    m.next = "IDLE"
            with m.State("IDLE"):
                with m.If(self.command.valid):
                    m.d.sync += [command.eq(self.command.payload), pulses.eq(0), fault.eq(0)]
                    m.d.sync += [boosts[n].eq(0) for n in range(2)]
                    m.next = "FETCH"
            with m.State("FETCH"):
                with m.If(self.granted):
                    m.next = "ASK"
            with m.State("ASK"):
                with m.If(self.access.ready):
                    m.next = "HEAR"
            with m.State("HEAR"):
                m.d.sync += raw.eq(self.answer.payload)
                with m.If(self.answer.valid):
                    m.next = "CORRECT"
                    with m.If(command.kind == CommandKind.CALIBRATE):
                        m.next = "SPAN"
            with m.State("CORRECT"):
                m.d.sync += [
                    span.eq(offset),
                    multiplier.eq(factor),
                    product.eq(0),
                    left.eq(FACTOR_BITS + 1),
                ]
                m.next = "SUBTRACT"
            with m.State("SUBTRACT"):
                m.d.sync += span.eq(Mux(raw > span, raw - span, 0))
                m.next = "MULTIPLY"
            with m.State("MULTIPLY"):
                m.d.sync += [
                    product.eq((product << 1) + (span & multiplier[-1].replicate(CODE_BITS))),
                    multiplier.eq(multiplier << 1),
                    left.eq(left - 1),
                ]
                with m.If(left == 1):
                    m.next = "CLAMP"
            with m.State("CLAMP"):
                over = product[CODE_BITS + FACTOR_BITS :].any()
                m.d.sync += code.eq(Mux(over, (1 << CODE_BITS) - 1, product >> FACTOR_BITS))
                m.next = "COMPARE"
            with m.State("COMPARE"):
                over = code > command.target
                m.d.sync += [
                    above.eq(over),
                    away.eq(Mux(over, code - command.target, command.target - code)),
                    nearer.eq(Mux(over, command.target, code)),
                ]
                m.next = "MEASURE"
            with m.State("MEASURE"):
                m.d.sync += [
                    good.eq((away << 8) <= command.target * plan.tolerance),
                    distance.eq(_length(away) - _length(nearer) - NEAREST),
                ]
                m.next = "DECIDE"
            with m.State("DECIDE"):
                with m.If(command.kind == CommandKind.READ):
                    m.d.sync += fault.eq(faults.r_data)
                    m.next = "REPORT"
                with m.Elif(good | (pulses == plan.most_pulses)):
                    m.d.sync += fault.eq(~good)
                    m.next = "STORE"
                with m.Else():
                    m.d.sync += [
                        pulses.eq(pulses + 1),
                        direction.eq(above),
                        former.eq(distance),
                        boosts[direction].eq(boost),
                        wanted_amplitude.eq(first + Mux(above == direction, boost, boosts[above])),
                    ]
                    m.next = "LIMIT"
            with m.State("LIMIT"):
                w = wanted_amplitude
                m.d.sync += amplitude.eq(Mux(w < 0, 0, Mux(w > AMPLITUDES - 1, AMPLITUDES - 1, w)))
                m.next = "PULSE"
            with m.State("PULSE"):
                with m.If(self.access.ready):
                    m.next = "PULSED"
            with m.State("PULSED"):
                with m.If(self.answer.valid):
                    m.next = "ASK"
            with m.State("SPAN"):
                # `pulses` counts the two readings of a calibration: the closed column, then the reference row.
                with m.If(pulses == 0):
                    m.d.sync += [code.eq(raw), pulses.eq(1)]
                    m.next = "ASK"
                with m.Else():
                    m.d.sync += [
                        span.eq(Mux(raw > code, raw - code, 0)), quotient.eq(plan.reference << FACTOR_BITS),
                        rest.eq(0), left.eq(CODE_BITS + FACTOR_BITS), pulses.eq(0),
                    ]  # fmt: skip
                    m.next = "DIVIDE"
            with m.State("DIVIDE"):
                fits = trial >= span
                m.d.sync += [
                    quotient.eq(Cat(fits, quotient)[: len(quotient)]),
                    rest.eq(Mux(fits, trial - span, trial)),
                    left.eq(left - 1),
                ]
                with m.If(left == 1):
                    m.next = "GAIN"
            with m.State("GAIN"):
                m.d.sync += fault.eq((span == 0) | quotient[FACTOR_BITS + 1 :].any())
                m.next = "STORE"
            with m.State("STORE"):
                m.next = "REPORT"
            with m.State("REPORT"):
                with m.If(self.outcome.ready):
                    m.next = "IDLE"
        reading = fsm.ongoing("ASK")
        calibrates = command.kind == CommandKind.CALIBRATE
        swept = fsm.ongoing("SWEEP")
        storing = fsm.ongoing("STORE")
        m.d.comb += [
            self.command.ready.eq(fsm.ongoing("IDLE")),
            self.wanted.eq(~(swept | fsm.ongoing("IDLE") | fsm.ongoing("REPORT"))),
            self.access.valid.eq(reading | fsm.ongoing("PULSE")),
            payload.kind.eq(
                Mux(
                    reading,
                    Mux(calibrates, AccessKind.REFERENCE, AccessKind.READ),
                    Mux(direction, AccessKind.RESET, AccessKind.SET),
                )
            ),
            payload.row.eq(Mux(calibrates, pulses[0], command.row)),
            payload.column.eq(command.column),
            payload.cell.eq(Mux(calibrates, 0, command.cell)),
            payload.amount.eq(Mux(reading, plan.average, amplitude)),
            self.answer.ready.eq(1),
            self.outcome.valid.eq(fsm.ongoing("REPORT")),
            self.outcome.p.code.eq(code),
            self.outcome.p.pulses.eq(pulses),
            self.outcome.p.fault.eq(fault),
            faults.w_en.eq((swept & (sweep < size)) | (storing & ~calibrates)),
            faults.w_addr.eq(Mux(swept, sweep, cell)),
            faults.w_data.eq(~swept & fault),
            faults.r_en.eq(fsm.ongoing("FETCH")),
            faults.r_addr.eq(cell),
            columns.w_en.eq((swept & (sweep < self._columns)) | (storing & calibrates & ~fault)),
            columns.w_addr.eq(Mux(swept, sweep, command.column)),
            columns.w_data.eq(Mux(swept, 1 << (CODE_BITS + FACTOR_BITS), Cat(code, quotient[: FACTOR_BITS + 1]))),
            columns.r_en.eq(fsm.ongoing("FETCH")),
            columns.r_addr.eq(command.column),
        ]
        return m


def _length(value: Value) -> Value:
    """Bits of a number without its leading zeros."""
    result: Value = Const(0, len(value).bit_length())
    for n in range(len(value)):
        result = Mux(value[n], n + 1, result)
    return result
