"""Parameters as registers: a copy of what the core has, and a writer that loads what a program changed."""

from amaranth.hdl import *
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from ..blocks.load import LoadPort
from ..cores.ports import LoadRow
from ..mapping.plan import MAGIC, CorePlan
from ..mapping.rows import WORD_BITS
from .map import parameter_registers

__all__ = ["ParameterWriter"]


class ParameterWriter(wiring.Component):
    """Follows the words that the core's load port takes, and adds images of its own between those of others.

    A changed parameter makes its layer's row of parameters go to the core as an image of one record, which the core
    takes once no input is under way; its interlock and its checks are those of every image.

    Members
    -------
    i : In(stream of 32-bit words), images from outside
    o : Out(stream of 32-bit words), to the load port
    value_<n> : Out, w_en_<n> : In(1), w_data_<n> : In
        Parameter n, in the order of `parameter_registers`.
    pending : Out(1), a change is not loaded yet
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, plan: CorePlan):
        self._plan, self._parameters = plan, parameter_registers(plan)
        words = stream.Signature(WORD_BITS)
        ports: dict = {"i": In(words), "o": Out(words), "pending": Out(1)}
        for n, (bits, value) in enumerate(self._parameters.values()):
            ports |= {f"value_{n}": Out(bits, init=value), f"w_en_{n}": In(1), f"w_data_{n}": In(bits)}
        super().__init__(ports)

    def elaborate(self, platform):
        m, plan = Module(), self._plan
        core = int(plan.hash, 16)
        m.submodules.follower = follower = LoadPort(
            core_hash=core,
            regions=[(rows, bits) for _, _, rows, bits in plan.regions],
            row_signatures=[LoadRow(rows, bits) for _, _, rows, bits in plan.regions],
        )
        active = Signal()  # an own image is being sent
        layers = list(dict.fromkeys(layer for layer, _ in self._parameters))
        dirty = Signal(len(layers))
        current = Signal(range(max(2, len(layers))))
        position = Signal(8)
        images, ends = [], []
        for layer in layers:
            numbers = [n for n, (name, _) in enumerate(self._parameters) if name == layer]
            region = next(n for n, (name, kind, *_) in enumerate(plan.regions) if (name, kind) == (layer, "registers"))
            head = [MAGIC, core & 0xFFFF_FFFF, core >> 32, 1 + len(numbers), region << 24 | 1]
            images.append([Const(word, WORD_BITS) for word in head] + [getattr(self, f"value_{n}") for n in numbers])
            ends.append(len(head) + len(numbers) - 1)
            row = getattr(follower, f"region{region}")
            for place, n in enumerate(numbers):
                value = getattr(self, f"value_{n}")
                # An image of others is the news; an own one only says what is known here.
                with m.If(row.en & ~active):
                    m.d.sync += value.eq(row.data[place * WORD_BITS :])
                with m.If(getattr(self, f"w_en_{n}")):
                    m.d.sync += value.eq(getattr(self, f"w_data_{n}"))

        word, final = Signal(WORD_BITS), Signal()
        with m.Switch(current):
            for number, (image, end) in enumerate(zip(images, ends, strict=True)):
                with m.Case(number):
                    m.d.comb += [word.eq(Array(image)[position]), final.eq(position == end)]
        taken = Signal()
        m.d.comb += [
            self.o.payload.eq(Mux(active, word, self.i.payload)),
            self.o.valid.eq(active | self.i.valid),
            self.i.ready.eq(~active & self.o.ready),
            taken.eq(self.o.valid & self.o.ready),
            follower.i.valid.eq(taken),
            follower.i.payload.eq(self.o.payload),
            self.pending.eq(dirty.any() | active),
        ]
        chosen = Signal(len(layers))
        m.d.comb += chosen.eq(dirty & -dirty)
        started = Signal(len(layers))
        with m.If(active):
            with m.If(taken):
                m.d.sync += position.eq(position + 1)
                with m.If(final):
                    m.d.sync += active.eq(0)
        # Between images, and never in the place of a word that is already offered.
        with m.Elif(dirty.any() & ~follower.busy & ~self.i.valid):
            m.d.comb += started.eq(chosen)
            m.d.sync += [active.eq(1), position.eq(0)]
            for number in range(len(layers)):
                with m.If(chosen[number]):
                    m.d.sync += current.eq(number)
        changed = [
            Cat(*[getattr(self, f"w_en_{n}") for n, (name, _) in enumerate(self._parameters) if name == layer]).any()
            for layer in layers
        ]
        m.d.sync += dirty.eq(dirty & ~started | Cat(*changed))
        return m
