"""The compute-in-memory core against the reference: every spike and potential, whatever the arrays and the stalls."""

import dataclasses
import itertools
import random
import re
import subprocess
from importlib import resources
from typing import ClassVar

import numpy as np
import pytest
from amaranth.sim import Simulator

from core_bench import check_core, check_cycles, check_memories, play, run_core
from graph_networks import random_graph
from networks import network_of, random_spec, random_spikes
from projects import of_network
from spikeloom.blocks.sram import Sram, verilog_body
from spikeloom.config import CimConfig
from spikeloom.cores.cim.engine import CimEngine
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.mapping.cim import SLOT_DEPTH, CimPlan, place_cim
from spikeloom.mapping.cim_cost import CimCost, CimReport
from spikeloom.mapping.cim_energy import EnergyParameters, energy_pj
from spikeloom.mapping.image import image_words
from spikeloom.mapping.plan import plan_core
from spikeloom.network.reference import simulate
from spikeloom.project import Project
from spikeloom_sim.flow import SimulationOptions, simulate_build
from spikeloom_synth.report import write_report
from spikeloom_synth.report_cim import sequential_cycles

RESETS = ("zero", "subtract", "delayed_zero", "delayed_subtract", "none")


def cim(**keys) -> CimConfig:
    return CimConfig(kind="cim", probe=True, **keys)


@pytest.mark.parametrize(("seed", "sequential"), [(seed, seed % 3 == 2) for seed in range(30)])
def test_random_networks(seed, sequential):
    """Odd shapes, every reset, decays from 1 to beyond the potentials, biases, kept states, tiles, banks, stalls."""
    rng = random.Random(seed)
    sizes = [rng.randint(1, 23) for _ in range(rng.randint(2, 3))]
    readout = rng.random() < 0.3
    specs = []
    for n, (fan_in, neurons) in enumerate(itertools.pairwise(sizes)):
        bits = rng.choice([2, 3, 5, 6, 8])
        top = (1 << bits - 1) - 1
        leak = rng.choice([("none",), ("linear", 1), ("linear", rng.randint(1, top)), ("linear", top + 1)])
        specs.append(
            random_spec(
                rng, fan_in=fan_in, neurons=neurons, leak=leak, reset=rng.choice(RESETS), bias=rng.random() < 0.4,
                weight_bits=rng.choice([1, 2, 4, 5]), potential_bits=bits, theta=rng.randint(1, top),
                r=rng.randint(1, top), readout=readout and n == len(sizes) - 2,
            )
        )  # fmt: skip
    network = network_of(specs, state=rng.choice(["clear", "keep"]))
    arrays = {
        "array_rows": rng.choice([32, 48, 1024]),
        "array_columns": rng.choice([1, 5, 256]),
        "banks": rng.choice([1, 1, 2, 4]),
    }
    words = {"update": "sequential", "ports": rng.choice(["1rw", "1r1w"]), "lanes": rng.choice([1, 2, 5, 40])}
    core = cim(
        readout=rng.choice(["last", "tick"]), queue_depth=rng.choice(["auto", 2]), **(words if sequential else arrays)
    )
    play(network, core, random_spikes(seed, 3, 5, sizes[0]), stall=rng.choice([0, 0, 3]), seed=seed)


@pytest.mark.parametrize(("seed", "sequential"), [(seed, seed % 3 == 1) for seed in range(15)])
def test_cost_model_is_exact(seed, sequential):
    """Cycles of every input, alone and back to back, with and without probes, read-outs, tiles, banks, biases."""
    rng = random.Random(seed)
    sizes = [rng.randint(1, 14), rng.randint(1, 14), rng.randint(1, 9)]
    specs = [
        random_spec(
            rng, fan_in=fan_in, neurons=neurons, leak=rng.choice([("none",), ("linear", 2)]), reset=rng.choice(RESETS),
            bias=rng.random() < 0.3, weight_bits=3, potential_bits=rng.choice([2, 5]),
            readout=n == 1 and seed % 3 == 0,
        )
        for n, (fan_in, neurons) in enumerate(itertools.pairwise(sizes))
    ]  # fmt: skip
    network = network_of(specs)
    arrays = {"array_rows": rng.choice([24, 1024]), "banks": rng.choice([1, 2, 4])}
    words = {"update": "sequential", "ports": rng.choice(["1rw", "1r1w"]), "lanes": rng.choice([1, 2, 5])}
    core = CimConfig(
        kind="cim", probe=seed % 2 == 0, queue_depth=rng.choice(["auto", 3]), **(words if sequential else arrays)
    )
    spikes = random_spikes(seed, 3, 4, sizes[0])
    plan = plan_core(network, core, steps=4)
    check_cycles(plan, CimCost(network, core, steps=4), spikes, simulate(network, spikes), rest=80)


@pytest.mark.parametrize(("tiles", "banks"), [(1, 1), (4, 2)])
def test_loaded_networks(tiles, banks):
    """Weights, biases and parameters arrive through the load port, another network before each input."""
    rng = random.Random(tiles)
    core = cim(weights="loaded", parameters="loaded", banks=banks, array_rows=1024 if tiles == 1 else 25)
    specs = [
        [
            random_spec(rng, fan_in=13, neurons=n, leak=("linear", d), reset="subtract", bias=True, theta=9, r=r),
            random_spec(rng, fan_in=n, neurons=3, leak=("linear", d), reset="zero", bias=True),
        ]
        for n, d, r in ((7, 3, 4), (7, 1, 9))
    ]
    nets = [network_of(layers) for layers in specs]
    widest = max(nets, key=lambda net: max(int(layer.accumulator_bits().max()) for layer in net.layers))
    plan = plan_core(widest, CimConfig(**{**vars(core), "bits": 10}), steps=4)
    assert (plan.layers[0].tiles, plan.layers[0].banks) == (tiles, banks)
    spikes = random_spikes(3, 2, 4, 13)
    for order in (nets, nets[::-1]):
        run = run_core(plan, spikes, images={b: image_words(plan, net) for b, net in enumerate(order)}, stall=2)
        traces = [simulate(net, spikes[b : b + 1], potentials=True) for b, net in enumerate(order)]
        np.testing.assert_array_equal(run.spikes, np.concatenate([trace.spikes[-1] for trace in traces]))
        for index, layer in enumerate(("fc1", "fc2")):
            shown = np.array([[int(v) for v in p.values] for p in run.probes[layer]])
            potentials = np.concatenate([trace.potentials[index][0] for trace in traces])
            np.testing.assert_array_equal(shown, potentials)


def layer(**keys):
    return random_spec(random.Random(0), **{"fan_in": 30, "neurons": 4, "leak": ("linear", 2), **keys})


@pytest.mark.parametrize(
    ("specs", "keys", "message"),
    [
        ([layer()], {"bits": 6}, r"core.bits: 6 was given; layer 'fc1' needs [89] for its weights"),
        ([layer(leak=("linear", 256))], {}, r"layer 'fc1': a decay of 256 is beyond its [89]-bit potentials"),
        (
            [layer(leak=("shift", 3))],
            {},
            r"layer 'fc1': leak shift 3: .*none and linear: \[quantise\] leak = .linear.",
        ),
        (
            [layer()],
            {"array_rows": 8},
            r"core.array_rows: 8 was given; layer 'fc1' needs 1\d rows even with one weight",
        ),
        ([layer()], {"array_columns": 1, "arrays": 3}, r"core.arrays: 3 was given; the network takes 4 .*fc1 4"),
    ],
)
def test_refused(specs, keys, message):
    with pytest.raises(InputError, match=message):
        plan_core(network_of(specs), cim(**keys), steps=1)


def test_other_kinds_are_refused():
    graph = random_graph(3, chain=True)
    plain = [entry.is_plain for entry in graph.layers]
    assert not all(plain)
    with pytest.raises(InputError, match=f"layer '{graph.layers[plain.index(False)].name}'"):
        plan_core(graph, cim(), steps=1)


def test_arrays_and_memories():
    """Tiles, banks and pieces cover every source and neuron once; the export has the arrays that the model lists."""
    network = network_of([layer(neurons=11, bias=True)])
    core = cim(array_rows=32, array_columns=4, banks=2)
    plan = plan_core(network, core, steps=2)
    (entry,) = plan.layers
    assert isinstance(entry, CimPlan)
    assert (entry.tiles, len(entry.arrays)) == (4, 4 * 2 * 3)
    assert all(array.rows <= 32 for array in entry.arrays)
    weights = np.zeros((11, 30), np.int64)
    for array in entry.arrays:
        rows = np.array([[row >> n & 1 for n in range(array.columns)] for row in entry.contents(array)])
        sources = range(array.tile * 2 + array.bank, 30, 8)
        for place, source in enumerate(sources):
            at = (0 if array.bank else entry.bits) + 4 * place
            word = (rows[at : at + 4] * np.array([1, 2, 4, -8])[:, None]).sum(axis=0)
            weights[array.first : array.first + array.columns, source] += word
    np.testing.assert_array_equal(weights, network.layers[0].connections[0].weights)
    check_memories(plan, CimCost(network, core, steps=2))


@pytest.mark.parametrize("fault", ["conflict", "beyond"])
def test_array_asserts_its_protocol(fault):
    """Reading a row that is being written, or one that does not exist, ends a simulation."""
    array = Sram(name="a", depth=5, width=3, port_type="cim")

    async def bench(ctx):
        ctx.set(array.w_en, 1)
        ctx.set(array.w_addr, 2 if fault == "conflict" else 5)
        ctx.set(array.r2_en, 1)
        ctx.set(array.r2_addr, 2)
        await ctx.delay(3e-6)

    sim = Simulator(array)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    with pytest.raises(AssertionError):
        sim.run()


@pytest.mark.parametrize(("row", "said"), [("3'd2", "row 2 is read while it is written"), ("3'd5", "no such row: 2")])
def test_exported_array_asserts_its_protocol(row, said, need_tool, tmp_path):
    need_tool("iverilog")
    (tmp_path / "array.v").write_text(verilog_body("cim"))
    (tmp_path / "bench.v").write_text(
        "module bench; reg clk = 0; wire [2:0] a, b;"
        "spikeloom_cim_array #(.WIDTH(3), .DEPTH(5), .ADDRESS(3)) array (.clk(clk), .r_en(1'b1), .r_addr(3'd2),"
        f".r_data(a), .r2_en(1'b0), .r2_addr(3'd0), .r2_data(b), .w_en(1'b1), .w_addr({row}), .w_data(3'd0),"
        ".w_mask(3'd7)); initial begin #1 clk = 1; #1 $finish; end endmodule"
    )
    subprocess.run(["iverilog", "-g2012", "-o", "sim", "array.v", "bench.v"], cwd=tmp_path, check=True)
    done = subprocess.run(["vvp", "sim"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0
    assert said in done.stdout


class _Watched(Simulator):
    """Counts what happens at the ports of every memory named in `memories`."""

    memories: ClassVar[list[Sram]] = []
    counts: ClassVar[dict[str, int]] = {}

    def run(self):
        watched = [each for each in self.memories if ".array" in each.record.name or ".pot" in each.record.name]
        watched += [each for each in self.memories if ".weights" in each.record.name]

        async def watch(ctx):
            while True:
                await ctx.tick()
                for each in watched:
                    columns, words = each.record.width, ".array" not in each.record.name
                    weights = ".weights" in each.record.name
                    for port in ("r_en", "r2_en", "w_en"):
                        if hasattr(each, port) and ctx.get(getattr(each, port)):
                            kind = {"r_en": "weight_rows" if weights else "sum_rows", "r2_en": "weight_rows"}
                            self.counts[kind.get(port, "sum_writes")] += 1
                            if port != "w_en":
                                self.counts["read_swings"] += columns
                            else:
                                mask = columns if words else ctx.get(each.w_mask).bit_count()
                                self.counts["write_swings"] += mask

        async def rest(ctx):  # the last pass goes on when the last tick has left
            await ctx.delay(2000e-6)

        self.add_testbench(watch, background=True)
        self.add_testbench(rest)
        super().run()


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"array_rows": 32, "banks": 2},
        {"update": "sequential", "lanes": 3},
        {"update": "sequential", "ports": "1rw"},
    ],
    ids=["one array", "tiles and banks", "lanes", "1rw"],
)
def test_activity_is_what_the_ports_do(keys, monkeypatch):
    """Row activations and swings of the cost model, counted at the ports of the memories; writes at most its figure."""
    _Watched.memories = []
    _Watched.counts = dict.fromkeys(("sum_rows", "weight_rows", "sum_writes", "read_swings", "write_swings"), 0)

    class Kept(Sram):
        def __init__(self, **options):
            super().__init__(**options)
            _Watched.memories.append(self)

    monkeypatch.setattr("spikeloom.cores.cim.engine.Sram", Kept)
    monkeypatch.setattr("spikeloom.cores.cim.sequential.Sram", Kept)
    monkeypatch.setattr("spikeloom.cores.ports.Sram", Kept)
    monkeypatch.setattr("core_bench.Simulator", _Watched)
    network = network_of([layer(neurons=7, reset="subtract")])
    core = CimConfig(kind="cim", **keys)
    spikes = random_spikes(5, 1, 6, 30)
    _, _ = play(network, core, spikes)
    trace = simulate(network, spikes)
    (report,) = CimCost(network, core, steps=6).cycles(spikes, trace.spikes)[0].layers
    counted = _Watched.counts
    for kind in ("sum_rows", "weight_rows", "sum_writes", "read_swings"):
        assert getattr(report, kind) == counted[kind], kind
    assert 0 < counted["write_swings"] <= report.write_swings + 7 * report.add_passes


@pytest.mark.parametrize(("banks", "rows"), [(1, 1024), (2, 1024), (4, 1024), (8, 1024), (1, 32), (2, 32)], ids=str)
def test_conflicts_are_what_the_banks_see(banks, rows, monkeypatch):
    """Cycles in which a spike stands in front of a full bank while another has room, counted inside the engine."""
    seen: dict[str, int] = {}
    waits: dict[str, int] = {}
    entrances = []
    dispatch = CimEngine._dispatch

    def kept(engine, m, slots, item, *, start_tick):
        entrances.append((engine.plan, slots, item))
        dispatch(engine, m, slots, item, start_tick=start_tick)

    class Counting(Simulator):
        def run(self):
            async def watch(ctx):
                while True:
                    await ctx.tick()
                    for plan, slots, item in entrances:
                        if not ctx.get(item.valid & ~item.p.tick & ~item.ready):
                            continue
                        levels = [ctx.get(slot._level) for slot in slots]
                        assert levels[ctx.get(item.p.address) % len(slots)] == SLOT_DEPTH
                        waits[plan.name] = waits.get(plan.name, 0) + 1
                        seen[plan.name] = seen.get(plan.name, 0) + (min(levels) < SLOT_DEPTH)

            self.add_testbench(watch, background=True)
            super().run()

    monkeypatch.setattr(CimEngine, "_dispatch", kept)
    monkeypatch.setattr("core_bench.Simulator", Counting)
    network = network_of([layer(neurons=16, theta=3), layer(fan_in=16, neurons=5)])
    core = CimConfig(kind="cim", banks=banks, array_rows=rows)
    spikes = random_spikes(banks, 4, 5, 30)
    model, trace = CimCost(network, core, steps=5), simulate(network, spikes)
    run_core(model.plan, spikes, rest=300)
    told: dict[str, int] = {}
    for report in model.cycles(spikes, trace.spikes):
        for each in report.layers:
            assert isinstance(each, CimReport)
            told[each.name] = told.get(each.name, 0) + each.conflicts
    assert told == {name: seen.get(name, 0) for name in told}
    assert waits["fc1"] > 0
    # Neighbours lie in different banks, and one bank is never alone with its spikes.
    slots = {plan.name: plan.slots_in for plan, *_ in entrances}
    assert (told["fc1"] > 0) == (slots["fc1"] > 1)


def test_energy(tmp_path):
    """By hand, for one spike of a network of one array; and a file of parameters takes the place of the defaults."""
    spec = layer(neurons=4, fan_in=2) | {"weights": [[1, 1]] * 4, "weight_bits": 2, "theta": 20}
    network, core = network_of([spec]), CimConfig(kind="cim", bits=8)
    spikes = np.array([[[1, 0]]], np.uint8)
    model = CimCost(network, core, steps=1)
    (report,) = model.cycles(spikes, simulate(network, spikes).spikes)
    text = (resources.files("spikeloom.mapping") / "cim_energy.toml").read_text()
    for key, value in {"row_pj": 100, "read_pj_per_bit": 2, "write_pj_per_bit": 3, "column_pj": 5}.items():
        text = re.sub(rf"\[{key}\]\nvalue = .*", f"[{key}]\nvalue = {value}", text)
    (tmp_path / "mine.toml").write_text(text)
    found = energy_pj(model.plan, report, EnergyParameters.read(tmp_path / "mine.toml"))
    # add: 8 rows of sums and 2 of a weight read, 8 written; compare: 8 read; decay: 8 read, 8 written; 4 columns.
    assert found["rows"] == 100 * (8 + 2 + 8 + 8 + 8 + 8)
    assert found["bitlines"] == 4 * (2 * (8 + 2 + 8 + 8) + 3 * (8 + 8))
    assert found["columns"] == 4 * 5 * (8 + 8 + 8)
    assert found["total"] == pytest.approx(sum(found[part] for part in ("rows", "bitlines", "columns", "standing")))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 18.4", "value = -1", r"row_pj: -1 was given; accepted is a number of at least 0"),
        ("value = 100.0", "value = 0", r"clock_mhz: 0 was given; accepted is a number above 0"),
        ("[row_pj]", "[row]", r"row, row_pj: missing or unknown; accepted are read_pj_per_bit, "),
        ("schema = 1", "schema = 2", r"schema: accepted is 1"),
    ],
)
def test_refused_parameters(old, new, message, tmp_path):
    text = (resources.files("spikeloom.mapping") / "cim_energy.toml").read_text()
    assert old in text
    (tmp_path / "bad.toml").write_text(text.replace(old, new))
    with pytest.raises(InputError, match=message):
        EnergyParameters.read(tmp_path / "bad.toml")


def cim_project(folder, **keys) -> Project:
    specs = [layer(fan_in=12, neurons=9, reset="subtract"), layer(fan_in=9, neurons=4, reset="subtract")]
    project = of_network(network_of(specs), folder, name="tiny")
    config = dataclasses.replace(project.config, core=CimConfig(kind="cim", **keys))
    changed = dataclasses.replace(project, config=config)
    changed.__dict__["quantised"] = project.quantised  # what it caches
    return changed


def test_report_shows_where_sequential_updates_cross(tmp_path):
    project = cim_project(tmp_path)
    manifest = elaborate(project, tmp_path / "build")
    page = write_report(tmp_path / "build").read_text()
    placed = max(manifest["cost"]["layers"], key=lambda entry: entry["cycles_per_empty_step"])
    tick = placed["cycles_per_empty_step"]
    assert tick == 3 * placed["bits"]
    assert f"takes longer from {tick} neurons (1r1w), {tick // 2 + 1} neurons (1rw)" in page
    (words,) = place_cim(network_of([layer(neurons=50)]), cim(update="sequential", lanes=8))
    assert words.sweep == sequential_cycles(50, lanes=8)


@pytest.mark.slow
@pytest.mark.cosim
@pytest.mark.parametrize(
    "keys",
    [
        {"weights": "loaded", "parameters": "loaded", "array_rows": 40, "array_columns": 4, "banks": 2},
        {"update": "sequential", "ports": "1rw", "lanes": 2},
    ],
    ids=["arrays", "words"],
)
def test_exported_core(keys, need_tool, tmp_path):
    """Compiled RTL: spikes, decisions, potentials and, without pauses, cycles."""
    need_tool("verilator")
    project = cim_project(tmp_path, **keys)
    folder = tmp_path / "build"
    manifest = elaborate(project, folder)
    assert "fc1" in {layer["name"] for layer in manifest["layers"]}
    for stall in (0, 30):
        result = simulate_build(project, folder, SimulationOptions(inputs=20, stall=stall, potentials=True))
        assert {count for count in result["mismatches"].values() if count is not None} == {0}
        assert result["mismatches"]["potentials"] == 0


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_shortest_ticks(steps):
    """Potentials of two bits that need no pass behind the compare: ticks follow each other as fast as they ever do."""
    spec = layer(fan_in=2, neurons=3, leak=("none",), theta=1) | {"potential_bits": 2, "weights": [[0, 0]] * 3}
    network = network_of([spec])
    plan = plan_core(network, CimConfig(kind="cim"), steps=steps)
    assert (plan.layers[0].bits, plan.layers[0].passes) == (2, (("compare", 0),))
    spikes = np.zeros((5, steps, 2), np.uint8)
    run = run_core(plan, spikes)
    check_core(plan, spikes, run, simulate(network, spikes))
