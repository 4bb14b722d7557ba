"""The gateware of the crossbar core with the integer model behind its analog port."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from crossbar_bench import SHORT, plan_of, random_array, run_engine
from spikeloom.cores.crossbar.capture import SpikeCapture
from spikeloom.cores.crossbar.programmer import CommandKind
from spikeloom.mapping.write_verify import WriteVerifyPlan
from spikeloom.windows import WindowTiming
from spikeloom_analog.cells import CellArray, calibrated, cell_tables, levels_of, write_verify
from spikeloom_analog.devices import RRAM
from spikeloom_analog.port import ArrayPort


def random_spikes(batch, steps, rows, *, seed=0, density=0.5):
    return (np.random.default_rng(seed).random((batch, steps, rows)) < density).astype(np.uint8)


@pytest.mark.parametrize("stall", [0, 3, 40])
@pytest.mark.parametrize("shape", [(4, 6, 5), (1, 1, 1), (9, 3, 8)], ids=str)
def test_every_spike_and_stamp_equals_the_model(shape, stall):
    """Noise on, inputs back to back: stalls act between windows, so the answers are the same under all of them."""
    rows, columns, steps = shape
    array = random_array(rows, columns)
    spikes = random_spikes(4, steps, rows)
    expected, cycles = array.run(spikes)
    run = run_engine(
        plan_of(array, steps, stamps=True), ArrayPort(array, steps=steps), list(spikes), stall=stall, seed=stall
    )
    np.testing.assert_array_equal(run.spikes, expected[0])
    np.testing.assert_array_equal(np.array(run.stamps), cycles[0].reshape(-1, columns))
    assert run.counters["captured"] == expected.sum()
    assert run.counters["near_ties"] == np.isin(cycles, [0, SHORT.step - 1]).sum()
    assert run.counters["repeated"] == run.counters["stray"] == run.counters["merged"] == 0
    if shape != (1, 1, 1):
        assert 0 < expected.sum() < expected.size


def test_all_neurons_at_once_leave_in_ascending_columns():
    """Every spike of every step, all in the first cycle: the most that the queue can meet."""
    timing = WindowTiming(step=4, pulse=3, reset=2)
    array = random_array(2, 9, timing=timing, noise=False)
    array.charge[:] = array.threshold[:, None]
    spikes = np.ones((3, 6, 2), np.uint8)
    run = run_engine(plan_of(array, 6), ArrayPort(array, steps=6), list(spikes), stall=20)
    assert (run.spikes == 1).all()
    assert run.counters["near_ties"] == run.spikes.size


def test_kept_membranes_and_windows_of_a_long_input():
    """Inputs longer than a window go through in several, membranes kept between them; short ones end it early."""
    array = random_array(3, 5, noise=False)
    lengths = [7, 2, 3, 1]
    spikes = random_spikes(4, 7, 3, seed=2)
    parts = [spikes[b, :length] for b, length in enumerate(lengths)]
    run = run_engine(plan_of(array, 3), ArrayPort(array, steps=3), parts)
    for b, part in enumerate(parts):  # without a leak, two windows are one long one
        expected, _ = array.run(part[None])
        np.testing.assert_array_equal(run.spikes[b, : len(part)], expected[0, 0])
    run = run_engine(plan_of(array, 3, clears=False), ArrayPort(array, steps=3), [parts[0], parts[2]])
    expected, _ = array.run(np.concatenate([parts[0], parts[2]])[None])
    np.testing.assert_array_equal(run.spikes[0], expected[0, 0, :7])
    np.testing.assert_array_equal(run.spikes[1, :3], expected[0, 0, 7:])


def test_windows_follow_each_other_while_outputs_wait():
    """With a consumer as fast as the layer, the window sets the pace."""
    array = random_array(4, 4, noise=False)
    run = run_engine(plan_of(array, 4), ArrayPort(array, steps=4), list(random_spikes(6, 4, 4)))
    gaps = np.diff(run.last_out[1:])
    assert gaps.max() <= 4 * SHORT.step + SHORT.reset + 8


def test_a_spike_twice_in_a_step_is_counted():
    array = random_array(2, 2, noise=False)
    plan = plan_of(array, 2)
    spikes = np.array([[[1, 0], [1, 1]]], np.uint8)
    expected, _ = array.run(spikes)
    run = run_engine(plan, ArrayPort(array, steps=2), [spikes[0]], twice=True)
    np.testing.assert_array_equal(run.spikes[0], expected[0, 0])
    assert run.counters["merged"] == 1


def test_capture_counts_what_a_broken_array_does():
    """Second spikes in a step, spikes outside of windows: lost and counted."""
    timing = WindowTiming(step=8, pulse=2, reset=2)
    dut = SpikeCapture(2, timing, stamps=False)
    seen = []

    async def bench(ctx):
        def spike(value):
            ctx.set(dut.spike, value)

        for cycle in range(40):
            ctx.set(dut.run, int(8 <= cycle < 24))
            spike({2: 1, 9: 2, 12: 2, 18: 3}.get(cycle, 0))
            *_, step, flags = await ctx.tick().sample(dut.step, dut.flags)
            if step:
                seen.append(flags)
        counters = [ctx.get(c) for c in (dut.captured, dut.near_ties, dut.repeated, dut.stray)]
        # A spike seen in cycle n crossed in n - 1: 9 -> cycle 0 of step 0, a tie.
        assert counters == [4, 1, 1, 1]

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert seen == [2, 3]


@pytest.mark.parametrize("stall", [0, 5])
def test_write_verify_equals_its_model_pulse_for_pulse(stall):
    """Calibration, every cell, stuck ones among them, the fault map read back; windows go on in between."""
    device = RRAM.sky130()
    rows, columns, cells = 3, 4, 2
    tables = cell_tables(device, (rows, columns, cells), seed=3, stuck=0.25)
    plan = WriteVerifyPlan(most_pulses=20)
    levels = np.random.default_rng(1).integers(0, 41, tables.shape)
    targets = levels_of(device)[levels]
    golden = CellArray(tables)
    written = write_verify(golden, targets, plan)
    commands = [{"kind": CommandKind.CALIBRATE, "column": n} for n in range(columns)]
    where = [(r, c, k) for r in range(rows) for c in range(columns) for k in range(cells)]
    for kind in (CommandKind.PROGRAM, CommandKind.READ):
        commands += [
            {"kind": kind, "row": r, "column": c, "cell": k, "target": int(targets[r, c, k])} for r, c, k in where
        ]
    array = random_array(rows, columns)
    port = ArrayPort(array, steps=2, cells=CellArray(tables))
    spikes = random_spikes(3, 2, rows)
    run = run_engine(
        plan_of(array, 2, cells=cells, write_verify=plan), port, list(spikes), commands=commands, stall=stall
    )
    assert len(run.outcomes) == len(commands)
    columns_found = calibrated(tables, plan)
    assert [o.code for o in run.outcomes[:columns]] == columns_found[:, 0].tolist()
    assert not any(o.fault for o in run.outcomes[:columns])
    done = run.outcomes[columns : columns + len(where)]
    assert [o.pulses for o in done] == [int(written.pulses[w]) for w in where]
    assert [o.code for o in done] == [int(written.code[w]) for w in where]
    assert [o.fault for o in done] == [int(written.fault[w]) for w in where]
    read = run.outcomes[columns + len(where) :]
    assert [o.fault for o in read] == [int(written.fault[w]) for w in where]
    assert 0 < written.fault.sum() < written.fault.size
    np.testing.assert_array_equal(port.cells.state, golden.state)
    assert written.pulses.max() == 20


def test_calibration_without_usable_gain_is_a_fault():
    tables = cell_tables(RRAM.sky130(), (1, 3, 1), column_gain=0.0)
    tables.gain[1], tables.gain[2] = 0, 1500  # dead, and below a half
    plan = WriteVerifyPlan()
    array = random_array(1, 3)
    port = ArrayPort(array, steps=1, cells=CellArray(tables))
    commands = [{"kind": CommandKind.CALIBRATE, "column": n} for n in range(3)]
    run = run_engine(plan_of(array, 1, write_verify=plan), port, [np.ones((1, 1), np.uint8)], commands=commands)
    assert [o.fault for o in run.outcomes] == [0, 1, 1] == calibrated(tables, plan)[:, 2].tolist()


def test_programmed_cells_carry_the_charge_of_their_new_conductance():
    """After programming, a pulse moves the membrane by what the conductance says: by hand from the physics."""
    device = RRAM.sky130()
    tables = cell_tables(device, (1, 1, 2), seed=1)
    cells = CellArray(tables)
    array = random_array(1, 1)
    port = ArrayPort(array, steps=1, cells=cells)
    write_verify(cells, np.full((1, 1, 2), int(levels_of(device)[20])), WriteVerifyPlan())
    port.access(kind=0, row=0, column=0, cell=0, amount=0)
    g = device.g_min * np.exp(cells.state / 1024).sum()
    assert port.array.charge.item() == pytest.approx(0.05 * g / 73.5e-15 * 5e-9 / 1e-8, rel=1e-3)
    assert g == pytest.approx(2 * device.level_conductances[20], rel=0.06)
