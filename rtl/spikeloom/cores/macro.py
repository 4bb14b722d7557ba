"""The answers of an analog macro behind a pipeline that may wait."""

from amaranth.hdl import *

__all__ = ["kept_answer"]


def kept_answer(m: Module, *, go: Value, advance: Value, answer: Value) -> Signal:
    """What a macro answers in the cycle behind `go`, kept until it is used.

    A request is on the port from one `advance` to the next, with `go` in its first cycle only. Its answer is shown from
    the `advance` that ends this on, until the next one: the port's own in the first cycle, if it comes just then.
    """
    shown, waits, moved = Signal.like(answer, name="answer"), Signal(name="waits"), Signal(name="moved")
    early = Signal.like(answer, name="early", reset_less=True)
    late = Signal.like(answer, name="late", reset_less=True)
    m.d.comb += shown.eq(Mux(moved, answer, late))
    m.d.sync += [waits.eq(go & ~advance), moved.eq(go & advance)]
    with m.If(waits):
        m.d.sync += early.eq(answer)
    with m.If(advance):
        m.d.sync += late.eq(Mux(waits, answer, early))
    with m.Elif(moved):
        m.d.sync += late.eq(answer)
    return shown
