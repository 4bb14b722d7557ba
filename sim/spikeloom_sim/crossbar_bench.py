"""The cocotb bench of a crossbar core with the Python model behind its analog ports.

It plays what `digital_bench` plays. SPIKELOOM_PROJECT names the configuration whose chip it is; SPIKELOOM_RECORDING,
where given, the file for what each array was asked and answered: {layer: {clocks, accesses}}, for a replay memory.
"""

import dataclasses
import json
import os
from pathlib import Path

import cocotb
from cocotb.triggers import RisingEdge

from spikeloom.items import address_bits
from spikeloom.project import Project
from spikeloom_analog.port import ArrayPort
from spikeloom_analog.verilog import Recording
from spikeloom_sim.digital_bench import play


@cocotb.test()
async def matches_reference(dut):
    """Every word of every output stream equals the reference, the arrays answered in Python."""
    chip = Project.load(os.environ["SPIKELOOM_PROJECT"]).chip
    recordings = {plan.name: Recording() for plan in chip.plans}
    for plan, port in zip(chip.plans, chip.ports(), strict=True):
        bits = [2, address_bits(plan.rows), address_bits(plan.columns), address_bits(plan.cells), 5]
        cocotb.start_soon(_behind(dut, plan.name, bits, port, recordings[plan.name]))
    await play(dut)
    if "SPIKELOOM_RECORDING" in os.environ:
        found = {name: dataclasses.asdict(recording) for name, recording in recordings.items()}
        Path(os.environ["SPIKELOOM_RECORDING"]).write_text(json.dumps(found))


async def _behind(dut, layer: str, bits: list[int], port: ArrayPort, recording: Recording) -> None:
    """`port` behind the analog port of a layer, clock edge by clock edge."""
    names = ("run", "clear", "gate", "cycle", "window", "spike")
    run, clear, gate, cycle, window, spike = (getattr(dut, f"analog_{layer}__{name}") for name in names)
    asked, ready, access = (getattr(dut, f"analog_{layer}__access__{part}") for part in ("valid", "ready", "payload"))
    answered, code = (getattr(dut, f"analog_{layer}__answer__{part}") for part in ("valid", "payload"))
    spike.value, ready.value, answered.value, code.value = 0, 1, 0, 0
    edge, shown, answering = RisingEdge(dut.clk), 0, False
    while True:
        await edge  # reads the values that the flip-flops are sampling
        if not (run.value.is_resolvable and clear.value.is_resolvable and asked.value.is_resolvable):
            continue  # before the first edge in reset
        running, clearing = int(run.value), int(clear.value)
        if running or clearing:
            request = (int(window.value), int(cycle.value), clearing, int(gate.value))
            spikes = port.clock(run=running, clear=clearing, gate=request[3], cycle=request[1], window=request[0])
            recording.clocks.append((*request, spikes))
            if spikes != shown:
                spike.value = shown = spikes
        if answering:
            answered.value, answering = 0, False
        if int(asked.value):
            word, fields = access.value.to_unsigned(), []
            for width in bits:
                fields.append(word & ((1 << width) - 1))
                word >>= width
            kind, row, column, cell, amount = fields
            answer = port.access(kind=kind, row=row, column=column, cell=cell, amount=amount)
            recording.accesses.append((kind, row, column, cell, amount, answer))
            code.value, answered.value, answering = answer, 1, True
