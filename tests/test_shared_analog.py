"""Tables of memristors behind a converter: the equations, calibration and remapping, and the core that reads them."""

import dataclasses
import itertools
import random

import numpy as np
import pytest

from core_bench import check_cycles, run_core
from networks import network_of
from projects import of_network
from spikeloom.config import SharedConfig
from spikeloom.errors import InputError
from spikeloom.export import elaborate
from spikeloom.mapping.cost_models import cost_model
from spikeloom.mapping.plan import CorePlan, plan_core
from spikeloom.mapping.shared import SharedPlan
from spikeloom.network.integer import IntegerNetwork
from spikeloom.network.reference import simulate
from spikeloom_analog.devices import RRAM, ideal
from spikeloom_analog.shared import TableParameters, program_tables, shared_chips
from spikeloom_analog.shared.port import TablesPort
from spikeloom_sim.flow import SimulationOptions, simulate_build

TABLE = [-7, -3, 0, 5]
QUIET = TableParameters(device=ideal(), read_noise=False, unit_sigma=0.0)


def network(rng: random.Random, sizes=(9, 11, 4)) -> IntegerNetwork:
    specs = [
        {
            "weights": [[rng.choice(TABLE) for _ in range(fan_in)] for _ in range(neurons)],
            "weight_bits": 4, "potential_bits": 8, "bias": [0] * neurons, "leak": ("shift", 2), "reset": "zero",
            "theta": 9, "r": 9,
        }
        for fan_in, neurons in itertools.pairwise(sizes)
    ]  # fmt: skip
    return network_of(specs)


def core(**keys) -> SharedConfig:
    return SharedConfig(kind="shared", **({"engine": "analog", "levels": 4, "lanes": 3} | keys))


def plans_of(plan: CorePlan) -> list[SharedPlan]:
    return [entry for entry in plan.layers if isinstance(entry, SharedPlan)]


def random_spikes(seed: int, network: IntegerNetwork, *, batch: int = 2, steps: int = 4) -> np.ndarray:
    return (np.random.default_rng(seed).random((batch, steps, network.inputs)) < 0.5).astype(np.uint8)


def behind(chips, plan: CorePlan):
    """Testbenches of the Python model behind the analog ports."""

    def answer(port, model):
        async def bench(ctx):
            signals = (port.go, port.layer, port.step, port.drawn.as_value())
            ctx.set(port.code.as_value(), 0)
            while True:
                *_, go, layer, step, drawn = await ctx.tick().sample(*signals)
                ctx.set(port.code.as_value(), model.clock(go=go, layer=layer, step=step, drawn=drawn))

        return bench

    def benches(dut):
        for name, tables in chips.tables.items():
            yield answer(getattr(dut, f"analog_{name}"), TablesPort(tables))

    return benches


READS = [
    {"read": "histogram", "count_bits": 2, "pulse_bits": 1},
    {"read": "histogram", "gangs": "one", "cores": 2},
    {"read": "replicate", "copies": 3, "gangs": "one"},
]


@pytest.mark.parametrize("stall", [0, 3])
@pytest.mark.parametrize("keys", READS)
def test_core_reads_its_tables(keys, stall):
    """Noise, mismatch and errors on: gateware and port against the model of whole layers, whatever waits."""
    net = network(random.Random(1))
    plan = plan_core(net, core(**keys), steps=4)
    parameters = TableParameters(device=RRAM.wan2022(), sigma=0.2, converter_noise=2.0)
    chips = shared_chips(plan, seeds=3, parameters=parameters)
    spikes = random_spikes(2, net)
    # Under stalls events keep their order: it decides which copy, and which block, a spike is in.
    run = run_core(plan, spikes, seed=4, stall=stall, behind=behind(chips, plan), ordered=True)
    fired = chips.trace(spikes).spikes[-1]
    np.testing.assert_array_equal(run.spikes, fired)
    assert (fired != simulate(net, spikes).spikes[-1]).any()  # the errors were felt


@pytest.mark.cosim
@pytest.mark.parametrize(
    "keys",
    [
        {"read": "histogram", "gangs": "one", "cores": 2, "sigma": 0.2},
        {"read": "replicate", "copies": 3, "gangs": "one", "indices": "streamed", "sigma": 0.2},
        {"engine": "digital", "gangs": "one", "cores": 2, "indices": "streamed", "row_latency": 7, "row_buffer": 3},
    ],
    ids=["tables", "copies", "streamed"],
)
def test_exported_models(keys, tmp_path):
    """Tables and index memories as exported Verilog, noise on, on compiled RTL: what the models say, in every cycle."""
    plain = of_network(network(random.Random(3)), tmp_path, name="tiny", steps=8)
    project = dataclasses.replace(plain, config=dataclasses.replace(plain.config, core=core(**keys)))
    project.__dict__["quantised"] = plain.quantised  # what it caches
    elaborate(project, tmp_path / "build")
    result = simulate_build(project, tmp_path / "build", SimulationOptions(inputs=40))
    assert result["mismatches"]["spikes"] == result["mismatches"]["cycles"] == 0
    if project.is_analog:
        ideal_answers = simulate(project.network, project.inputs(40).spikes).spikes[-1]
        assert (project.reference(project.inputs(40)).spikes[-1] != ideal_answers).any()  # the errors were felt


@pytest.mark.parametrize("keys", READS[:2])
def test_cycles(keys):
    """A sum is known a cycle later than from a digital table; the cost model knows every cycle."""
    net = network(random.Random(6))
    plan = plan_core(net, core(**keys), steps=4)
    chips = shared_chips(plan, seeds=1, parameters=TableParameters(sigma=0.1))
    spikes, model = random_spikes(7, net), cost_model(net, core(**keys), steps=4)
    check_cycles(plan, model, spikes, chips.trace(spikes), rest=plan.settle + 200, behind=behind(chips, plan))


@pytest.mark.parametrize("keys", READS)
def test_fine_converters_and_ideal_devices_are_the_integer_network(keys):
    net = network(random.Random(2))
    plan = plan_core(net, core(**keys, adc_bits=12, adc_range=2000), steps=4)
    chips = shared_chips(plan, seeds=0, parameters=QUIET)
    spikes = random_spikes(5, net, batch=4)
    for ours, wanted in zip(chips.trace(spikes).spikes, simulate(net, spikes).spikes, strict=True):
        np.testing.assert_array_equal(ours, wanted)


def gang_of(**keys):
    net = network(random.Random(3))
    (entry, *_) = plans_of(plan_core(net, core(gangs="one", **keys), steps=2))
    return entry.gang


def test_levels_are_differences_of_conductances():
    """Level by level from the devices: (G+ - G-) / u, in 4096ths of a weight."""
    gang = gang_of()
    tables = program_tables(gang, QUIET)
    assert tables.charge.ravel().tolist() == [4096 * level for level in TABLE]
    spread = program_tables(gang, TableParameters(device=ideal(), sigma=0.1, read_noise=False), seeds=range(400))
    off = spread.charge[:, 0, 0] / 4096 - np.array(TABLE)
    # a relative error of one device; that of the other side is at g_min, 0
    assert off.std(axis=0) == pytest.approx(0.1 * np.abs(TABLE), rel=0.15)


def test_stuck_devices_and_remapping():
    """A stuck device moves its level; its synapses then go to the nearest other one."""
    gang = gang_of()
    faults = (((0, 0, 3, 0), -1),)  # level 5, its positive side at g_min
    stuck = program_tables(gang, TableParameters(device=ideal(), stuck=faults, read_noise=False))
    assert (stuck.charge.ravel() / 4096).tolist() == [-7, -3, 0, 0]
    both = (*faults, ((0, 0, 1, 0), 1))  # and -3 at its largest: 7 - 3
    moved = program_tables(gang, TableParameters(device=ideal(), stuck=both, read_noise=False, remap=True))
    assert moved.moved.ravel().tolist() == [0, 2, 2, 1]
    assert (moved.charge.ravel() / 4096).tolist() == [-7, 0, 0, 4]
    with pytest.raises(InputError, match=r"stuck device \(0, 0, 9, 0\) at -1: accepted are \(1, 1, 4, 2\)"):
        program_tables(gang, TableParameters(stuck=(((0, 0, 9, 0), -1),)))


def test_calibration_brings_devices_near_their_levels():
    gang = gang_of()
    rough, fine = (
        program_tables(gang, TableParameters(device=ideal(), sigma=0.2, calibrate=on), seeds=range(100))
        for on in (False, True)
    )
    wanted = 4096 * np.array(TABLE)
    errors = [np.abs(each.charge[:, 0, 0] - wanted).max(axis=0) / 4096 / 7 for each in (rough, fine)]
    assert errors[0].max() > 0.1
    assert errors[1].max() <= 0.02  # the tolerance, on either side


def test_codes_count_decision_levels():
    gang = gang_of(adc_bits=4, adc_range=64)
    tables = program_tables(gang, QUIET)
    step = 4096 << gang.code_shift
    a = np.array([-100, -8, -0.51, -0.49, 0, 0.49, 0.51, 7.4, 100]) * step
    codes = tables.codes(a.astype(np.int64), np.zeros(9, np.int64), np.zeros(9, np.int64), 0)
    assert codes.tolist() == [-8, -8, -1, 0, 0, 0, 1, 7, 7]


def test_refused():
    net = network(random.Random(1))
    with pytest.raises(InputError, match=r"core\.engine: 'digital' was given; accepted for analog tables: 'analog'"):
        shared_chips(plan_core(net, core(engine="digital"), steps=2))
