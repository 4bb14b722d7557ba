"""Energy by rail: against a circuit integrated in small steps, with every element's power taken from node voltages."""

import dataclasses
from collections.abc import Iterable

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom_analog import (
    RRAM,
    AnalogNetwork,
    EnergyParameters,
    IFNeuron,
    Pulses,
    Wire,
    analog_energy,
    ideal,
    load_energy,
)
from spikeloom_analog.energy import ITEMS


def near(value, rel):
    """pytest.approx without its absolute tolerance, which is larger than most energies here."""
    return pytest.approx(value, rel=rel, abs=0)


WINDOW, PULSE, UNIT = 1.5e-6, 55e-9, 178.2e3
WEIGHTS = [np.array([[0.9, 0.4], [0.3, 0.8], [0.0, 0.6]]), np.array([[0.7, 0.9, 0.35]])]
PARAMETERS = EnergyParameters(input_neurons=2, comparator_current=1e-6)


def network(weights=WEIGHTS, *, window=WINDOW, seeds: int | Iterable[int] = 0, device=None, **neuron):
    return AnalogNetwork.from_weights(
        weights,
        siemens=1 / UNIT,
        device=device or ideal(),
        cells=2 if device else 1,
        neuron=IFNeuron.sky130(**neuron),
        window=window,
        seeds=seeds,
        wire=Wire(r_wl=0.0, r_bl=0.0),
    )


def stepped(weights, starts, p: EnergyParameters, window, *, offset=0.0, dt=0.1e-9):
    """The circuit in steps of `dt`: energy of each rail item [J], heat of each element, and what the capacitors store.

    Written from the circuit alone: read rail -> driver -> cell -> virtual ground -> C -> amplifier -> ground.
    """
    capacitance, rest, fires, ground = 73.5e-15, 0.92, 0.71, p.virtual_ground + offset
    item = dict.fromkeys(ITEMS, 0.0)
    heat = dict.fromkeys(("cells", "drivers", "amplifiers", "bias", "lines", "bleed"), 0.0)
    vm = [np.full(len(w), rest) for w in weights]
    deaf = [np.full(len(w), -1.0) for w in weights]
    until = [np.full(w.shape[1], -1.0) for w in weights]  # rows are open until then
    stored, spikes, opened = 0.0, 0, 0
    pending = sorted((t, row) for row, times in enumerate(starts) for t in times)
    neurons = sum(len(w) for w in weights)
    steps = round(window / dt)

    def open_row(k, row, now):
        nonlocal opened
        opened += 1
        until[k][row] = now + PULSE
        wire = p.wire_capacitance * p.cell_pitch * len(weights[k])
        lines = p.supply**2 * (wire + p.gate_capacitance * int((weights[k][:, row] > 0).sum()))
        swing = p.read_supply * wire * (p.read_rail - p.virtual_ground)
        item["gate_lines"] += lines
        item["drivers"] += swing
        heat["lines"] += lines + swing

    for n in range(steps):
        now = n * dt
        while pending and pending[0][0] <= now + dt / 2:
            open_row(0, pending.pop(0)[1], now)
            item["comparators"] += p.supply**2 * p.spike_capacitance
            spikes += 1
        for k, w in enumerate(weights):
            cell_volts = np.where(until[k] > now + dt / 2, p.read_rail - ground, 0.0)
            amps = w / UNIT * cell_volts  # [columns, rows]
            item["drivers"] += p.read_supply * amps.sum() * dt
            heat["drivers"] += (p.read_supply - p.read_rail) * amps.sum() * dt
            heat["cells"] += float((amps * cell_volts).sum()) * dt
            free = deaf[k] < now + dt / 2
            into = np.where(free, amps.sum(axis=1), 0.0)
            lost = amps.sum(axis=1) - into  # through the closed reset switch into the amplifier
            before = vm[k].copy()
            vm[k] -= into * dt / capacitance
            middle = (before + vm[k]) / 2
            stored += float((0.5 * capacitance * ((ground - vm[k]) ** 2 - (ground - before) ** 2)).sum())
            heat["amplifiers"] += float((middle * into).sum() + ground * lost.sum()) * dt
            for j in np.flatnonzero(vm[k] <= fires):
                charge = capacitance * (rest - vm[k][j])
                back = 0.5 * capacitance * ((ground - rest) ** 2 - (ground - vm[k][j]) ** 2)
                item["amplifier"] += p.supply * charge
                heat["amplifiers"] += p.supply * charge - back
                stored += back
                vm[k][j], deaf[k][j] = rest, now + dt + PULSE
                item["comparators"] += p.supply**2 * p.spike_capacitance
                spikes += 1
                if k + 1 < len(weights):
                    open_row(k + 1, j, now + dt)
            bleed = p.bleed_output if k == len(weights) - 1 else p.bleed_hidden
            amps_bleed = (p.read_rail - p.virtual_ground) / bleed * len(w)
            item["bleed"] += p.read_supply * amps_bleed * dt
        item["bias"] += p.supply * p.amplifiers * p.bias_current * (neurons + p.input_neurons) * dt
        item["comparators"] += p.supply * p.comparator_current * (neurons + p.input_neurons) * dt
    heat["bleed"] += item["bleed"]
    heat["bias"] += item["bias"] + item["comparators"]
    return item, heat, stored, spikes, opened


STARTS = [[0.02e-6, 0.15e-6, 0.3e-6, 0.62e-6, 0.9e-6, 1.2e-6, 1.47e-6], [0.04e-6, 0.2e-6, 0.33e-6, 0.8e-6, 1.1e-6]]


def pulses_of(starts):
    flat = sorted((t, row) for row, times in enumerate(starts) for t in times)
    return Pulses(np.array([[t for t, _ in flat]]), np.array([[row for _, row in flat]]), PULSE, len(starts))


@pytest.mark.parametrize("offset", [0.0, 4e-3])
def test_equals_a_circuit_in_small_steps(offset):
    net, pulses = network(offset_low=offset, offset_high=offset), pulses_of(STARTS)
    run = net.run(pulses)
    energy = analog_energy(net, pulses, run, PARAMETERS)
    items, heat, stored, spikes, opened = stepped(WEIGHTS, STARTS, PARAMETERS, WINDOW, offset=offset)
    assert energy.spikes[0, 0] == spikes > 15
    assert energy.pulses[0, 0] == opened
    for name, wanted in items.items():
        assert energy.items[name][0, 0] == near(wanted, rel=5e-3), name
    assert energy.cell_heat[0, 0] == near(heat["cells"], rel=5e-3)
    assert energy.total[0, 0] == near(sum(items.values()), rel=1e-3)
    # What the rails gave is heat, or still in the capacitors.
    assert sum(items.values()) == near(sum(heat.values()) + stored, rel=1e-9)
    variable = energy.items["drivers"] + energy.items["amplifier"]
    assert variable[0, 0] >= (heat["cells"] + heat["drivers"] + heat["amplifiers"] + stored) * (1 - 5e-3)
    assert np.isclose(sum(rail[0, 0] for rail in energy.rails.values()), energy.total[0, 0], rtol=1e-12)


def test_figures_of_the_published_circuit():
    """By hand: 35 neurons x 2 x 6 uA x 1.8 V x 24 us; a full pulse on weight 1 is 0.05 V / 178.2 kOhm for 55 ns."""
    net = AnalogNetwork.from_weights(
        [np.ones((30, 4)), np.ones((1, 30))], siemens=1 / UNIT, device=ideal(), neuron=IFNeuron.sky130(), window=24e-6
    )
    silent = Pulses.spread(np.zeros((1, 4), np.int64), window=24e-6, width=55e-9)
    quiet = analog_energy(net, silent, net.run(silent))
    assert quiet.items["bias"][0, 0] == near(35 * 12e-6 * 1.8 * 24e-6, rel=1e-12)
    assert quiet.items["bleed"][0, 0] == near(1.8 * 24e-6 * 0.05 * (30 / 90e6 + 1 / 9e6), rel=1e-12)
    assert quiet.cell_heat[0, 0] == quiet.spikes[0, 0] == quiet.items["amplifier"][0, 0] == 0
    assert quiet.summary()["energy_per_spike_j"] is None
    assert quiet.delay == 24e-6
    one = network([np.array([[1.0]])], window=24e-6)
    pulse = Pulses(np.array([[1e-6]]), np.array([[0]]), 55e-9, 1)
    energy = analog_energy(one, pulse, one.run(pulse), EnergyParameters(input_neurons=1))
    assert energy.cell_heat[0, 0] == near(0.05**2 / 178.2e3 * 55e-9, rel=1e-6)  # 0.77 fJ
    assert energy.rails["read"][0, 0] > energy.cell_heat[0, 0]


def test_pulses_end_with_the_window():
    net = network([np.array([[1.0]])], window=1e-6)
    whole, cut, late = (
        analog_energy(net, pulses, net.run(pulses), EnergyParameters(wire_capacitance=0.0)).items["drivers"][0, 0]
        for pulses in (Pulses(np.array([[t]]), np.array([[0]]), 55e-9, 1) for t in (0.1e-6, 0.978e-6, 2e-6))
    )
    assert cut == near(whole * 22 / 55, rel=1e-9)
    assert whole > 0
    assert late == 0


def test_chips_and_inputs_are_independent():
    device = RRAM.sky130()
    net = network(seeds=range(3), device=device, offset_high=5e-3)
    counts = np.array([[3, 5], [0, 0], [8, 2], [5, 5]])
    pulses = Pulses.spread(counts, window=WINDOW, width=PULSE)
    together = analog_energy(net, pulses, net.run(pulses))
    for c in range(3):
        for b in range(len(counts)):
            alone_net = network(seeds=[c], device=device, offset_high=5e-3)
            some = Pulses.spread(counts[b : b + 1], window=WINDOW, width=PULSE)
            alone = analog_energy(alone_net, some, alone_net.run(some, index=b))
            for name in ITEMS:
                assert together.items[name][c, b] == near(alone.items[name][0, 0], rel=1e-12), name


def test_bought_at_the_read_level_and_conversions():
    net, pulses = network(), pulses_of(STARTS)
    run = net.run(pulses)
    linear = analog_energy(net, pulses, run, PARAMETERS)
    own = analog_energy(net, pulses, run, dataclasses.replace(PARAMETERS, read_supply=0.95), conversions=3)
    assert own.rails["read"] == near(linear.rails["read"] * 0.95 / 1.8, rel=1e-12)
    assert own.items["converters"][0, 0] == near(3 * 12.8e-12, rel=1e-12)
    assert linear.items["converters"][0, 0] == 0
    # 50 mV of the 950 mV that are bought stay in the cells.
    no_wire = dataclasses.replace(PARAMETERS, read_supply=0.95, wire_capacitance=0.0)
    plain = analog_energy(net, pulses, run, no_wire)
    assert plain.cell_heat == near(plain.items["drivers"] * 0.05 / 0.95, rel=1e-12)


def test_every_parameter_says_where_it_comes_from():
    rows = EnergyParameters.describe()
    assert set(rows) == {each.name for each in dataclasses.fields(EnergyParameters)}
    assert all(row["unit"] and row["source"] for row in rows.values())
    assert not rows["bias_current"]["assumed"]
    assert rows["gate_capacitance"]["assumed"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("schema = 2", "schema: 2 was given; accepted: 1"),
        ("schema = 1\nbias_curent = 1e-6", "did you mean bias_current"),
        ("schema = 1\nbias_current = nan", "bias_current: nan was given"),
        ("schema = 1\nsupply = 0.5", "supply: 0.5 V was given; accepted: at least read_rail"),
        ("schema = 1\nvirtual_ground = 1.2", "accepted: below read_rail"),
        ("schema = 1\nbleed_hidden = -1", "bleed_hidden: -1 was given"),
        ("schema = 1\ninput_neurons = 1.5", "input_neurons: 1.5 was given"),
        ("schema 1", "accepted: a TOML file"),
    ],
)
def test_files_that_are_refused(tmp_path, text, message):
    path = tmp_path / "energy.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"energy.toml.*{message}"):
        load_energy(path)


def test_file(tmp_path):
    path = tmp_path / "energy.toml"
    path.write_text("schema = 1\nbias_current = 1e-6\nsupply = 1.2\nread_supply = 1.2\n")
    assert load_energy(path) == EnergyParameters(bias_current=1e-6, supply=1.2, read_supply=1.2)
    with pytest.raises(InputError, match="accepted: a TOML file"):
        load_energy(tmp_path / "missing.toml")


def test_what_does_not_belong_together_is_refused():
    net, pulses = network(), pulses_of(STARTS)
    run = net.run(pulses)
    with pytest.raises(InputError, match="lanes and neurons"):
        analog_energy(net, pulses, run[:1])
    with pytest.raises(InputError, match=r"drive: 0\.05 V"):
        analog_energy(net, pulses, run, EnergyParameters(read_rail=1.0))
