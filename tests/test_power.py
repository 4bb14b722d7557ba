"""Activity and power: toggles counted and energies multiplied by hand; the simulation against Icarus Verilog."""

import dataclasses
import itertools
import re

import pytest

import spikeloom_synth.power
from spikeloom.errors import InputError, SpikeloomError
from spikeloom_synth.gatesim import Workload, play, read_stimulus
from spikeloom_synth.liberty import read_liberty
from spikeloom_synth.macros import MacroModel
from spikeloom_synth.memories import Memory
from spikeloom_synth.options import SynthOptions
from spikeloom_synth.pdks import pdk_of_library
from spikeloom_synth.power import measure, power_of
from spikeloom_synth.timing import sta_version
from spikeloom_synth.yosys import Design, elaborate, liberty_files, map_to_cells
from synth_designs import (
    LIF_FILES,
    TINY,
    icarus_outputs,
    map_text,
    needs_compiler,
    needs_iverilog,
    needs_osu018,
    needs_sta,
    needs_yosys,
    write_lif_image,
    write_lif_stimulus,
)

pytestmark = [needs_yosys, needs_compiler]

VOLTAGE, CLOCK = 2.0, 100e6  # tiny.lib; the clock that map_text asks for
DFF_D, DFF_CK, INV_A, BUF_A = 0.02e-12, 0.03e-12, 0.01e-12, 0.01e-12
DFF_LEAKAGE, INV_LEAKAGE = 7e-9, 5e-9
OUTPUT_LOAD = 4 * BUF_A  # what the flow puts behind each port

# One register between the streams: two address bits, tick, last, valid. It is always ready.
ECHO = """
module echo(input clk, input rst, input [3:0] events_in__payload, input events_in__valid, output events_in__ready,
            output reg [3:0] events_out__payload, output reg events_out__valid, input events_out__ready);
  assign events_in__ready = 1;
  always @(posedge clk) begin events_out__payload <= events_in__payload; events_out__valid <= events_in__valid; end
endmodule
"""
ITEMS = [0x1, 0x2, 0x1, 0x1, 0x4, 0x3, 0xC]  # two inputs would need two `last`; this is one


def write(path, items):
    path.write_text("".join(f"{item:x}\n" for item in items))
    return path


@needs_sta
def test_energy_by_hand(tmp_path):
    netlist, libraries, plain, options = map_text(ECHO, "echo", tmp_path)
    assert netlist.counts() == {"DFF": 5}
    workload = Workload(stimulus=write(tmp_path / "items.mem", ITEMS), name="seven items", sops=4, dense_operations=10)
    power, activity = measure(netlist, libraries, plain, options, workload, tmp_path, images=tmp_path)
    # Cycle 0 offers item 0; the register shows item n in cycle n + 1; the run ends when the last one is shown.
    cycles = len(ITEMS) + 1
    assert (activity.cycles, activity.inferences) == (cycles, 1)
    assert activity.outputs["events_out"] == [(n + 1, item) for n, item in enumerate(ITEMS)]
    shown = [(0, 0)] + [(item, 1) for item in ITEMS]  # payload and valid, from the cycle of the first offer
    # What the register held before is what reset's idle cycles left: all inputs 0.
    bits = [[payload >> bit & 1 for payload, _ in shown] for bit in range(4)] + [[valid for _, valid in shown]]
    toggles = [sum(a != b for a, b in itertools.pairwise(row)) for row in bits]
    for bit, net in enumerate([*netlist.ports["events_out__payload"][1], netlist.ports["events_out__valid"][1][0]]):
        changes, ones = activity.nets[net]
        assert changes * cycles == pytest.approx(toggles[bit])
        assert ones * cycles == pytest.approx(sum(bits[bit]))
    switching = sum(toggles) / cycles * 0.5 * OUTPUT_LOAD * VOLTAGE**2 * CLOCK
    assert power.switching_w == pytest.approx(switching, rel=1e-5)
    assert power.internal_w == 0
    assert power.leakage_w == pytest.approx(5 * DFF_LEAKAGE, rel=1e-5)
    assert power.clock_pins_w == pytest.approx(5 * DFF_CK * VOLTAGE**2 * CLOCK, rel=1e-5)
    assert power.memory_w == 0
    total = switching + 5 * DFF_LEAKAGE + 5 * DFF_CK * VOLTAGE**2 * CLOCK
    summary = power.summary()
    assert summary["energy_per_inference_j"]["total"] == pytest.approx(total * cycles / CLOCK, rel=1e-5)
    assert summary["energy_per_sop_j"]["total"] == pytest.approx(total * cycles / CLOCK / 4, rel=1e-5)
    joule = total * cycles / CLOCK
    assert summary["tops_per_w"]["performed"] == pytest.approx(2 * 4 / joule / 1e12, rel=1e-5)
    assert summary["tops_per_w"]["dense_equivalent"] == pytest.approx(2 * 10 / joule / 1e12, rel=1e-5)
    assert summary["label"]["workload"] == "seven items"
    assert (summary["label"]["clock_mhz"], summary["label"]["voltage_v"]) == (100.0, 2.0)
    assert summary["label"]["tool"] == f"OpenSTA {sta_version()}"


@needs_sta
def test_power_of_given_activities(tmp_path):
    """0.5 C V^2 f for each change of a net, on the pins that it feeds; leakage per cell."""
    text = "module toggle(input clk, output reg q);\n  always @(posedge clk) q <= !q;\nendmodule\n"
    netlist, libraries, plain, options = map_text(text, "toggle", tmp_path)
    dff = next(each for each in netlist.instances.values() if each.type == "DFF")
    inv = next(each for each in netlist.instances.values() if each.type == "INV")
    q, d = dff.pins["Q"][0], dff.pins["D"][0]
    assert (inv.pins["A"][0], inv.pins["Y"][0]) == (q, d)
    cells = power_of(netlist, libraries, plain, options, {q: (0.25, 0.5), d: (0.75, 0.5)}, tmp_path)
    half = 0.5 * VOLTAGE**2 * CLOCK
    assert cells[dff.name] == pytest.approx((0, 0.25 * half * (INV_A + OUTPUT_LOAD), DFF_LEAKAGE), rel=1e-5)
    assert cells[inv.name] == pytest.approx((0, 0.75 * half * DFF_D, INV_LEAKAGE), rel=1e-5)


def test_activity_for_opensta_3(tmp_path, monkeypatch):
    """From 3.0 on the activity goes by a SAIF file: times add up to its duration, toggles are per pin."""
    text = "module toggle(input clk, output reg q);\n  always @(posedge clk) q <= !q;\nendmodule\n"
    netlist, libraries, plain, options = map_text(text, "toggle", tmp_path)
    dff = next(each for each in netlist.instances.values() if each.type == "DFF")
    inv = next(each for each in netlist.instances.values() if each.type == "INV")
    seen = []

    def run(tcl, folder, name):
        seen.append(tcl)
        return f"BEGIN\n 1e-6 2e-6 3e-9 3.003e-6 {dff.name}\n 0 4e-6 5e-9 4.005e-6 {inv.name}\nEND\n"

    monkeypatch.setattr(spikeloom_synth.power, "sta_version", lambda: "3.1.0")
    monkeypatch.setattr(spikeloom_synth.power, "run_sta", run)
    activities = {dff.pins["Q"][0]: (0.25, 0.75), dff.pins["D"][0]: (0.25, 0.125)}
    cells = power_of(netlist, libraries, plain, options, activities, tmp_path)
    assert cells == {dff.name: (1e-6, 2e-6, 3e-9), inv.name: (0, 4e-6, 5e-9)}
    assert "read_saif -scope toggle activity.saif" in seen[0]
    assert "set_power_pin_activity" not in seen[0]
    saif = (tmp_path / "activity.saif").read_text()
    assert saif.count("(") == saif.count(")")
    duration = int(re.search(r"\(DURATION (\d+)\)", saif)[1])
    assert duration == 1_000_000 * 10_000  # cycles of 10 ns, in picoseconds
    rows = re.findall(r"\((\w+) \(T0 (\d+)\) \(T1 (\d+)\) \(TX 0\) \(TC (\d+)\)\)", saif)
    assert sorted(pin for pin, *_ in rows) == ["A", "D", "Q", "Y"]  # not the clock
    for pin, low, high, changes in rows:
        assert int(low) + int(high) == duration
        assert int(changes) == 250_000
        assert int(high) == duration * (0.125 if pin in "DY" else 0.75)


@pytest.fixture(scope="module")
def lif(tmp_path_factory):
    """lif_small mapped to osu018, its weights and a random stimulus."""
    folder = tmp_path_factory.mktemp("lif")
    options = SynthOptions(clock_mhz=50)
    libraries, plain = liberty_files(options, folder)
    coarse = elaborate(Design(files=LIF_FILES, top="lif_small", folder=folder), options, folder)
    netlist = map_to_cells(coarse, libraries, plain, options, folder, recipe="area")
    write_lif_image(folder)
    words = write_lif_stimulus(folder / "stimulus.mem")
    return netlist, libraries, plain, options, folder, words


@needs_osu018
@needs_iverilog
def test_simulation_equals_rtl(lif, tmp_path):
    """The same words in the same cycles as the RTL in Icarus; memories included."""
    netlist, libraries, _, _, folder, words = lif
    workload = Workload(stimulus=folder / "stimulus.mem", name="random events")
    activity = play(netlist, libraries, workload, folder, images=folder)
    expected = icarus_outputs([*LIF_FILES], folder / "stimulus.mem", folder, tmp_path)
    assert activity.outputs["events_out"] == expected
    assert activity.inferences == sum(word >> 7 for word in words)
    assert not list(folder.glob("gatesim*"))  # tidied up


@needs_osu018
@needs_sta
def test_blocks_and_memories_add_up(lif):
    netlist, libraries, plain, options, folder, words = lif
    workload = Workload(stimulus=folder / "stimulus.mem", name="random events", sops=1000)
    power, activity = measure(netlist, libraries, plain, options, workload, folder, images=folder)
    rows = {each["instance"]: each for each in power.memories}
    events = sum(1 for word in words if not word >> 6 & 1)
    spikes = sum(1 for _, word in activity.outputs["events_out"] if not word >> 4 & 1)
    # Every event reads one row of weights. Every spike reads its counter, and writes it one cycle later.
    assert (rows["fc1.weights"]["reads"], rows["fc1.weights"]["writes"]) == (events, 0)
    assert (rows["counter.counts"]["reads"], rows["counter.counts"]["writes"]) == (spikes, spikes)
    assert spikes > 30
    # 64 rows of 64 bits at 130 nm and 1.2 V are 39.05 pJ in IHP's Liberty file; here 180 nm and 1.8 V.
    dynamic = events * 39.05e-12 * (180 / 130) * (1.8 / 1.2) ** 2
    assert rows["fc1.weights"]["dynamic_j"] == pytest.approx(dynamic, rel=1e-3)
    dynamic = rows["fc1.weights"]["dynamic_j"]
    seconds = activity.cycles / (options.clock_mhz * 1e6)
    both = dynamic + rows["counter.counts"]["dynamic_j"]
    leakage = (64 * 64 + 16 * 8) * 12.1e-12
    assert power.memory_w == pytest.approx(both / seconds + leakage)
    summary = power.summary()
    parts = sum(row["energy_per_inference_j"] for row in summary["by_block"].values())
    assert parts == pytest.approx(summary["energy_per_inference_j"]["logic"])
    assert parts + power.memory_w * seconds / activity.inferences == pytest.approx(
        summary["energy_per_inference_j"]["total"]
    )
    assert summary["energy_per_sop_j"]["total"] == pytest.approx(
        summary["energy_per_inference_j"]["total"] * activity.inferences / 1000
    )
    assert power.internal_w > 0
    assert summary["label"]["memory"].startswith(
        "assumed: read: IHP SG13G2 SRAM macros x 3.12 (from 130 nm, 1.2 V to 180 nm"
    )
    # Dynamic energy does not depend on the clock: at half the clock the power is half, but for the leakage.
    half, _ = measure(netlist, libraries, plain, SynthOptions(clock_mhz=25), workload, folder, images=folder)
    assert half.internal_w + half.switching_w == pytest.approx((power.internal_w + power.switching_w) / 2, rel=1e-4)
    assert half.leakage_w == pytest.approx(power.leakage_w, rel=1e-6)


def test_expected_words_are_compared(tmp_path):
    netlist, libraries, *_ = map_text(ECHO, "echo", tmp_path)
    stimulus = write(tmp_path / "items.mem", ITEMS)

    def run(expected):
        path = write(tmp_path / "expected.mem", expected)
        workload = Workload(stimulus=stimulus, name="items", expected={"events_out": path})
        return play(netlist, libraries, workload, tmp_path, images=tmp_path)

    assert [word for _, word in run(ITEMS).outputs["events_out"]] == ITEMS
    with pytest.raises(SpikeloomError, match=r"events_out differs from .*expected\.mem: word 2 is 1, expected 3"):
        run([1, 2, 3, *ITEMS[3:]])
    with pytest.raises(SpikeloomError, match="delivered 7 words, expected 6"):
        run(ITEMS[:-1])


def test_warm_up_is_not_measured(tmp_path):
    netlist, libraries, *_ = map_text(ECHO, "echo", tmp_path)
    stimulus = write(tmp_path / "items.mem", [0x1, 0x2, 0x1, 0x2, 0x0, 0x0, 0xC])
    workload = Workload(stimulus=stimulus, name="items", warmup=4)
    activity = play(netlist, libraries, workload, tmp_path, images=tmp_path)
    # Items 4, 5 and 6 and the cycle that shows the last one; what was shown before still falls into the first.
    assert activity.cycles == 4
    low = netlist.ports["events_out__payload"][1][1]
    assert activity.nets[low][0] * 4 == pytest.approx(1)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ("", "the stimulus holds no item"),
        ("1\n2\n", r"no item has the `last` flag \(bit 3\), so no input ends"),
        ("1\nxyz\n", "line 2: 'xyz' is not a hexadecimal word"),
        ("1\n10\n", "line 2: '10' has more than the 4 bits of events_in"),
        ("1\n100000001\n", "line 2: item for stream 1; the design has events_in"),
    ],
)
def test_bad_stimulus(tmp_path, items, message):
    netlist, libraries, *_ = map_text(ECHO, "echo", tmp_path)
    path = tmp_path / "items.mem"
    path.write_text(items)
    with pytest.raises(InputError, match=r"items\.mem: " + message):
        play(netlist, libraries, Workload(stimulus=path, name="items"), tmp_path, images=tmp_path)


def test_stimulus_is_missing(tmp_path):
    with pytest.raises(InputError, match=r"none\.mem: stimulus cannot be read"):
        read_stimulus(tmp_path / "none.mem", {"events_in": 4})


def test_design_that_stops_answering(tmp_path):
    """It takes one item, then neither takes nor sends."""
    text = ECHO.replace("assign events_in__ready = 1;", "assign events_in__ready = events_out__payload != 3;")
    text = text.replace("events_out__valid <= events_in__valid;", "events_out__valid <= 0;")
    netlist, libraries, *_ = map_text(text, "echo", tmp_path)
    workload = Workload(stimulus=write(tmp_path / "items.mem", [0x1, 0x3, 0x3, 0xC]), name="items")
    with pytest.raises(SpikeloomError, match=r"stuck after \d of 4 items, 0 of 1 inferences"):
        play(netlist, libraries, workload, tmp_path, images=tmp_path, patience=50)


def test_design_without_streams(tmp_path):
    text = "module plain(input clk, output reg q);\n  always @(posedge clk) q <= !q;\nendmodule\n"
    netlist, libraries, *_ = map_text(text, "plain", tmp_path)
    with pytest.raises(InputError, match="plain: has no stream events_in, so no workload can be played"):
        play(netlist, libraries, Workload(stimulus=tmp_path / "x", name="x"), tmp_path, images=tmp_path)


def test_falling_edge_is_refused(tmp_path):
    text = ECHO.replace("posedge clk", "negedge clk")
    netlist, libraries, *_ = map_text(text, "echo", tmp_path)
    stimulus = write(tmp_path / "items.mem", ITEMS)
    with pytest.raises(SpikeloomError, match="not clocked by the rising edge of the clock port"):
        play(netlist, libraries, Workload(stimulus=stimulus, name="items"), tmp_path, images=tmp_path)


@pytest.mark.parametrize(
    ("rows", "read", "write"),
    [(64, 39.0507, 50.4983), (256, 49.634, 63.4365), (1024, 91.8272, 110.9189), (2048, 122.394, 155.3678)],
)
def test_memory_energy_of_the_reference(rows, read, write):
    """Against the `rise_power` of the macros' Liberty files themselves (64 bits, picojoule)."""
    memory = Memory(instance="m", module="spikeloom_sram_1r1w", width=64, depth=rows, address=11)
    macro = model_of("sg13g2_stdcell", 1.2).macro(memory)
    assert macro.read_pj == pytest.approx(read, rel=0.15)
    assert macro.write_pj == pytest.approx(write, rel=0.15)


def model_of(library: str, voltage: float, **options) -> MacroModel:
    """The estimate of memories beside a library of that name."""
    named = dataclasses.replace(read_liberty(TINY), name=library, voltage=voltage, pdk=pdk_of_library(library))
    return MacroModel.of(named, SynthOptions(**options))


def test_memory_energy_given():
    model = model_of("odd", 1.0, memory_read_pj_per_bit=0.5, memory_write_pj_per_bit=0.25, memory_leakage_pw_per_bit=2)
    macro = model.macro(Memory(instance="m", module="spikeloom_rom", width=8, depth=100, address=7))
    assert (macro.read_pj, macro.write_pj) == (4, 2)
    assert macro.leakage_w == pytest.approx(1600e-12)
    assert model.energy_label() == "assumed: read: 0.5 pJ per bit; write: 0.25 pJ per bit; leakage: 2 pW per bit"
