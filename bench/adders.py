"""Additions in the library's full-adder cells: area and clock before and after, on OSU018 and the kits at hand.

For each library and design, at the recipe `area`: gates, full-adder cells, full-adder cells on inverted bits, and what
`adders = "auto"` saves where all reach the clock. `SPIKELOOM_PDK` is the folder of the further kits.
"""

from pathlib import Path

from _common import fixed_project, main, random_network, scratch, silent_inputs, zoo_project

from spikeloom.config import DigitalConfig
from spikeloom.export import elaborate
from spikeloom.tools import find_tool
from spikeloom_synth.options import CELLS, SynthOptions
from spikeloom_synth.pdks import installed_pdks
from spikeloom_synth.timing import analyse
from spikeloom_synth.yosys import design_from_build, liberty_files, map_to_cells, yosys_version
from spikeloom_synth.yosys import elaborate as read_verilog

KITS = ("osu018", "sky130hd", "gf180", "nangate45")
MHZ = 100.0


def measure() -> dict:
    answer: dict = {"tool": f"Yosys {yosys_version()}", "mhz": MHZ}
    designs = {
        "wide": zoo_project("mnist4", steps=100),
        "serial": fixed_project(
            random_network([256, 256], weight_bits=4, potential_bits=8),
            steps=100, core=DigitalConfig(lanes=1, decision="none"), name="serial",
        ),
    }  # fmt: skip
    with scratch() as place:
        for name, project in designs.items():
            build = Path(place, name)
            elaborate(project, build, inputs=silent_inputs(project))
            design, _ = design_from_build(build)
            for library in installed_pdks(KITS):
                work = Path(place, f"{name}_{library}")
                work.mkdir()
                options = SynthOptions(pdk=library, clock_mhz=MHZ)
                read, plain = liberty_files(options, work)
                coarse = read_verilog(design, options, work)
                key, areas = f"{name}_{library}", {}
                for adders in ("gates", *CELLS):
                    folder = work / adders
                    folder.mkdir()
                    given = SynthOptions(pdk=library, clock_mhz=MHZ, adders=adders)
                    netlist = map_to_cells(coarse, read, plain, given, folder, recipe="area")
                    areas[adders] = netlist.area()
                    row = f"{key}_{adders.replace('-', '_')}"
                    answer[f"{row}_um2"] = round(netlist.area(), 1)
                    if find_tool("sta"):
                        timing = analyse(netlist, read, plain, given, folder, clock=design.clock, memory_timing=False)
                        answer[f"{row}_mhz"] = timing.fmax_mhz and round(timing.fmax_mhz)
                answer[f"{key}_saved"] = round(1 - min(areas.values()) / areas["gates"], 4)
    return answer


if __name__ == "__main__":
    main(measure, __doc__ or "")
