"""From a spike to the rows that it touches: addresses of accumulators and of kernel weights, one pair per cycle."""

from amaranth.hdl import *
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from ...blocks.events import event_signature
from ...items import address_bits
from ...mapping.sweep import ConnectionPlan, SweepPlan

__all__ = ["Expander", "TouchLayout"]


class TouchLayout(data.StructLayout):
    """Add weight row `weight` to accumulator row `row` on the lanes of `mask`; or a tick, which may be the `last`.

    `mask` is there only where a channel group is narrower than the lanes.
    """

    def __init__(self, plan: SweepPlan):
        fields = {"row": address_bits(plan.groups), "weight": address_bits(plan.weight_depth), "tick": 1, "last": 1}
        if _masks(plan):
            fields["mask"] = plan.lanes
        super().__init__(fields)


class Expander(wiring.Component):
    """Walks over the positions and channel rows that each spike touches; a spike of k rows takes k cycles.

    Three stages: look up both axes and the channel, add up the first addresses, walk. The first two work ahead, so
    spikes follow each other without a bubble; one that touches nothing costs no cycle behind a spike that does. Every
    product of a coordinate is a table entry, a step of the walk one addition.

    Members
    -------
    i : In(event stream)
    o : Out(stream of TouchLayout)
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, plan: SweepPlan):
        self._plan = plan
        super().__init__(
            {"i": In(event_signature(plan.input_addresses)), "o": Out(stream.Signature(TouchLayout(plan)))}
        )

    def elaborate(self, platform):
        m, plan = Module(), self._plan
        row_bits, weight_bits = address_bits(plan.groups), address_bits(plan.weight_depth)
        counts = [_Counts.of(connection) for connection in plan.connections]
        count_bits = [max(c[axis] for c in counts).bit_length() for axis in range(3)]
        tags = len(plan.connections)
        tag = self.i.p.address[plan.tag_shift :] if tags > 1 else Const(0, 1)

        # Stage 1: the tables.
        found = {"row": [], "weight": [], "y": [], "x": [], "rows": [], "mask": []}
        for connection in plan.connections:
            for name, value in self._look_up(connection).items():
                found[name].append(value)
        item = data.StructLayout(
            {
                "row_y": row_bits, "row_x": row_bits, "row_c": row_bits,
                "weight_y": weight_bits, "weight_x": weight_bits, "weight_c": weight_bits,
                "y": count_bits[0], "x": count_bits[1], "rows": count_bits[2],
                "mask": plan.lanes if _masks(plan) else 0, "tag": len(tag), "tick": 1, "last": 1,
            }
        )  # fmt: skip
        looked = Signal(item, reset_less=True)
        looked_valid = Signal()
        looked_ready = Signal()
        inside = Signal()
        y, x = _picked(tag, found["y"]), _picked(tag, found["x"])
        m.d.comb += [
            # A tick has counts of 1; a spike that reaches nothing goes no further.
            inside.eq(self.i.p.tick | ((y != 0) & (x != 0))),
            self.i.ready.eq(~looked_valid | looked_ready),
        ]
        with m.If(self.i.ready):
            m.d.sync += [
                looked_valid.eq(self.i.valid & inside),
                *[looked[f"row_{axis}"].eq(_picked(tag, [f[n] for f in found["row"]])) for n, axis in enumerate("yxc")],
                *[
                    looked[f"weight_{axis}"].eq(_picked(tag, [f[n] for f in found["weight"]]))
                    for n, axis in enumerate("yxc")
                ],
                looked.y.eq(Mux(self.i.p.tick, 1, y)),
                looked.x.eq(Mux(self.i.p.tick, 1, x)),
                looked.rows.eq(Mux(self.i.p.tick, 1, _picked(tag, found["rows"]))),
                looked.tag.eq(tag),
                looked.tick.eq(self.i.p.tick),
                looked.last.eq(self.i.p.last),
            ]
            if _masks(plan):
                m.d.sync += looked.mask.eq(_picked(tag, found["mask"]))

        # Stage 2: the first addresses.
        start = Signal(item, reset_less=True)  # its fields *_y hold the sums
        start_valid = Signal()
        start_ready = Signal()
        m.d.comb += looked_ready.eq(~start_valid | start_ready)
        with m.If(looked_ready):
            m.d.sync += [
                start_valid.eq(looked_valid),
                start.eq(looked),
                start.row_y.eq(looked.row_y + looked.row_x + looked.row_c),
                start.weight_y.eq(looked.weight_y + looked.weight_x + looked.weight_c),
            ]

        # Stage 3: the walk, channel rows first, then x, then y.
        valid = Signal()
        row, row_x, row_y = (Signal(row_bits, name=name, reset_less=True) for name in ("row", "row_x", "row_y"))
        weight, weight_x, weight_y = (
            Signal(weight_bits, name=name, reset_less=True) for name in ("weight", "weight_x", "weight_y")
        )
        left_y, left_x, left_rows = (
            Signal(bits, name=f"left_{axis}", reset_less=True)
            for axis, bits in zip(("y", "x", "rows"), count_bits, strict=True)
        )
        all_rows, all_x = Signal.like(left_rows, reset_less=True), Signal.like(left_x, reset_less=True)
        steps = [_steps(connection) for connection in plan.connections]
        walk_tag = Signal(len(tag), reset_less=True)
        step_x, step_y = (_picked(walk_tag, [Const(s[axis] % (1 << weight_bits), weight_bits) for s in steps])
                          for axis in (1, 0))  # fmt: skip
        row_step_x, row_step_y = plan.channel_rows, plan.map[2] * plan.channel_rows
        issue, done = Signal(), Signal()
        more_rows, more_x, more_y = left_rows != 1, left_x != 1, left_y != 1
        m.d.comb += [
            self.o.valid.eq(valid),
            self.o.p.row.eq(row),
            self.o.p.weight.eq(weight),
            issue.eq(valid & self.o.ready),
            done.eq(~more_rows & ~more_x & ~more_y),
            start_ready.eq(~valid | (self.o.ready & done)),
        ]
        for name in ("tick", "last") + (("mask",) if _masks(plan) else ()):
            held = Signal.like(start[name], name=f"walk_{name}", reset_less=True)
            m.d.comb += self.o.p[name].eq(held)
            with m.If(start_ready):
                m.d.sync += held.eq(start[name])
        next_row_x, next_weight_x = Signal(row_bits), Signal(weight_bits)
        next_row_y, next_weight_y = Signal(row_bits), Signal(weight_bits)
        m.d.comb += [
            next_row_x.eq(row_x + row_step_x),
            next_weight_x.eq(weight_x - step_x),
            next_row_y.eq(row_y + row_step_y),
            next_weight_y.eq(weight_y - step_y),
        ]
        with m.If(start_ready):
            m.d.sync += [valid.eq(start_valid), walk_tag.eq(start.tag)]
            m.d.sync += [target.eq(start.row_y) for target in (row, row_x, row_y)]
            m.d.sync += [target.eq(start.weight_y) for target in (weight, weight_x, weight_y)]
            m.d.sync += [left_y.eq(start.y), left_x.eq(start.x), left_rows.eq(start.rows)]
            m.d.sync += [all_x.eq(start.x), all_rows.eq(start.rows)]
        with m.Elif(issue):
            with m.If(more_rows):
                m.d.sync += [row.eq(row + 1), weight.eq(weight + 1), left_rows.eq(left_rows - 1)]
            with m.Elif(more_x):
                m.d.sync += [target.eq(next_row_x) for target in (row, row_x)]
                m.d.sync += [target.eq(next_weight_x) for target in (weight, weight_x)]
                m.d.sync += [left_x.eq(left_x - 1), left_rows.eq(all_rows)]
            with m.Else():
                m.d.sync += [target.eq(next_row_y) for target in (row, row_x, row_y)]
                m.d.sync += [target.eq(next_weight_y) for target in (weight, weight_x, weight_y)]
                m.d.sync += [left_y.eq(left_y - 1), left_x.eq(all_x), left_rows.eq(all_rows)]
        return m

    def _look_up(self, connection: ConnectionPlan) -> dict[str, list | Value]:
        """What a spike of `connection` at the address on the input finds, by field."""
        address = self.i.p.address
        source = connection.source
        if source.flat:
            c, x, y = address[: source.bits], Const(0, 1), Const(0, 1)
        else:
            c_bits, x_bits, y_bits = source.fields
            c = address[:c_bits] if c_bits else Const(0, 1)
            x = address[c_bits : c_bits + x_bits] if x_bits else Const(0, 1)
            y = address[c_bits + x_bits : c_bits + x_bits + y_bits] if y_bits else Const(0, 1)
        channel_rows = connection.channel_rows
        _, inner, _, taps_x = connection.kernel.shape
        y_table, x_table = connection.axes
        row_y = [entry.first * connection.target[2] * channel_rows for entry in y_table]
        row_x = [entry.first * channel_rows for entry in x_table]
        weight_y = [entry.tap * taps_x * channel_rows + connection.base for entry in y_table]
        weight_x = [entry.tap * channel_rows for entry in x_table]
        pitch = connection.kernel.shape[2] * taps_x * channel_rows  # weight rows of one source channel
        groups, narrow = connection.connection.groups, connection.group_channels
        mask: Value = Const((1 << self._plan.lanes) - 1, self._plan.lanes)
        if groups == 1:
            row_c: Value = Const(0, 1)
            weight_c = c * pitch
        else:
            group = [channel // inner for channel in range(inner * groups)]
            row_c = _table(c, [g * narrow // self._plan.lanes for g in group])
            weight_c = _table(c, [n % inner * pitch + g * narrow // self._plan.lanes for n, g in enumerate(group)])
            if narrow < self._plan.lanes:
                ones = (1 << narrow) - 1
                mask = _table(c, [ones << (g * narrow % self._plan.lanes) for g in group])
        return {
            "row": [_table(y, row_y), _table(x, row_x), row_c],
            "weight": [_table(y, weight_y), _table(x, weight_x), weight_c],
            "y": _table(y, [entry.count for entry in y_table]),
            "x": _table(x, [entry.count for entry in x_table]),
            "rows": Const(connection.rows_each),
            "mask": mask,
        }


class _Counts(tuple):
    """Largest number of target rows of a spike along (y, x, channel rows)."""

    __slots__ = ()

    @classmethod
    def of(cls, connection: ConnectionPlan) -> "_Counts":
        y, x = (max(1, *(entry.count for entry in axis)) for axis in connection.axes)
        return cls((y, x, connection.rows_each))


def _steps(connection: ConnectionPlan) -> tuple[int, int]:
    """Weight rows between the taps of neighbouring targets along y and x."""
    _, _, _, taps_x = connection.kernel.shape
    stride_y, stride_x = connection.strides
    return stride_y * taps_x * connection.channel_rows, stride_x * connection.channel_rows


def _masks(plan: SweepPlan) -> bool:
    """Whether some connection touches only part of the lanes of a row."""
    return any(connection.group_channels < plan.lanes and connection.connection.groups > 1
               for connection in plan.connections)  # fmt: skip


def _table(index: Value, entries: list[int]) -> Value:
    """`entries[index]`, a constant table in logic; 0 beyond its end."""
    if len(set(entries)) == 1 and len(entries) == 1 << len(index):
        return Const(entries[0])
    bits = max(1, max(entries).bit_length())
    filled = entries + [0] * ((1 << len(index)) - len(entries))
    return Array([Const(entry, bits) for entry in filled])[index]


def _picked(tag: Value, values: list) -> Value:
    """The value of connection `tag`."""
    return values[0] if len(values) == 1 else Array(values)[tag]
