"""What an export with a host holds: C header, Python driver and register map say what the description says."""

import dataclasses
import importlib.util
import random
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from networks import network_of, random_spec
from projects import of_network
from spikeloom.config import DigitalConfig, HostConfig
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.host.generate import c_header, host_files, markdown, python_driver
from spikeloom.host.map import host_registers
from spikeloom.items import AddressMap
from spikeloom.mapping.image import build_image
from spikeloom.mapping.plan import plan_core
from spikeloom.network.integer import IntegerNetwork
from spikeloom.tools import tool_environment

LOADED = DigitalConfig(weights="loaded", parameters="loaded")


def network(**options) -> IntegerNetwork:
    rng = random.Random(0)
    return network_of(
        [random_spec(rng, fan_in=4, neurons=3, leak=("shift", 2)), random_spec(rng, fan_in=3, neurons=2, **options)]
    )


PLANS = {
    "spikes": lambda: plan_core(network(), LOADED, steps=6),
    "values": lambda: plan_core(network(readout=True), LOADED, steps=6),
    "least": lambda: plan_core(network(), DigitalConfig(decision="none"), steps=6),
}


@pytest.mark.parametrize("kind", PLANS)
def test_c_header_compiles_and_says_what_the_description_says(kind, tmp_path, need_tool):
    need_tool("g++")
    plan = PLANS[kind]()
    registers = host_registers(plan, "core_x")
    (tmp_path / "core_x.h").write_text(c_header(plan, "core_x"))
    names, values = [], []
    for register in registers:
        prefix = f"CORE_X_{register.name.upper()}"
        names.append(f"{prefix}_OFFSET")
        values.append(register.address)
        for field in register.fields:
            names += [f"{prefix}_{field.name.upper()}_MASK", f"{prefix}_{field.name.upper()}_SHIFT"]
            values += [field.mask, field.offset]
            for word, value in field.values:
                names.append(f"{prefix}_{field.name.upper()}_{word.upper()}")
                values.append(value)
    lines = "\n".join(f'    printf("%lu\\n", (unsigned long){name});' for name in names)
    # Every function is used; registers are an array that a program of the host sees as the device.
    calls = """
    static uint32_t regs[2048];
    regs[0] = CORE_X_MAGIC_VALUE;
    if (core_x_check(regs) == 0) return 1;
    regs[CORE_X_HASH_LOW_OFFSET / 4] = CORE_X_HASH_LOW_VALUE;
    regs[CORE_X_HASH_HIGH_OFFSET / 4] = CORE_X_HASH_HIGH_VALUE;
    if (core_x_check(regs) != 0) return 2;
    core_x_start(regs);
    if ((regs[CORE_X_CONTROL_OFFSET / 4] & CORE_X_CONTROL_RUN_MASK) == 0) return 3;
    core_x_stop(regs);
    if (regs[CORE_X_CONTROL_OFFSET / 4] & CORE_X_CONTROL_RUN_MASK) return 4;
    regs[CORE_X_EVENT_ROOM_OFFSET / 4] = 8;
    core_x_spike(regs, 3);
    if (CORE_X_GET(regs[CORE_X_EVENT_IN_OFFSET / 4], CORE_X_EVENT_IN_ADDRESS) != 3) return 5;
    core_x_tick(regs, 1);
    if (regs[CORE_X_EVENT_IN_OFFSET / 4] != (CORE_X_EVENT_IN_TICK_MASK | CORE_X_EVENT_IN_LAST_MASK)) return 6;
    core_x_wait(regs);
    core_x_soft_reset(regs);
    if (regs[CORE_X_COMMAND_OFFSET / 4] != CORE_X_COMMAND_SOFT_RESET_MASK) return 7;
    regs[CORE_X_RESULT_VALUE_OFFSET / 4] = 0xfffffffe;
    if (core_x_result(regs, 1) != RESULT) return 8;
    regs[CORE_X_SPIKES_IN_OFFSET / 4] = 5;
    regs[CORE_X_COUNTER_HIGH_OFFSET / 4] = 2;
    if (core_x_counter(regs, CORE_X_SPIKES_IN_OFFSET) != ((uint64_t)2 << 32 | 5)) return 9;
"""
    calls = calls.replace("RESULT)", "-2)" if kind == "values" else "0xfffffffeu)")
    (tmp_path / "main.c").write_text(
        f'#include <stdio.h>\n#include "core_x.h"\n\nint main(void)\n{{{calls}{lines}\n    return 0;\n}}\n'
    )
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-Wconversion"]
    done = subprocess.run(
        ["gcc", *flags, "main.c", "-o", "main"],
        cwd=tmp_path,
        env=tool_environment("g++"),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    said = subprocess.run([tmp_path / "main"], capture_output=True, text=True)
    assert said.returncode == 0, said.returncode
    assert [int(line) for line in said.stdout.split()] == values


def load(plan, tmp_path):
    path = tmp_path / "core_x.py"
    path.write_text(python_driver(plan, "core_x"))
    spec = importlib.util.spec_from_file_location("core_x", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Memory:
    """Registers that keep what is written to them."""

    def __init__(self, plan):
        self.words = {r.address: r.reset for r in host_registers(plan, "core_x")}

    def read32(self, address: int) -> int:
        return self.words[address]

    def write32(self, address: int, value: int) -> None:
        assert 0 <= value < 1 << 32
        self.words[address] = value


def test_driver_says_what_the_description_says(tmp_path):
    plan = PLANS["values"]()
    module = load(plan, tmp_path)
    described = {
        r.name: (r.address, r.access, {f.name: (f.offset, f.bits, f.signed) for f in r.fields})
        for r in host_registers(plan, "core_x")
    }
    assert described == module.REGISTERS
    memory = Memory(plan)
    device = module.CoreX(memory, polls=3)
    at = {name: entry[0] for name, entry in described.items()}
    memory.words[at["result_value"]] = 0xFFFF_FFFE
    assert device.get("result_value") == {"value": -2}
    device.set("interrupts", input_done=1)
    device.set("interrupts", load_refused=1)
    assert memory.words[at["interrupts"]] == 0b0101
    device.set("command", clear_counters=1)
    assert memory.words[at["command"]] == 2
    with pytest.raises(ValueError, match="2 was given; accepted is 0 to 1"):
        device.set("interrupts", input_done=2)
    with pytest.raises(TimeoutError, match="after 3 tries"):
        device.run([[0]])
    with pytest.raises(ValueError, match="accepted are 0 to 3"):
        device.run([[4]])
    with pytest.raises(ValueError, match="accepted are fc1_threshold, fc1_leak_shift0"):
        device.parameter("fc3_threshold")
    with pytest.raises(ValueError, match="an image of 3 bytes"):
        device.load(b"abc")
    with pytest.raises(ValueError, match="an image for core"):
        device.load(build_image(plan)[:-4])
    memory.words[at["hash_low"]] ^= 1
    with pytest.raises(RuntimeError, match="this driver is for"):
        module.CoreX(memory)


@pytest.mark.parametrize("shape", [(7,), (2, 3, 5), (1, 4, 4), (3, 1, 1)])
def test_driver_knows_event_addresses(shape, tmp_path):
    module, addressing = load(PLANS["least"](), tmp_path), AddressMap(shape)
    import numpy as np

    neurons = np.arange(addressing.neurons)
    addresses = addressing.of(neurons).tolist()
    assert [module.address_of(n, shape) for n in neurons.tolist()] == addresses
    assert [module.neuron_of(a, shape) for a in addresses] == neurons.tolist()


def test_register_map_lists_every_register_and_field():
    plan = PLANS["spikes"]()
    text = markdown(plan, "core_x")
    for register in host_registers(plan, "core_x"):
        assert f"| 0x{register.address:03x} | [{register.name}](#{register.name}) |" in text
        section = text[text.index(f"## {register.name}\n") :]
        for field in register.fields:
            assert re.search(rf"^\| [\d:]+ \| {field.name} \|", section, re.M), (register.name, field.name)


def hosted(folder, bus: str, *, name: str = "tiny", net: IntegerNetwork | None = None):
    project = of_network(net or network(), folder, name=name, lanes="full")
    made = dataclasses.replace(project, config=dataclasses.replace(project.config, host=HostConfig(bus=bus)))
    made.__dict__["quantised"] = project.quantised
    return made


def contents(folder) -> dict:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("bus", ["axi4-lite", "wishbone"])
def test_export_with_a_host(bus, tmp_path, need_tool):
    """The core is the same bytes; beside it the host, lint-clean, and its files."""
    plain = hosted(tmp_path, "none")
    assert "host" not in elaborate(plain, tmp_path / "plain")
    project = hosted(tmp_path, bus)
    manifest = elaborate(project, tmp_path / "build")
    before, after = contents(tmp_path / "plain"), contents(tmp_path / "build")
    same = set(before) - {"manifest.json", "config.toml"}
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    files = host_files(project.plan, "tiny")
    assert set(after) - set(before) == {*files, "rtl/tiny_host.v"} | ({"rtl/spikeloom_sram_1r1w.v"} - set(before))
    assert {name: after[name].decode() for name in files} == files
    assert manifest["host"]["top"] == "tiny_host"
    assert {port["name"] for port in manifest["host"]["ports"]} >= {"clk", "rst", "irq", "s_axis_events_tdata"}
    assert [r["name"] for r in manifest["host"]["registers"]] == [r.name for r in host_registers(project.plan, "tiny")]
    assert [m["instance"] for m in manifest["host"]["memories"]] == ["host.results0", "host.results1"]
    elaborate(project, tmp_path / "again")
    assert contents(tmp_path / "again") == after
    need_tool("verilator")
    sources = sorted((tmp_path / "build" / "rtl").glob("*.v"))
    lint = subprocess.run(
        ["verilator", "--lint-only", "-Wall", "--top-module", "tiny_host", *sources],
        env=tool_environment("verilator"), capture_output=True, text=True,
    )  # fmt: skip
    assert (lint.returncode, lint.stderr) == (0, "")


def test_a_layer_called_host_is_refused(tmp_path):
    layers = network().layers
    named = IntegerNetwork(name="n", layers=(dataclasses.replace(layers[0], name="host"),))
    with pytest.raises(InputError, match="host: a layer of the core has the module name 'tiny_host'"):
        elaborate(hosted(tmp_path, "axi4-lite", net=named), tmp_path / "build")
    assert not (tmp_path / "build").exists()


def test_two_registers_of_one_name_are_refused():
    layers = (dataclasses.replace(network().layers[0], name="result"),)
    plan = plan_core(IntegerNetwork(name="n", layers=layers), LOADED, steps=2)
    crowded = SimpleNamespace(**{name: getattr(plan, name) for name in dir(plan) if not name.startswith("__")})
    entry = SimpleNamespace(name="result", registers={"index": (3, 1)})
    crowded.layers = (entry,)
    with pytest.raises(InputError, match="two registers would be called 'result_index'"):
        host_registers(crowded, "core")  # type: ignore[arg-type]


def test_examples_of_the_documentation(tmp_path, need_tool):
    """The C example compiles; the Python one runs a device that answers nothing, and says so."""
    need_tool("g++")
    text = (Path(__file__).parent.parent / "docs" / "host.md").read_text()
    (c,) = re.findall(r"```c\n(.*?)```", text, re.S)
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    plan = PLANS["least"]()
    (tmp_path / "digits.h").write_text(c_header(plan, "digits"))
    (tmp_path / "example.c").write_text(c)
    flags = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-c"]
    done = subprocess.run(
        ["gcc", *flags, "example.c"], cwd=tmp_path, env=tool_environment("g++"), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (tmp_path / "digits.py").write_text(python_driver(plan, "digits"))
    registers = host_registers(plan, "digits")
    memory = bytearray(1 << registers.address_bits)
    for register in registers:
        memory[register.address : register.address + 4] = register.reset.to_bytes(4, "little")
    (tmp_path / "example.py").write_text(f"memory = bytearray.fromhex({memory.hex()!r})\n{example}")
    ran = subprocess.run([sys.executable, "example.py"], cwd=tmp_path, capture_output=True, text=True)
    assert "accepted are 0 to 3" in ran.stderr, "neuron 17 of the example is none of this core's"
