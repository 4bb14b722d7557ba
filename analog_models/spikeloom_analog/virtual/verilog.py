"""What can stand behind the analog port of a virtual core in Verilog: a model that computes, a recording, a black box.

All three are a module NAME_CORE_engines with the same ports; a folder holds one of them and its tables.
"""

from collections.abc import Sequence

import numpy as np

from ..verilog import fnv, hex_words, quoted, template
from .engine import ProgrammedEngines
from .port import PortBits, Request

__all__ = ["black_box_engines", "model_engines", "replay_engines"]


def _header(name: str, core: str, bits: PortBits) -> list[str]:
    def span(width: int) -> str:
        return f"[{width - 1}:0] " if width > 1 else ""

    ports = [
        "input wire clk", "input wire go", "input wire fires", "input wire clears",
        f"input wire {span(bits.layer)}layer",
        "input wire [31:0] step", f"input wire {span(bits.engines)}takes",
        f"input wire {span(bits.engines * bits.slot)}slot", f"input wire {span(bits.engines * bits.code)}code",
        f"output wire {span(bits.engines)}fired",
    ]  # fmt: skip
    return [f"module {name}_{core}_engines (", "  " + ",\n  ".join(ports), ");"]


CONNECTED = """    .clk(clk), .go(go), .fires(fires), .clears(clears), .layer(layer), .step(step), .takes(takes),
    .slot(slot), .code(code), .fired(fired)"""


def _module(name: str, core: str, bits: PortBits, body: str, parameters: dict) -> str:
    text = ",\n".join(f"    .{key}({value})" for key, value in parameters.items())
    return "\n".join(
        [*_header(name, core, bits), f"  {body} #(", text, "  ) engines (", CONNECTED, "  );", "endmodule", ""]
    )


def model_engines(name: str, core: str, engines: ProgrammedEngines, *, layers: int) -> dict[str, str]:
    """The computing model of one core on one chip; file name -> text."""
    one, bits = engines.chip(0), PortBits.of(engines, layers)
    tables = {
        "charge": (one.charge.ravel(), 64),
        "engine": (np.stack([one.sigma[0], one.loss[0], one.comparator[0], one.injection[0]], axis=-1).ravel(), 64),
        "slot": (np.stack([one.threshold[0], one.subtract[0], one.kept[0]], axis=-1).ravel(), 64),
    }
    if one.noisy:
        tables["noise"] = (one.samples()[0].ravel(), 16)
    files = {table: f"{name}_{core}_{table}.mem" for table in ("charge", "engine", "slot", "noise")}
    mask = (1 << 64) - 1
    parameters = {
        "ENGINES": bits.engines, "SLOTS": one.slots, "SLOT_BITS": bits.slot, "CODE_BITS": bits.code,
        "LAYERS": bits.layers, "LAYER_BITS": bits.layer, "SUBTRACTS": int(one.reset == "subtract"),
        "NOISY": int(one.noisy), "LOW": f"64'h{one.low & mask:016x}", "HIGH": f"64'h{one.high & mask:016x}",
        **{f"{table.upper()}_FILE": quoted(file) for table, file in files.items()},
    }  # fmt: skip
    return {
        "spikeloom_engines_model.v": template("spikeloom_engines_model"),
        f"{name}_{core}_engines.v": _module(name, core, bits, "spikeloom_engines_model", parameters),
    } | {files[table]: hex_words(values.tolist(), width) for table, (values, width) in tables.items()}


def replay_engines(
    name: str, core: str, engines: ProgrammedEngines, recording: Sequence[Sequence[tuple[Request, int]]]
) -> dict[str, str]:
    """The recording of one core, of each of its layers, as a module; file name -> text."""
    bits = PortBits.of(engines, len(recording))
    words = [request.word(bits) << bits.engines | fired for rows in recording for request, fired in rows]
    starts = np.cumsum([0, *(len(rows) for rows in recording)]).tolist()
    width = 2 + 32 + bits.engines * (2 + bits.slot + bits.code)
    value = fnv(starts, 1, fnv(words, -(-width // 64)))
    parameters = {
        "ENGINES": bits.engines, "SLOT_BITS": bits.slot, "CODE_BITS": bits.code, "LAYERS": bits.layers,
        "LAYER_BITS": bits.layer, "WORDS": len(words), "HASH": f"64'h{value:016x}",
        "FILE": quoted(f"{name}_{core}_rows.mem"), "START_FILE": quoted(f"{name}_{core}_starts.mem"),
    }  # fmt: skip
    return {
        "spikeloom_engines_replay.v": template("spikeloom_engines_replay"),
        f"{name}_{core}_engines.v": _module(name, core, bits, "spikeloom_engines_replay", parameters),
        f"{name}_{core}_rows.mem": hex_words(words, width),
        f"{name}_{core}_starts.mem": hex_words(starts, 32),
    }


def black_box_engines(name: str, core: str, engines: ProgrammedEngines, *, layers: int) -> dict[str, str]:
    """An empty module of the ports of one core's engines, to be replaced by the macro."""
    lines = ["(* blackbox *)", *_header(name, core, PortBits.of(engines, layers)), "endmodule", ""]
    return {f"{name}_{core}_engines.v": "\n".join(lines)}
