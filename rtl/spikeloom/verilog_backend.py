"""RTLIL to lint-clean Verilog; runs in a process of its own (`python -m`), since an error in Yosys ends its process.

Yosys prints operands at the width they happen to have; linters then warn of every implicit extension. Here all
operands of an operator are brought to one width first, which changes no value.
"""

import sys

from pyosys import libyosys as ys  # pyright: ignore[reportAttributeAccessIssue]

# Operators whose operands are extended to the width of the result, and those that compare at a common width.
ARITHMETIC = ("$add", "$sub", "$mul", "$and", "$or", "$xor", "$neg", "$not", "$pos")
COMPARISONS = ("$eq", "$ne", "$lt", "$le", "$gt", "$ge", "$eqx", "$nex")


def _extend(cell, port: str, width: int, signed: bool) -> None:
    """Bring an operand to `width` bits by its own sign."""
    name = ys.IdString("\\" + port)
    if not cell.hasPort(name):
        return
    signal = cell.getPort(name)
    if signal.size() > width:
        signal = signal.extract(0, width)
    elif signal.size() < width:
        signal.extend_u0(width, signed)
    cell.setPort(name, signal)
    cell.setParam(ys.IdString(f"\\{port}_WIDTH"), ys.Const(width, 32))


def _width(cell, port: str) -> int:
    return cell.getPort(ys.IdString("\\" + port)).size()


def even_operands(design) -> None:
    """Give the operands of each operator one width."""
    for module in design.selected_modules():
        for cell in module.selected_cells():
            kind = cell.type.str()
            if kind == "$logic_not" and _width(cell, "A") > 1:  # !vector is vector == 0
                width = _width(cell, "A")
                cell.type = ys.IdString("$eq")
                cell.setPort(ys.IdString("\\B"), ys.SigSpec(ys.Const(0, width)))
                cell.setParam(ys.IdString("\\B_WIDTH"), ys.Const(width, 32))
                cell.setParam(ys.IdString("\\B_SIGNED"), ys.Const(0, 1))
                cell.setParam(ys.IdString("\\A_SIGNED"), ys.Const(0, 1))
            elif kind in ARITHMETIC or kind in COMPARISONS:
                signed = cell.getParam(ys.IdString("\\A_SIGNED")).as_bool()
                widths = [_width(cell, "A")]
                if cell.hasPort(ys.IdString("\\B")):
                    widths.append(_width(cell, "B"))
                width = max(widths) if kind in COMPARISONS else _width(cell, "Y")
                for port in ("A", "B"):
                    _extend(cell, port, width, signed)
                if kind in ARITHMETIC:  # equal widths: signed or not, the bits are the same
                    for port in ("A", "B"):
                        name = ys.IdString(f"\\{port}_SIGNED")
                        if cell.hasParam(name):
                            cell.setParam(name, ys.Const(0, 1))


def main(source: str, target: str) -> None:
    """Read RTLIL from `source` and write Verilog to `target`."""
    design = ys.Design()
    ys.run_pass(f"read_rtlil {source}", design)
    # No initial values: reset alone must bring the design up, in simulation as in silicon.
    for step in (
        "delete w:$verilog_initial_trigger",
        "setattr -unset init w:*",
        "proc",
        "opt_expr",
        "pmuxtree",
        "wreduce",
        "opt_clean -purge",
    ):
        ys.run_pass(step, design)
    even_operands(design)
    ys.run_pass("opt_clean -purge", design)
    ys.run_pass(f"write_verilog -noattr {target}", design)


if __name__ == "__main__":
    main(*sys.argv[1:])
