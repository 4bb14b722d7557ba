"""Virtual cores with analog engines: gateware, models and recordings give the same integers, whatever the stalls."""

import itertools
import json

import nir
import numpy as np
import pytest

from core_bench import check_core, check_cycles, check_memories, run_core
from projects import write_config
from spikeloom.chip import chip_files
from spikeloom.config import VirtualConfig
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.export import elaborate
from spikeloom.mapping.plan import plan_core
from spikeloom.mapping.virtual_cost import VirtualCost
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.project import Inputs, Project
from spikeloom.vectors import expected_streams, load_flag, stimulus_words
from spikeloom_analog.virtual import EngineParameters, virtual_chips
from spikeloom_analog.virtual.port import EnginePort, Request, requests
from spikeloom_sim.batch import simulated
from spikeloom_sim.flow import SimulationOptions, run_bench, simulate_build
from spikeloom_synth.flow import SynthOptions, synthesise

STEPS = 4
NOISY = EngineParameters(comparator_noise=4e-3, noise_limit=4.0)


def network(seed=0, *, reset="zero") -> IntegerNetwork:
    """A convolution and two dense layers."""
    rng = np.random.default_rng(seed)
    kinds = {"weight_bits": 8, "potential_bits": 12, "reset": reset, "leak": Leak(kind="shift", shifts=(2,))}
    kernel = Connection(
        weights=rng.integers(-40, 90, (3, 2, 3, 3)), source_shape=(2, 6, 6), stride=(2, 2), padding=(1, 1)
    )
    sparse = rng.integers(-60, 110, (17, 27)) * (rng.random((17, 27)) < 0.5)
    dense = Connection(weights=sparse, source_shape=(3, 3, 3))
    return IntegerNetwork(
        name="tiny",
        layers=(
            IntegerLayer(name="conv", connections=(kernel,), threshold=120, **kinds),
            IntegerLayer(name="fc1", connections=(dense,), threshold=150, **kinds),
            IntegerLayer.dense(name="fc2", weights=rng.integers(-90, 110, (5, 17)), threshold=130, **kinds),
        ),
    )


def planned(made=None, **core):
    core = {"engines": 4, "engine": "analog"} | core
    return plan_core(network() if made is None else made, VirtualConfig(kind="virtual", **core), steps=STEPS)


def inputs(seed=1, batch=3):
    return (np.random.default_rng(seed).random((batch, STEPS, 72)) < 0.25).astype(np.uint8)


def python_behind(chips, asked: dict):
    """Testbenches that answer the ports of all cores of a chip; `asked` gets the requests."""
    layers = {name: sum(p.share.core == name for p in chips.plans) for name in chips.engines}

    def behind(dut):
        def bench(name):
            port, found = EnginePort(chips.engines[name], layers=layers[name]), asked.setdefault(name, [])
            wires = getattr(dut, f"analog_{name}")
            members = [wires.fires, wires.clears, wires.layer, wires.step, wires.takes]
            members += [wires.slot.as_value(), wires.code.as_value()]

            async def answer(ctx):
                while True:
                    *_, rst, go, fires, clears, layer, step, takes, slot, code = await ctx.tick().sample(
                        wires.go, *members
                    )
                    if rst or not go:
                        # What stands on the lines without a request is nobody's answer.
                        ctx.set(wires.fired, (1 << port.bits.engines) - 1)
                        continue
                    request = Request(
                        layer=layer, step=step, fires=fires, clears=clears, takes=takes, slot=slot, code=code
                    )
                    found.append(request)
                    ctx.set(wires.fired, port.clock(go=1, request=request))

            return answer

        return [bench(name) for name in chips.engines]

    return behind


@pytest.mark.parametrize(
    ("core", "reset"),
    [
        ({}, "zero"),
        ({"cores": "one"}, "subtract"),
        ({"engines": 2, "slots": 5}, "zero"),
        ({"engines": 1, "cores": [0, 1, 0]}, "zero"),
        ({"engines": 2, "queue_depth": 2}, "subtract"),
    ],
    ids=["cores", "one core", "passes", "one engine", "short queues"],
)
def test_gateware_against_the_chip(core, reset):
    """Spikes, and every request, with noise, without and with stalls."""
    plan = planned(network(reset=reset), **core)
    chips = virtual_chips(plan, seeds=[6], parameters=NOISY)
    spikes = inputs()
    trace, fired = chips.trace(spikes), [layer[0] for layer in chips.run(spikes)]
    expected = requests(chips, spikes, fired)
    for stall in (0, 5, 40):
        asked: dict = {}
        run = run_core(plan, spikes, stall=stall, ordered=True, behind=python_behind(chips, asked))
        check_core(plan, spikes, run, trace)
        for name, layers in expected.items():
            for n, rows in enumerate(layers):
                ours = [request for request in asked[name] if request.layer == n]
                assert ours[: len(rows)] == rows
                assert len(ours) == len(rows)
    assert all(0 < layer.sum() < layer.size for layer in fired)


@pytest.mark.parametrize("core", [{}, {"cores": "one"}, {"engines": 2, "slots": 5}], ids=["cores", "one", "passes"])
def test_cycles_and_memories(core):
    """A sweep takes a cycle more than with digital engines, and there are no membranes."""
    made = network()
    plan = planned(made, **core)
    chips = virtual_chips(plan, parameters=NOISY)
    spikes = inputs()
    model = VirtualCost(made, plan.core, steps=STEPS)
    check_cycles(
        plan, model, spikes, chips.trace(spikes), rest=3000, ordered=True,
        behind=lambda dut: python_behind(chips, {})(dut),
    )  # fmt: skip
    check_memories(plan, model)
    assert not any("membrane" in memory.name for memory in model.memories)


@pytest.mark.parametrize(
    ("core", "message"),
    [
        ({"probe": True}, "core.probe: true was given; accepted with core.engine = 'analog': false"),
        ({"parameters": "loaded"}, "core.parameters: 'loaded' was given; accepted with .* 'fixed'"),
    ],
)
def test_what_analog_engines_do_not_have(core, message):
    with pytest.raises(InputError, match=message):
        planned(**core)


# ---- as users get it ----


def project(folder, **core) -> Project:
    """Two dense layers from a NIR file."""
    rng = np.random.default_rng(3)
    nodes: dict = {"input": nir.Input(np.array([12]))}
    for n, (wide, high) in enumerate(((12, 9), (9, 4))):
        nodes[f"fc{n}"] = nir.Linear(rng.uniform(-0.3, 0.7, (high, wide)))
        nodes[f"lif{n}"] = nir.LIF(
            tau=np.full(high, 4.0), r=np.full(high, 4.0), v_leak=np.zeros(high), v_threshold=np.ones(high),
            v_reset=np.zeros(high),
        )  # fmt: skip
    nodes["output"] = nir.Output(np.array([4]))
    names = list(nodes)
    nir.write(folder / "net.nir", nir.NIRGraph(nodes=nodes, edges=list(itertools.pairwise(names))))
    (folder / "circuit.toml").write_text("schema = 1\ncomparator_noise = 4e-3\nnoise_limit = 4.0\n")
    sections = {
        "name": "tiny", "network": {"file": "net.nir", "dt": 1.0, "reset": "zero"}, "input": {"steps": 5},
        "core": {"kind": "virtual", "engine": "analog", "engines": 3, "chip": 5, "circuit": "circuit.toml"} | core,
    }  # fmt: skip
    return Project.load(write_config(folder / "tiny.toml", sections))


def unseen(batch=4, seed=9):
    """Inputs that no export has seen."""
    return (np.random.default_rng(seed).random((batch, 5, 12)) < 0.4).astype(np.uint8)


def test_export_stands_alone(tmp_path):
    """Three folders of engines with the same ports; the manifest says what the chip is; the same bytes again."""
    manifest = elaborate(project(tmp_path), tmp_path / "build")
    heads = set()
    for folder in ("chip", "chip/replay", "chip/black_box"):
        text = (tmp_path / "build" / folder / "tiny_fc0_engines.v").read_text()
        heads.add(text[text.index("module tiny_fc0_engines") : text.index(");")])
    assert len(heads) == 1
    first = manifest["chip"]["cores"][0]
    assert (first["name"], first["engines"], first["slots"], first["layers"]) == ("fc0", 3, 3, ["fc0"])
    assert manifest["chip"]["seed"] == 5
    assert not any(port["name"].startswith("analog_") for port in manifest["chip"]["ports"])
    again = elaborate(project(tmp_path), tmp_path / "again")
    assert again["content"] == manifest["content"]


def test_a_circuit_that_cannot_be_read_is_told_before_anything_is_written(tmp_path):
    made = project(tmp_path)
    (tmp_path / "circuit.toml").write_text("schema = 1\nsupply = 0.5\n")
    with pytest.raises(InputError, match=r"tiny.toml: core: .*circuit.toml: supply: 0.5 V was given"):
        elaborate(made, tmp_path / "build")
    assert not (tmp_path / "build").exists()


@pytest.mark.cosim
@pytest.mark.parametrize("engine", ["icarus", "verilator"])
@pytest.mark.parametrize("cores", ["layer", "one"])
def test_python_model_and_recording_agree(tmp_path, engine, cores):
    """The core in cocotb, on inputs that no export has seen, without and with stalls; noise is on."""
    made = project(tmp_path, cores=cores)
    build = tmp_path / "build"
    manifest = elaborate(made, build)
    spikes, plan, plays = unseen(), made.plan, []
    trace = made.virtual_chips.trace(spikes)
    assert 0 < trace.spikes[-1].sum() < trace.spikes[-1].size
    for n, stall in enumerate((0, 30, 75)):
        vectors = {
            "load_flag": load_flag(plan.input_slots.bits), "stimulus": stimulus_words(plan, spikes), "stream": ([], []),
            "streams": expected_streams(plan, trace), "probes": [], "idle": [], "commands": {}, "outcomes": {},
            "stall": stall, "seed": n, "settle": plan.settle, "report": str(tmp_path / f"report{n}.json"),
        }  # fmt: skip
        (tmp_path / f"vectors{n}.json").write_text(json.dumps(vectors))
        plays.append(
            {
                "SPIKELOOM_VECTORS": str(tmp_path / f"vectors{n}.json"),
                "SPIKELOOM_PROJECT": str(tmp_path / "tiny.toml"),
            }
        )

    def run(kind: str, module: str, sources, top: str, data, ports):
        work = tmp_path / kind
        work.mkdir()
        for n in range(3):
            (tmp_path / f"report{n}.json").unlink(missing_ok=True)
        log = run_bench(
            sources=sources, top=top, module=module, engine=engine, work=work, data=data, waves=False, plays=plays,
            ports=ports,
        )  # fmt: skip
        assert all((tmp_path / f"report{n}.json").exists() for n in range(3)), f"{kind}:\n{log[-3000:]}"

    # (a) Python behind the ports.
    rtl = sorted((build / "rtl").glob("*.v"))
    run(
        "python", "spikeloom_sim.virtual_bench", rtl, "tiny", build / "rtl",
        [port["name"] for port in manifest["ports"]],
    )  # fmt: skip
    # (b) the exported model.
    view, sources, data = simulated(build, manifest)
    names = [port["name"] for port in view["ports"]]
    run("model", "spikeloom_sim.digital_bench", sources, "tiny_chip", data, names)
    # (c) the recording, of these inputs.
    given = Inputs(spikes=spikes, current=None, labels=None, values=None, shape=(12,))
    place = tmp_path / "recorded"
    place.mkdir()
    ports = [(port["name"], port["direction"], port["bits"]) for port in manifest["ports"]]
    for name, text in chip_files(made, ports, given).items():
        folder, _, file = name.rpartition("/")
        if folder == "chip/replay" or file == "tiny_chip.v":
            (place / file).write_text(text)
    for image in (build / "rtl").glob("*.mem"):
        (place / image.name).write_bytes(image.read_bytes())
    run("replay", "spikeloom_sim.digital_bench", [*rtl, *sorted(place.glob("*.v"))], "tiny_chip", place, names)


@pytest.mark.cosim
@pytest.mark.parametrize("core", [{}, {"weights": "loaded", "cores": "one"}, {"engines": 2, "slots": 2}])
def test_simulate_command_agrees(tmp_path, core):
    """The batch runner: spikes, decisions and the cycles of the model; tables and weights loaded, several passes."""
    made = project(tmp_path, **core)
    elaborate(made, tmp_path / "build")
    result = simulate_build(made, tmp_path / "build", SimulationOptions(inputs=40))
    assert result["mismatches"] == {"spikes": 0, "decisions": 0, "readouts": None, "potentials": None, "cycles": 0}
    with pytest.raises(InputError, match="potentials: accepted on a core whose neurons are digital"):
        simulate_build(made, tmp_path / "build", SimulationOptions(potentials=True))


@pytest.mark.synth
def test_digital_side_is_synthesised_and_plays_with_the_recording(tmp_path):
    """Area, memories and power of the module without its engines; the netlist gives the words of the bench."""
    given = Inputs(spikes=unseen(3), current=None, labels=None, values=None, shape=(12,))
    elaborate(project(tmp_path), tmp_path / "build", inputs=given)
    result = synthesise(tmp_path / "build", SynthOptions(fpga=()), skip_missing=True)
    assert result["area"]["cells"] > 100
    names = {memory["instance"].split(".")[-1] for memory in result["memories"]["instances"]}
    assert {"events", "dispatch", "weights0"} <= names
    assert not any("membrane" in name for name in names)
    broken = tmp_path / "build/chip/replay/tiny_fc1_rows.mem"
    lines = broken.read_text().splitlines()
    broken.write_text("".join(f"{int(line, 16) & ~7:x}\n" for line in lines))  # nobody ever fires
    with pytest.raises(SpikeloomError, match="events_out differs"):
        synthesise(tmp_path / "build", SynthOptions(fpga=()), skip_missing=True)
    elaborate(project(tmp_path, cores="one"), tmp_path / "shared", inputs=given)
    with pytest.raises(InputError, match=r"core 'fc0_fc1': .* accepted for power: core.cores = 'layer'"):
        synthesise(tmp_path / "shared", SynthOptions(fpga=()), skip_missing=True)
