"""The cocotb bench of a virtual core with the Python model of its engines behind its analog ports.

It plays what `digital_bench` plays. SPIKELOOM_PROJECT names the configuration whose chip it is.
"""

import os

import cocotb
from cocotb.triggers import RisingEdge

from spikeloom.project import Project
from spikeloom_analog.virtual.port import EnginePort, Request
from spikeloom_sim.digital_bench import play


@cocotb.test()
async def matches_reference(dut):
    """Every word of every output stream equals the reference, the engines answered in Python."""
    chips = Project.load(os.environ["SPIKELOOM_PROJECT"]).virtual_chips
    for name, engines in chips.engines.items():
        layers = sum(plan.share.core == name for plan in chips.plans)
        cocotb.start_soon(_behind(dut, name, EnginePort(engines, layers=layers)))
    await play(dut)


async def _behind(dut, core: str, port: EnginePort) -> None:
    """`port` behind the analog port of a core, clock edge by clock edge."""
    names = ("fires", "clears", "layer", "step", "takes", "slot", "code")
    go, fired = (getattr(dut, f"analog_{core}__{name}") for name in ("go", "fired"))
    members = {name: getattr(dut, f"analog_{core}__{name}") for name in names}
    fired.value = 0
    edge = RisingEdge(dut.clk)
    while True:
        await edge  # reads the values that the flip-flops are sampling
        if go.value.is_resolvable and int(go.value) and not int(dut.rst.value):
            request = Request(**{name: int(member.value) for name, member in members.items()})
            fired.value = port.clock(go=1, request=request)
