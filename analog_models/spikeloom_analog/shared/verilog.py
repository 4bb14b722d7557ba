"""What can stand behind the analog port of a gang in Verilog: a model that computes, or a black box.

Both are a module NAME_GANG_tables with the same ports; a folder holds one of them and its tables.
"""

from spikeloom.items import address_bits
from spikeloom.mapping.shared import Gang

from ..verilog import hex_words, quoted, template
from .port import drawn_bits
from .table import ProgrammedTables

__all__ = ["black_box_tables", "model_tables"]


def _header(name: str, gang: Gang) -> list[str]:
    ports = [
        "input wire clk", "input wire go", f"input wire [{address_bits(gang.layers) - 1}:0] layer",
        "input wire [31:0] step", f"input wire [{gang.cores * drawn_bits(gang) - 1}:0] drawn",
        f"output wire [{gang.cores * gang.code_bits - 1}:0] code",
    ]  # fmt: skip
    return [f"module {name}_{gang.name}_tables (", "  " + ",\n  ".join(ports), ");"]


def model_tables(name: str, tables: ProgrammedTables) -> dict[str, str]:
    """The computing model of one gang on one chip; file name -> text."""
    one, gang = tables.chip(0), tables.gang
    contents = {
        "charge": (one.charge.ravel(), 64),
        "variance": (one.variance.ravel(), 64),
        "base": (one.base.ravel(), 64),
        "decisions": (one.decisions.ravel(), 64),
    }
    if one.noisy:
        contents["noise"] = (one.samples()[0].ravel(), 16)
    files = {key: f"{name}_{gang.name}_{key}.mem" for key in ("charge", "variance", "base", "decisions", "noise")}
    parameters = {
        "CORES": gang.cores, "LEVELS": len(gang.table), "COPIES": gang.block if gang.replicates else 1,
        "INDEX_BITS": gang.index_bits, "PULSE_BITS": gang.pulse_bits, "DRAWN_BITS": drawn_bits(gang),
        "REPLICATES": int(gang.replicates), "CODE_BITS": gang.code_bits, "LAYERS": gang.layers,
        "LAYER_BITS": address_bits(gang.layers), "NOISY": int(one.noisy),
        **{f"{key.upper()}_FILE": quoted(file) for key, file in files.items()},
    }  # fmt: skip
    text = ",\n".join(f"    .{key}({value})" for key, value in parameters.items())
    connected = "    .clk(clk), .go(go), .layer(layer), .step(step), .drawn(drawn), .code(code)"
    body = ["  spikeloom_tables_model #(", text, "  ) tables (", connected, "  );", "endmodule", ""]
    return {
        "spikeloom_tables_model.v": template("spikeloom_tables_model"),
        f"{name}_{gang.name}_tables.v": "\n".join([*_header(name, gang), *body]),
    } | {files[key]: hex_words(values.tolist(), width) for key, (values, width) in contents.items()}


def black_box_tables(name: str, gang: Gang) -> dict[str, str]:
    """An empty module of the ports of one gang's tables, to be replaced by the macro."""
    lines = ["(* blackbox *)", *_header(name, gang), "endmodule", ""]
    return {f"{name}_{gang.name}_tables.v": "\n".join(lines)}
