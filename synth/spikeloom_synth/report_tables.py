"""The tables of the report."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .report_build import Build, conditions, number, percent, plural, si
from .report_pictures import energies, joined

__all__ = ["Table", "tables"]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table; columns are (heading, whether its cells are numbers)."""

    title: str
    columns: tuple[tuple[str, bool], ...]
    rows: list[list[str]]
    note: str = ""
    folded: bool = False


def _columns(text: str) -> tuple[tuple[str, bool], ...]:
    """`name | bits#`: headings, a # behind those of numbers."""
    return tuple((part.strip().rstrip("#"), part.strip().endswith("#")) for part in text.split("|"))


def _layer_table(build: Build) -> Table:
    spikes = build.arrays.get("layer_spikes")
    steps = build.manifest["steps"]
    paces = {entry["name"]: entry for entry in build.manifest["cost"]["layers"]}
    rows = []
    for n, layer in enumerate(build.manifest["layers"]):
        bits = layer.get("neuron_bits") or layer["accumulator_bits"]
        mean = None if spikes is None else float(spikes[:, n].mean())
        nonzero, dense = layer.get("nonzero_weights"), layer.get("weights", layer["fan_in"] * layer["neurons"])
        pace = paces.get(layer["name"], {})
        rows.append(
            [
                layer["name"],
                f"{layer['fan_in']:,}",
                f"{layer['neurons']:,}",
                f"{layer['lanes']:,}",
                f"{layer['rows']:,}",
                str(layer["weight_bits"]),
                "-" if nonzero is None else percent(nonzero / dense, 1),
                str(layer["potential_bits"]),
                f"{min(bits)} to {max(bits)}",
                "read-out" if layer["threshold"] is None else f"{layer['threshold']:,}",
                str(layer["leak"]),
                str(layer["reset"]).replace("_", " "),
                number(pace.get("cycles_per_event")),
                "-" if mean is None or layer["threshold"] is None else f"{mean:,.1f}",
                "-" if mean is None or layer["threshold"] is None else f"{mean / steps / layer['neurons']:.4f}",
            ]
        )
    columns = (
        "layer | fan-in# | neurons# | lanes# | rows# | weight bits# | weights not 0# | potential bits# | "
        "accumulator bits# | threshold# | leak | reset | cycles per event# | spikes per input# | per neuron and step#"
    )
    return Table(
        title="Layers", columns=_columns(columns), rows=rows, note="Spikes are means over the simulated inputs."
    )


def _memory_table(build: Build) -> Table:
    synthesis = build.synthesis or {}
    power = synthesis.get("power") or {}
    used = {each["instance"]: each for each in power.get("memories", [])}
    mapped = synthesis.get("memories") or {}
    macros = {each["instance"]: each for each in mapped.get("instances", []) if "macro" in each}
    inferences = power.get("inferences")
    rows = []
    for memory in build.manifest["memories"]:
        row = [
            memory["instance"],
            memory["port_type"],
            f"{memory['depth']:,}",
            f"{memory['width']:,}",
            f"{memory['bits']:,}",
            memory["image"] or "-",
        ]
        macro = macros.get(memory["instance"])
        row.append(macro["macro"] if macro else "-")
        for key, form in (("um2", "{:,.0f}"), ("access_ns", "{:.2f}")):
            row.append(form.format(macro[key]) if macro and macro[key] is not None else "-")
        access = used.get(memory["instance"])
        for key in ("reads", "writes"):
            row.append(number(access[key] / inferences) if access and inferences else "-")
        rows.append(row)
    total = sum(memory["bits"] for memory in build.manifest["memories"])
    area = f"{mapped['um2']:,.0f}" if macros else "-"
    rows.append(["total", "", "", "", f"{total:,}", "", "", area, "", "", ""])
    columns = (
        "memory | ports | depth# | width# | bits# | contents | macro | area µm²# | access ns# | reads per inference# | "
        "writes per inference#"
    )
    note = "Memories are kept as memories by every flow; each has one synchronous read port, 1r1w also a write port, "
    note += "2r1w and cim two reads and a write."
    if macros:
        note += f" Macros {mapped['label']}."
    return Table(title="Memories", columns=_columns(columns), rows=rows, note=note)


def _quantisation_table(build: Build) -> Table | None:
    report = build.quantisation
    if report is None:
        return None

    def error(layer: dict[str, Any]) -> str:
        if layer["on_grid"]:
            return "exact"
        return f"{percent(layer['weight_error_rms'])} / {percent(layer['weight_error_max'])}"

    lines: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("weight bits", lambda x: str(x["weight_bits"])),
        ("weight step", lambda x: f"{x['scale']:.6g}"),
        ("weight error, rms / largest", error),
        ("clipped weights", lambda x: f"{x['clipped_weights']:,}"),
        ("bias error, largest", lambda x: percent(x["bias_error_max"])),
        ("potential bits", lambda x: str(x["potential_bits"])),
        ("threshold", lambda x: "read-out" if x["threshold"] is None else f"{x['threshold']:,}"),
        ("threshold error", lambda x: percent(x["threshold_error"])),
        ("leak", lambda x: x["leak"]),
        ("decay, wanted / got", lambda x: f"{x['decay_wanted']:.5f} / {x['decay_got']:.5f}"),
        ("decay error", lambda x: percent(x["decay_error"])),
        ("potentials that never decay", lambda x: f"{x['dead_zone'][0]:,} to {x['dead_zone'][1]:,}"),
        ("potentials at a limit", lambda x: percent(x.get("pinned_share"))),
        (
            "spikes per neuron and step, before / after",
            lambda x: "-" if x.get("rate_before") is None else f"{x['rate_before']:.4f} / {x['rate_after']:.4f}",
        ),
        (
            "silent neurons, before / after",
            lambda x: "-" if x.get("silent_before") is None else f"{x['silent_before']} / {x['silent_after']}",
        ),
    ]
    layers = report["layers"]
    note = ""
    if report.get("samples"):
        note = f"On {plural(report['samples'], 'input')} of {report['steps']} steps: "
        note += f"same decision before and after on {percent(report['agreement'], 1)}"
        if report.get("accuracy_after") is not None:
            note += f"; accuracy {percent(report['accuracy_before'])} before, {percent(report['accuracy_after'])} after"
        note += ". These are the inputs that the number formats were fitted to."
    return Table(
        title="Quantisation",
        columns=(("", False), *((layer["name"], True) for layer in layers)),
        rows=[[title, *(text(layer) for layer in layers)] for title, text in lines],
        note=note,
    )


def _energy_table(build: Build) -> Table | None:
    found = energies(build)
    if found is None:
        return None
    blocks, memories = found
    owned: dict[str, float] = {}
    for name, parts in memories.items():
        owner = name.rpartition(".")[0]
        owner = owner if owner in blocks else name
        owned[owner] = owned.get(owner, 0.0) + sum(parts)
    rows = []
    for name, parts in blocks.items():
        own = si(owned.pop(name), "J", 3) if name in owned else "-"
        rows.append([name, *(si(value, "J", 3) for value in parts), si(sum(parts), "J"), own])
    rows += [[name, "-", "-", "-", "-", "-", si(value, "J", 3)] for name, value in owned.items()]
    totals = [sum(column) for column in zip(*blocks.values(), strict=True)]
    memory = sum(sum(parts) for parts in memories.values())
    rows.append(["total", *(si(value, "J", 3) for value in totals), si(sum(totals), "J"), si(memory, "J", 3)])
    columns = "block | internal# | switching# | clock pins# | leakage# | cells# | memories, assumed#"
    power = (build.synthesis or {}).get("power") or {}
    note, tops = conditions(power["label"]), power.get("tops_per_w") or {}
    if tops.get("performed"):
        note += (
            f". TOPS/W, a multiply-add being two operations, memories included: {tops['performed']:.3g} of the "
            f"synaptic operations performed, {tops['dense_equivalent']:.3g} of those of a dense network of this shape"
        )
    return Table(title="Energy of an inference", columns=_columns(columns), rows=rows, note=note)


def _area_table(build: Build) -> Table | None:
    if build.synthesis is None:
        return None
    area = build.synthesis["area"]
    rows = [
        [name, f"{cells:,.0f}", f"{flip_flops:,.0f}", f"{total:,.0f}", f"{held:,.0f}"]
        for name, (total, held, cells, flip_flops) in joined(
            area["by_block"], ("area", "flip_flop_area", "cells", "flip_flops"), lambda row: row[0]
        ).items()
    ]
    rows.append(
        [
            "total",
            f"{area['cells']:,}",
            f"{area['flip_flops']:,}",
            f"{area['um2']:,.0f}",
            f"{area['flip_flop_um2']:,.0f}",
        ]
    )
    return Table(
        title="Cell area",
        columns=_columns("block | cells# | flip-flops# | area µm²# | of it flip-flops µm²#"),
        rows=rows,
        note=conditions(area["label"]),
        folded=True,
    )


def _paths_table(build: Build) -> Table | None:
    timing = (build.synthesis or {}).get("timing") or {}
    rows = []
    for kind, text in (("registers", "register to register"), ("memories", "with memories")):
        for path in (timing.get(kind) or {}).get("worst", [])[:10]:
            rows.append([text, path["from"], path["to"], str(path["levels"]), f"{path['period_ns']:.3f}"])
    if not rows:
        return None
    columns = _columns("paths | from | to | cells# | shortest period ns#")
    return Table(title="Slowest end points", columns=columns, rows=rows, folded=True)


def _recipes_table(build: Build) -> Table | None:
    tried = (build.synthesis or {}).get("tried") or {}
    if len(tried) < 2 or build.synthesis is None:
        return None
    label = build.synthesis["area"]["label"]
    chosen = f"{label['recipe']}, {label.get('adders')}"  # gates have the name of their recipe alone
    chosen = chosen if chosen in tried else label["recipe"]
    rows = [
        [name + (" (kept)" if name == chosen else ""), f"{row['um2']:,.0f}", number(row["fmax_mhz"])]
        for name, row in tried.items()
    ]
    return Table(title="Mapping recipes tried", columns=_columns("recipe | area µm²# | MHz#"), rows=rows)


def _fpga_table(build: Build) -> Table | None:
    families = (build.synthesis or {}).get("fpga") or {}
    if not families:
        return None
    names = {"ice40": "Lattice iCE40", "ecp5": "Lattice ECP5", "xc7": "Xilinx 7"}
    rows = []
    for family, given in families.items():
        blocks = ", ".join(f"{count} {kind}" for kind, count in given["block_rams"].items()) or "0"
        counts = [given[key] for key in ("luts", "lut_rams", "flip_flops", "carries", "dsps")]
        rows.append([names.get(family, family), *(f"{count:,}" for count in counts), blocks, given["label"]["command"]])
    label = next(iter(families.values()))["label"]
    columns = _columns("family | LUT# | of them RAM# | flip-flops# | carries# | DSP# | block RAM | command")
    return Table(title="FPGA resources", columns=columns, rows=rows, note=conditions(label))


def _port_table(build: Build) -> Table:
    rows = [[port["name"], port["direction"], str(port["bits"]), port["meaning"]] for port in build.manifest["ports"]]
    note = "Streams are payload, valid and ready: a word moves in a cycle in which both valid and ready are 1."
    return Table(title="Ports", columns=_columns("port | direction | bits# | meaning"), rows=rows, note=note)


def _load_table(build: Build) -> Table | None:
    regions = build.manifest.get("load_map")
    if not regions:
        return None
    rows = [
        [str(each["region"]), each["layer"], each["kind"], f"{each['rows']:,}", f"{each['row_bits']:,}"]
        for each in regions
    ]
    columns = _columns("region# | layer | kind | rows# | row bits#")
    return Table(title="Memory map of the load port", columns=columns, rows=rows)


def _version_table(build: Build) -> Table:
    rows = [["generator", name, str(version)] for name, version in sorted(build.manifest["versions"].items())]
    simulation, synthesis = build.simulation or {}, build.synthesis or {}
    rows += [["simulation", name, str(version)] for name, version in sorted((simulation.get("versions") or {}).items())]
    labels = [(synthesis.get("area") or {}).get("label")]
    labels += [(each or {}).get("label") for each in (synthesis.get("timing") or {}).values()]
    labels += [(synthesis.get("power") or {}).get("label")]
    tools = {label["tool"] for label in labels if label and label.get("tool")}
    rows += [["synthesis", *tool.rsplit(" ", 1)] for tool in sorted(tools) if " " in tool]
    return Table(title="Versions", columns=_columns("step | tool | version"), rows=rows)


def _check_table(build: Build) -> Table | None:
    check = (build.synthesis or {}).get("netlist_check")
    if not check:
        return None
    rows = [[stream, f"{count:,}"] for stream, count in check["equal_words"].items()]
    return Table(
        title="Netlist check",
        columns=_columns("stream | equal words#"),
        rows=rows,
        note=check["level"].capitalize() + ".",
    )


def tables(build: Build) -> dict[str, Table]:
    """Every table that has rows for this design."""
    found = {
        "layers": _layer_table(build),
        "memories": _memory_table(build),
        "quantisation": _quantisation_table(build),
        "area": _area_table(build),
        "energy": _energy_table(build),
        "paths": _paths_table(build),
        "recipes": _recipes_table(build),
        "fpga": _fpga_table(build),
        "check": _check_table(build),
        "ports": _port_table(build),
        "load": _load_table(build),
        "versions": _version_table(build),
    }
    return {name: table for name, table in found.items() if table is not None}
