"""Netlists and what ngspice makes of them; tests that run it are skipped, with the way to get it, without it."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import analog_oracle as oracle
from projects import make_project, write_values
from spikeloom import tools
from spikeloom.errors import InputError, SpikeloomError, ToolMissing
from spikeloom.project import Project
from spikeloom_analog import PCM, RRAM, AnalogLayer, AnalogNetwork, Crossbar, IFNeuron, Pulses, Wire, ideal
from spikeloom_analog.devices import Device
from spikeloom_analog.laws import CubicIV, SinhIV
from spikeloom_analog.neurons import settled_share
from spikeloom_analog.spice import (
    Amplifier,
    Netlist,
    Waveforms,
    calibrate_dead_time,
    column_currents,
    compare,
    comparison_figure,
    crossbar_netlist,
    netlist,
    run_ngspice,
    spiking_circuit,
)
from spikeloom_analog.spice.circuit import LEAD
from spikeloom_analog.spice.devices import SUPPLY, TRANSISTORS, amplifier_lines, models, mos
from spikeloom_analog.spice.netlist import EDGE
from spikeloom_analog.spice.run import read_raw
from spikeloom_sim.spice import SpiceOptions, missed, spice_project

ROWS, COLUMNS = 5, 3
SWITCH = IFNeuron(
    capacitance=10e-12,
    threshold=0.5,
    reset="switch",
    switch_resistance=100.0,
    release=0.01,
    pulse_width=100e-9,
    drive=0.1,
)


def conductance(rows=ROWS, columns=COLUMNS, seed=0, low=20e-6, high=100e-6):
    return np.random.default_rng(seed).uniform(low, high, (rows, columns))


def array(topology="row_driven", *, g=None, device: Device | None = None, wire=None, **options):
    g = conductance() if g is None else g
    return Crossbar(g, device=device or ideal(g_max=100e-6), topology=topology, wire=wire or Wire(2.0, 3.0), **options)


def stimulus(window, *, rows=ROWS, width=100e-9, density=0.5, seed=1):
    on = np.random.default_rng(seed).random((1, int(window / width), rows)) < density
    return Pulses.from_steps(on.astype(int), step=width, width=width)


def with_switch(window=2e-6, *, neuron=SWITCH, amplifier=None, **options):
    """The integrator of docs/analog.md on a small row-driven array."""
    return spiking_circuit((array(**options), neuron), stimulus(window), window=window, amplifier=amplifier)


WEIGHTS = [np.array([[0.9, 0.5, 0.0], [0.3, 0.8, 0.7]]), np.array([[0.8, 0.9]])]


def network(window=2e-6, *, weights=WEIGHTS, seeds=0, **neuron):
    return AnalogNetwork.from_weights(
        weights, siemens=1 / 178.2e3, device=ideal(), neuron=IFNeuron.sky130(**neuron), window=window, seeds=seeds
    )


def interception(window=2e-6, *, amplifier=None, net=None, counts=(9, 7, 8), **options):
    """Two layers of the interception circuit, at its levels."""
    net = net or network(window)
    pulses = Pulses.spread(np.array([counts[: net.layers[0].crossbar.shape[0]]]), window=window, width=55e-9)
    return spiking_circuit(net, pulses, virtual_ground=0.9, amplifier=amplifier, **options)


def elements(text, pattern):
    return [line.split() for line in text.splitlines() if re.match(pattern, line)]


def played(circuit, *, dead_time=0.0):
    """What ngspice would write if the closed form with this dead time were true: flags of 1 ns, no currents."""
    found = circuit.with_neurons(dead_time=dead_time).closed_form()
    grid = np.arange(0.0, LEAD + circuit.window, 0.05e-9)
    vectors = {"time": grid}
    for s, stage in enumerate(circuit.stages):
        for j in range(len(stage.columns)):
            at = np.searchsorted(grid, found[s].of(0, j) + LEAD)
            flag = np.zeros(len(grid))
            for k in at:
                flag[k : k + 20] = 1.0
            vectors[f"v(f{s}_{j})"] = flag
    return Waveforms(vectors=vectors, seconds=1.0, version="none")


# --- text ------------------------------------------------------------------------------------------------------------


def test_array_as_text():
    """A resistor per cell, a segment per node, and nodes that make the array of docs/analog.md."""
    v = np.array([0.1, 0.0, 0.2, 0.05, 0.0])
    crossbar = array()
    text = crossbar_netlist(crossbar, v).text
    cells = elements(text, "Rcell")
    assert len(cells) == ROWS * COLUMNS
    for name, p, q, ohm in cells:
        i, j = (int(n) for n in re.findall(r"\d+", name))
        assert (p, q) == (f"w{i}_{j}", f"b{i}_{j}")
        assert float(ohm) == pytest.approx(1 / crossbar.conductance[0, i, j], rel=1e-14)
    words, bits = elements(text, "Rw"), elements(text, "Rb")
    assert {tuple(w[1:]) for w in words} == {
        (f"w{i}_{j - 1}" if j else f"r{i}", f"w{i}_{j}", "2") for i in range(ROWS) for j in range(COLUMNS)
    }
    assert {tuple(b[1:]) for b in bits} == {
        (f"b{i}_{j}", f"b{i + 1}_{j}" if i + 1 < ROWS else f"n{j}", "3") for i in range(ROWS) for j in range(COLUMNS)
    }
    assert [float(line[3]) for line in elements(text, r"Vr\d")] == list(v)
    # Closed gates are no elements, and without wires a line is one node.
    gated = crossbar_netlist(array("gated_1t1r", wire=Wire(0.0, 0.0)), v)
    assert {tuple(c[1:3]) for c in elements(gated.text, "Rcell")} == {
        (f"r{i}", f"n{j}") for i in (0, 2, 3) for j in range(COLUMNS)
    }
    assert not elements(gated.text, "R[wb]")
    assert gated.saved == ("i(vc0)", "i(vc1)", "i(vc2)")
    assert gated.stop is None


def test_pulses_are_rectangles_of_the_right_charge():
    """The integral of a gate signal is the time that its row is open; pulses that touch are one."""
    start = np.array([[0.0, 100e-9, 400e-9, 1.95e-6]])
    pulses = Pulses(start, np.zeros((1, 4), np.int64), 100e-9, 1)
    circuit = spiking_circuit((array(g=conductance(1)), SWITCH), pulses, window=2e-6)
    text = netlist(circuit).text
    source = re.search(r"Vin0 g0_0 0 PWL\(([^)]*)\)", text)
    assert source
    points = np.array([float(x) for x in source.group(1).replace("\n+", " ").split()]).reshape(-1, 2)
    time, value = points.T
    assert (np.diff(time) > 0).all()
    assert len(points) == 1 + 3 * 4
    assert ((value[1:] + value[:-1]) * np.diff(time)).sum() / 2 == pytest.approx(350e-9, rel=1e-9)  # the last is cut
    assert time[1] == pytest.approx(LEAD - EDGE / 2)
    assert f".tran 2.5e-10 {LEAD + 2e-6:.15g} 0 2.5e-10" in text


def test_whole_network_as_text():
    circuit = interception()
    text = netlist(circuit).text
    assert text == netlist(interception()).text  # the same bytes
    assert text.startswith("* 2 stage(s), 7 synapses, ideal amplifiers")
    assert text.endswith(".end\n")
    assert len(elements(text, "Scell0_")) == 5  # weights of 0 are no cells
    for name, p, q, control, _, model in elements(text, "Scell"):
        s, i, j = (int(n) for n in re.findall(r"\d+", name))
        assert control == f"g{s}_{i}"
        ron = re.search(rf"\.model {model} SW\(vt=0.5 vh=0 ron=(\S+)", text)
        assert ron
        assert float(ron.group(1)) == pytest.approx(178.2e3 / WEIGHTS[s][j, i])
        assert (p, q) == (f"r{s}", f"b{s}_{i}_{j}")
    # A spike of layer 0 opens its row of layer 1: its reset lasts as long as its pulse, so one signal is both.
    assert {tuple(line[1:4]) for line in elements(text, "Eg1")} == {(f"g1_{i}", "0", f"f0_{i}") for i in (0, 1)}
    other = netlist(interception(net=network(pulse_width=30e-9))).text
    assert {tuple(line[1:4]) for line in elements(other, "Eg1")} == {(f"g1_{i}", "0", f"q0_{i}") for i in (0, 1)}
    # What controls a switch or a source is a node of something else.
    ends, controls = set(), set()
    for line in text.splitlines():
        words = line.split()
        if line[0] in "RCSVEGB":
            ends |= set(words[1:3])
        if line[0] in "SEG":
            controls |= set(words[3:5])
    assert controls - {"0"} <= ends


def test_transistors_as_text():
    circuit = interception(amplifier=Amplifier(kind="transistor"))
    text = netlist(circuit).text
    assert len(elements(text, "Mcell")) == 7
    assert len(elements(text, "Xa")) == len(elements(text, "Mrn")) == len(elements(text, "Mrp")) == 3
    assert not elements(text, "Scell")
    pair = network().layers[0].crossbar
    two = AnalogLayer(
        Crossbar(pair.chips.target, device=RRAM.sky130(read_noise=False), topology="gated_1t1r", cells=2),
        IFNeuron.sky130(),
    )
    pulses = Pulses.spread(np.array([[2, 2, 2]]), window=1e-6, width=55e-9)
    circuit = spiking_circuit(
        two, pulses, window=1e-6, virtual_ground=0.9, amplifier=Amplifier(kind="transistor", scale=3)
    )
    text = netlist(circuit).text
    ohms = [float(line[3]) for line in elements(text, "Rcell")]
    assert len(ohms) == 10  # two parallel cells per synapse
    assert sum(1 / r for r in ohms) == pytest.approx(two.crossbar.conductance.sum(), rel=1e-12)
    assert "Iref vdd r 1.8u" in text
    for row in TRANSISTORS.values():
        assert len(row) == 4
        assert row[3]


def refused(message, call, *arguments, **options):
    with pytest.raises(InputError, match=message):
        call(*arguments, **options)


def test_what_is_refused():
    net, pulses = network(), Pulses.spread(np.array([[1, 1, 1]]), window=2e-6, width=55e-9)
    refused(r"amplifier: 'perfect' was given; accepted: ideal, bandwidth, transistor", Amplifier, kind="perfect")
    refused("bandwidth: 0 was given", Amplifier, kind="bandwidth", bandwidth=0)
    refused("scale: 0 was given", Amplifier, scale=0)
    refused("chip: 1 was given; accepted: 0 to 0", spiking_circuit, net, pulses, chip=1)
    refused("layer: 2 was given; accepted: 0 to 1", spiking_circuit, net, pulses, layer=2)
    refused("columns: 3 was given; accepted: 1 to 2", spiking_circuit, net, pulses, layer=0, columns=3)
    refused("columns: 1 was given; accepted with one layer", spiking_circuit, net, pulses, columns=1)
    refused("input: 1 was given; accepted: 0 to 0", spiking_circuit, net, pulses, input=1)
    refused("step: -1 was given", spiking_circuit, net, pulses, step=-1)
    refused("reltol: 0.5 was given", spiking_circuit, net, pulses, reltol=0.5)
    refused("window: none was given", spiking_circuit, net.layers[0], pulses)
    refused("window: nan was given", spiking_circuit, net, pulses, window=float("nan"))
    few = Pulses.spread(np.array([[1, 1]]), window=2e-6, width=55e-9)
    refused("pulses: 2 rows were given; accepted: 3", spiking_circuit, net, few)
    pair, five = (array(), SWITCH), stimulus(1e-6)
    refused("columns: 1 of 3 was given; accepted with row_driven", spiking_circuit, pair, five, window=1e-6, columns=1)
    slow = dataclasses.replace(SWITCH, dead_time=5e-9)
    refused("dead_time: 5e-09 s was given", spiking_circuit, (array(), slow), five, window=1e-6)
    never = IFNeuron(capacitance=1e-12, threshold=0.1, pulse_width=1e-9)
    refused("reset_time: 0 s was given", spiking_circuit, (array(), never), five, window=1e-6)
    curved = array(device=dataclasses.replace(ideal(g_max=100e-6), iv=SinhIV(0.3)))
    refused("iv: a nonlinear cell", spiking_circuit, (curved, SWITCH), five, window=1e-6)
    real = Amplifier(kind="transistor")
    refused(r"membrane from 0 to 0.5 V.*accepted with transistors", spiking_circuit, pair, five, window=1e-6,
            amplifier=Amplifier(kind="transistor", scale=9))  # fmt: skip
    refused(r"scale: 1 amplifiers.*at least 4", spiking_circuit, pair, five, window=1e-6, amplifier=real)
    refused(r"v: shape \(2,\) was given; accepted: \[5\]", crossbar_netlist, array(), np.ones(2))
    refused("active: accepted with gated_1t1r only", crossbar_netlist, array(), np.ones(ROWS), np.ones(ROWS, bool))
    refused("chip: 7 was given", crossbar_netlist, array(), np.ones(ROWS), chip=7)

    class Strange:
        def current(self, g, v):
            return g * np.tanh(v)

        def slope(self, g, v):
            return g / np.cosh(v) ** 2

    odd = array(device=dataclasses.replace(ideal(g_max=100e-6), iv=Strange()))
    refused("iv: Strange was given; accepted for a netlist", crossbar_netlist, odd, np.ones(ROWS))


# --- closed form with a bandwidth, calibration -----------------------------------------------------------------------


def test_dead_time_is_found_again():
    """Runs that the closed form itself played with a dead time: the calibration finds it, on other circuits too."""
    circuits = [with_switch(2e-6), with_switch(2e-6, g=conductance(seed=5) / 2)]
    for seconds in (0.0, 7e-9, 26.6e-9):
        runs = [(circuit, played(circuit, dead_time=seconds)) for circuit in circuits]
        assert sum((runs[0][1][f"v(f0_{j})"] > 0).sum() for j in range(COLUMNS)) > 100
        assert calibrate_dead_time(runs[:1], longest=200e-9) == pytest.approx(seconds, abs=0.2e-9)
        assert calibrate_dead_time(runs, longest=200e-9) == pytest.approx(seconds, abs=0.1e-9)
    with pytest.raises(InputError, match="runs: no spike was given"):
        calibrate_dead_time([])


# --- without ngspice -------------------------------------------------------------------------------------------------


def fake(folder, body):
    """A program that calls itself ngspice 39."""
    path = folder / "ngspice"
    folder.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n[ $1 = --version ] && echo '** ngspice-39 : x' && exit 0\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only(tmp_path, monkeypatch):
    """Nothing but what is in tmp_path/bin (and sh) can be run."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(tools, "SYSTEM_PROGRAMS", str(tmp_path / "none"))
    monkeypatch.setattr(tools.sys, "executable", str(tmp_path / "python"))
    tools.forget_versions()
    yield tmp_path / "bin"
    tools.forget_versions()


def test_missing_ngspice_says_how_to_get_it(only):
    circuit = with_switch(1e-6)
    text = netlist(circuit)
    with pytest.raises(ToolMissing, match=r"ngspice is missing; .*sudo apt-get install ngspice"):
        run_ngspice(text)
    assert len(circuit.closed_form()[0].time) > 3  # the closed form still works


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("echo 'doAnalyses: Timestep too small' >&2; exit 1", "failed with code 1: doAnalyses: Timestep too small"),
        ("exit 0", "failed with code 0: no output"),
        ("echo half > circuit.raw; echo 'Error: 1 of 2' >&2; exit 3", "failed with code 3: Error: 1 of 2"),
    ],
)
def test_ngspice_that_fails(only, body, message):
    fake(only, body)
    with pytest.raises(SpikeloomError, match=message):
        run_ngspice(Netlist(text="* x\n.end\n", saved=(), stop=1e-6))


def test_ngspice_that_hangs_is_ended(only, monkeypatch):
    monkeypatch.setenv("PATH", f"{only}:/bin:/usr/bin")
    marker = only.parent / "pid"
    fake(only, f"echo $$ > {marker}; exec sleep 100")
    with pytest.raises(SpikeloomError, match=r"not done after 0\.3 s; a shorter window"):
        run_ngspice(Netlist(text="* x\n.end\n", saved=(), stop=1e-6), timeout=0.3)
    with pytest.raises(ProcessLookupError):
        os.kill(int(marker.read_text()), 0)


def raw_file(path, table, names, flags="real"):
    variables = "".join(f"\t{k}\t{name}\tvoltage\n" for k, name in enumerate(names))
    head = f"Title: x\nFlags: {flags}\nNo. Variables: {len(names)}\nNo. Points: {len(table)}\nVariables:\n{variables}"
    path.write_bytes(head.encode() + b"Binary:\n" + np.asarray(table, np.float64).tobytes())


def test_raw_files(tmp_path):
    table = np.arange(12.0).reshape(4, 3)
    raw_file(tmp_path / "a.raw", table, ["time", "V(o0_0)", "i(vr0)"])
    vectors = read_raw(tmp_path / "a.raw")
    assert list(vectors) == ["time", "v(o0_0)", "i(vr0)"]
    np.testing.assert_array_equal(vectors["v(o0_0)"], table[:, 1])
    whole = (tmp_path / "a.raw").read_bytes()
    (tmp_path / "a.raw").write_bytes(whole[:-8])
    with pytest.raises(InputError, match="accepted: a whole file"):
        read_raw(tmp_path / "a.raw")
    raw_file(tmp_path / "b.raw", table, ["time", "a", "b"], flags="complex")
    with pytest.raises(InputError, match="no raw file of ngspice with real numbers"):
        read_raw(tmp_path / "b.raw")


# --- with ngspice: arrays --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("topology", ["row_driven", "gated_1t1r"])
@pytest.mark.parametrize("wire", [Wire(2.0, 5.0), Wire(0.0, 0.0), Wire(0.0, 4.0)], ids=["wires", "none", "columns"])
def test_operating_point(need_tool, topology, wire):
    """Two chips with errors, against ngspice and a nodal solve of their own."""
    need_tool("ngspice")
    rng = np.random.default_rng(2)
    g = rng.uniform(2e-6, 25e-6, (12, 7))
    options = {"access_resistance": 2e3} if topology == "gated_1t1r" else {}
    crossbar = Crossbar(g, device=PCM.joshi2020(), topology=topology, wire=wire, seeds=[3, 8], **options)
    v = rng.uniform(-0.1, 0.2, 12)
    v[[2, 5]] = 0.0
    wanted = crossbar.currents(v[None])[:, 0]
    for chip in (0, 1):
        found = column_currents(run_ngspice(crossbar_netlist(crossbar, v, chip=chip)))
        np.testing.assert_allclose(found, wanted[chip], rtol=1e-6)
        if topology == "row_driven" and wire.r_wl:
            np.testing.assert_allclose(found, oracle.row_driven(crossbar.conductance[chip], v, 2.0, 5.0), rtol=1e-6)


@pytest.mark.parametrize(
    "iv", [SinhIV(0.3), CubicIV(a2=0.1, a3=2.0), RRAM.milo2021().iv], ids=["sinh", "cubic", "milo"]
)
@pytest.mark.parametrize("topology", ["row_driven", "gated_1t1r"])
def test_operating_point_of_curved_cells(need_tool, topology, iv):
    need_tool("ngspice")
    crossbar = array(topology, device=dataclasses.replace(ideal(g_max=100e-6), iv=iv))
    v = np.array([0.3, -0.2, 0.0, 0.1, 0.25])
    active = np.array([True, True, True, False, True]) if topology == "gated_1t1r" else None
    wanted = crossbar.currents(v[None], None if active is None else active[None])[0, 0]
    linear = array(topology).currents(v[None], None if active is None else active[None])[0, 0]
    found = column_currents(run_ngspice(crossbar_netlist(crossbar, v, active)))
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    assert np.abs(found / linear - 1).max() > 1e-3


# --- with ngspice: neurons -------------------------------------------------------------------------------------------

TIMED = IFNeuron(capacitance=1e-12, threshold=0.3, reset_time=40e-9, pulse_width=30e-9, drive=0.05)
SKY = IFNeuron.sky130(capacitance=2e-12)
CIRCUITS = {
    "switch": {"neuron": SWITCH},
    "leaky switch": {"neuron": dataclasses.replace(SWITCH, leak_resistance=100e3)},
    "timed": {"neuron": TIMED},
    "leaky": {"neuron": dataclasses.replace(TIMED, leak_resistance=300e3)},
    "dead time": {"neuron": dataclasses.replace(TIMED, dead_time=25e-9)},
    "biased": {"neuron": dataclasses.replace(TIMED, bias_current=1e-6)},
    "floor": {"neuron": dataclasses.replace(TIMED, bias_current=-3e-6, floor=-0.05)},
    "falling": {"neuron": SKY, "topology": "gated_1t1r", "wire": Wire(0.0, 0.1)},
    "offset": {
        "neuron": dataclasses.replace(SKY, offset_low=2e-3, offset_high=9e-3, threshold_sigma=0.02),
        "topology": "gated_1t1r", "wire": Wire(0.0, 0.1),
    },
    "offset, row driven": {"neuron": dataclasses.replace(TIMED, offset_low=2e-3, offset_high=5e-3)},
}  # fmt: skip


@pytest.mark.parametrize("kind", CIRCUITS)
def test_neurons_in_ngspice(need_tool, kind):
    """Spikes, membranes and energy of a microsecond or two, at steps of 0.25 ns."""
    need_tool("ngspice")
    options = dict(CIRCUITS[kind])
    neuron = options.pop("neuron")
    width = neuron.pulse_width
    window = 20 * width
    on = np.random.default_rng(4).random((1, 20, ROWS)) < 0.5
    pulses = Pulses.from_steps(on.astype(int), step=width, width=width)
    circuit = spiking_circuit((array(**options), neuron), pulses, window=window)
    result = compare(circuit, run_ngspice(netlist(circuit)))
    stage = result.stages[0]
    figures = stage.figures()
    spice, closed = stage.counts
    np.testing.assert_array_equal(spice, closed)
    assert closed.min() >= 3
    assert figures["error_percent"] < 1.0
    assert figures["error_mean_s"] < 2e-9
    # Off the spikes, where u jumps a little earlier or later, the membranes are the same.
    apart = np.abs(stage.spice_u - stage.closed_u)
    assert np.median(apart) < 2e-3 * neuron.threshold
    assert figures["membrane_rms_percent"] < 12
    for item, (a, b) in stage.energy.items():
        assert a == pytest.approx(b, rel=0.02, abs=0), item


SWITCHED = {"reset": "switch", "switch_resistance": 3e3, "release": 0.02, "pulse_width": 20e-9}


def test_layers_open_rows_of_the_next(need_tool):
    """Two layers of the interception circuit, with pulses as long as the reset and shorter, and after a switch."""
    need_tool("ngspice")
    for changes in ({}, {"pulse_width": 30e-9}, SWITCHED):
        net = network(3e-6, **changes)
        circuit = interception(3e-6, net=net, counts=(14, 11, 12))
        result = compare(circuit, run_ngspice(netlist(circuit)))
        for stage in result.stages:
            np.testing.assert_array_equal(*stage.counts)
            assert stage.counts[1].min() >= 2
            assert stage.figures()["error_percent"] < 1.0
        a, b = result.rails["drivers"]
        assert a == pytest.approx(b, rel=0.01, abs=0)
    # One of the layers alone gets the spikes that the closed form gives the one before it.
    alone = interception(3e-6, counts=(14, 11, 12), layer=1)
    stage = compare(alone, run_ngspice(netlist(alone))).stages[0]
    np.testing.assert_array_equal(*stage.counts)
    assert stage.figures()["error_mean_s"] < 0.5e-9


def test_finite_bandwidth(need_tool):
    """100 MHz: calibrated on one netlist, scored on another with other cells, sizes and inputs."""
    need_tool("ngspice")
    slow, known = Amplifier(kind="bandwidth", bandwidth=100e6), {"gain_bandwidth": 100e6}
    first = with_switch(4e-6, amplifier=slow)
    other = spiking_circuit(
        (array(g=conductance(8, 2, seed=6) / 2), SWITCH), stimulus(5e-6, rows=8, seed=7), window=5e-6, amplifier=slow
    )
    runs = [(c.with_neurons(**known), run_ngspice(netlist(c))) for c in (first, other)]
    seconds = calibrate_dead_time(runs[:1])
    assert seconds == pytest.approx(1 / (2 * np.pi * 100e6), rel=0.6)
    blind = compare(other, runs[1][1]).stages[0].figures()
    told = compare(runs[1][0].with_neurons(dead_time=seconds), runs[1][1]).stages[0]
    np.testing.assert_array_equal(*told.counts)
    assert told.figures()["error_percent"] < 10
    assert told.figures()["error_mean_s"] < blind["error_mean_s"] / 5


def test_transistors(need_tool):
    """Amplifiers draw their 6 uA, access transistors add little to their cells, gates feed through: all in bounds."""
    need_tool("ngspice")
    net = network(1e-6)
    pulses = Pulses(np.array([[0.3e-6]]), np.array([[0]]), 55e-9, 3)
    circuit = spiking_circuit(
        net, pulses, virtual_ground=0.9, layer=0, columns=1, window=1e-6, amplifier=Amplifier(kind="transistor")
    )
    waveforms = run_ngspice(netlist(circuit))
    time, supply = waveforms.time, -waveforms["i(vdd0)"]
    assert supply[(time > 0.1e-6) & (time < 0.25e-6)].mean() == pytest.approx(6e-6, rel=0.1)
    current = -waveforms["i(vr0)"][np.searchsorted(time, 0.33e-6)]
    g = np.array(0.9 / 178.2e3)  # less what 62 MHz and some kilohms of the access transistor take
    assert current == pytest.approx(0.05 * g * settled_share(g, IFNeuron.sky130(gain_bandwidth=62e6)), rel=0.07)
    stage = compare(circuit, waveforms).stages[0]
    assert len(stage.spice[0]) == 0
    before, after = (np.interp(t, stage.grid, stage.spice_u[:, 0]) for t in (0.29e-6, 0.9e-6))
    assert before == pytest.approx(0.0, abs=0.015)  # the reset switch has left some charge
    assert after - before == pytest.approx(0.9 * 0.21, rel=0.2)
    assert stage.figures()["error_mean_s"] is None


def test_amplifier_of_transistors(need_tool):
    """Follower with a step of 0.3 V: gain above 1000, slew rate of tail current over Miller capacitor, within 40 %."""
    need_tool("ngspice")
    text = "\n".join(
        [
            "* follower", *models(), *amplifier_lines(1), f"Vdd vdd 0 {SUPPLY}",
            "Vin p 0 PWL(0 0.7 20n 0.7 20.1n 1.0)", "Xa p o o vdd amplifier", "Cl o 0 25f",
            ".options method=gear", ".save v(o) v(p)", ".tran 0.1n 150n 0 0.1n", ".end", "",
        ]
    )  # fmt: skip
    waveforms = run_ngspice(Netlist(text=text, saved=("time", "v(o)", "v(p)"), stop=150e-9))
    out, time = waveforms["v(o)"], waveforms["time"]
    at = np.searchsorted(time, [19e-9, 149e-9])
    assert np.abs(out[at] - [0.7, 1.0]).max() < 1e-3
    rising = [time[np.argmax(out > level)] for level in (0.75, 0.9)]
    assert 0.15 / (rising[1] - rising[0]) == pytest.approx(1.2e-6 / 50e-15, rel=0.4)
    assert mos("x", "d g s b", "nch", 1.0, 0.5) == "Mx d g s b nch w=1u l=0.5u ad=0.5p as=0.5p pd=3u ps=3u"


def test_picture(need_tool):
    need_tool("ngspice")
    circuit = interception(1e-6)
    result = compare(circuit, run_ngspice(netlist(circuit)))
    picture = comparison_figure(result, "two layers")
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 20_000
    assert json.loads(json.dumps(result.figures()))["ngspice"] == result.version


# --- command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path):
    from test_crossbar_chip import project

    project(tmp_path)
    write_values(tmp_path / "values.npz", inputs=4, classes=3)
    path = tmp_path / "tiny.toml"
    text = path.read_text().replace("steps = 5", "steps = 20")
    path.write_text(text + '[data]\nset = "npz"\npath = "values.npz"\n')
    return path


def command(*words, cwd, **variables):
    return subprocess.run(
        [sys.executable, "-m", "spikeloom.cli", "spice", *map(str, words)],
        cwd=cwd, capture_output=True, text=True, check=False, env={**os.environ, **variables},
    )  # fmt: skip


def test_command(need_tool, config, tmp_path):
    need_tool("ngspice")
    done = command(config, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    folder = tmp_path / "build" / "tiny" / "spice"
    assert sorted(path.name for path in folder.iterdir()) == [
        ".spikeloom",
        "circuit.cir",
        "comparison.png",
        "spice.json",
    ]
    assert json.loads((folder / "spice.json").read_text())["stages"] == result["stages"]
    assert result["layers"] == ["fc0", "fc1"]
    assert [stage["neurons_of_other_count"] for stage in result["stages"]] == [0, 0]
    assert result["stages"][0]["spikes_closed"] > 0
    # Refused before anything is run, and what was there stays.
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    loaded = Project.load(config)
    for changes, message in (
        ({"layer": 5}, "layer: 5 was given; accepted: 0 to 1"),
        ({"input": -1}, "input: -1 was given"),
        ({"input": 10**6}, "input: 1000000 was given; accepted: 0 to"),
        ({"amplifier": "other"}, "amplifier: 'other' was given"),
        ({"timeout": 0.001}, r"\d+ synapses and 9 neurons in \d+ steps: about"),
        ({"step": float("nan")}, "step: nan was given"),
    ):
        with pytest.raises(InputError, match=message):
            spice_project(loaded, folder, SpiceOptions(**changes))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_what_an_ideal_circuit_must_keep():
    good = {"neurons_of_other_count": 0, "error_percent": 0.9}
    result = {"amplifier": "ideal", "layers": ["fc0", "fc1"], "stages": [good, good | {"error_percent": None}]}
    assert missed(result) == ""
    for change, message in (
        ({"neurons_of_other_count": 2}, "fc1: 2 neurons"),
        ({"error_percent": 1.1}, r"fc1: .* 1\.1 %"),
    ):
        worse = result | {"stages": [good, good | change]}
        assert re.search(message, missed(worse))
        assert missed(worse | {"amplifier": "transistor"}) == ""


def test_command_without_ngspice(config, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    hidden = {"PATH": str(empty), "SPIKELOOM_CACHE": str(empty)}
    code = "import sys; from spikeloom import tools; tools.SYSTEM_PROGRAMS = ''; from spikeloom.cli import main; main()"

    def run(*words):
        return subprocess.run(
            [sys.executable, "-c", code, "spice", str(config), *words],
            cwd=tmp_path, capture_output=True, text=True, check=False, env={**os.environ, **hidden},
        )  # fmt: skip

    done = run()
    assert done.returncode == 3
    assert "ngspice is missing" in done.stderr
    assert "apt-get install ngspice" in done.stderr
    assert not (tmp_path / "build").exists()
    done = run("--netlist-only")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "build" / "tiny" / "spice"
    assert sorted(path.name for path in folder.iterdir()) == [".spikeloom", "circuit.cir"]
    assert "ngspice" not in Path(folder / "circuit.cir").read_text()


def test_command_for_other_cores(tmp_path):
    path = make_project(tmp_path)
    done = command(path, cwd=tmp_path)
    assert done.returncode == 2
    assert "core.kind: 'digital' was given; accepted for spice: 'crossbar'" in done.stderr


def test_interrupted_command_leaves_nothing(config, tmp_path):
    bin_folder = tmp_path / "bin"
    fake(bin_folder, f"echo $$ > {tmp_path}/pid; exec sleep 100")
    process = subprocess.Popen(
        [sys.executable, "-m", "spikeloom.cli", "spice", str(config)],
        cwd=tmp_path, env={**os.environ, "PATH": f"{bin_folder}:{os.environ['PATH']}"},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    end = time.monotonic() + 60
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    assert not (tmp_path / "build").exists() or not list((tmp_path / "build").rglob("*.cir"))
