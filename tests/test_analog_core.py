"""Integer cores against a loop over time quanta; converters; tiles."""

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom_analog.converters import ADC, DAC, ConverterArray, DACArray, search
from spikeloom_analog.core import CodeCore, PulseCore
from spikeloom_analog.crossbar import Crossbar, Wire
from spikeloom_analog.devices import RRAM, Device, ideal
from spikeloom_analog.laws import FixedNoise
from spikeloom_analog.network import AnalogLayer, Pulses
from spikeloom_analog.neurons import IFNeuron
from spikeloom_analog.streams import Purpose, stream
from spikeloom_analog.tiles import TiledCrossbar


def _layer(*, read_noise=True, seeds=(5, 6), **neuron):
    g = stream(0, 9, Purpose.WRITE).uniform(0.03, 0.9, (4, 6)) / 178.2e3
    crossbar = Crossbar(g, device=RRAM.sky130(read_noise=read_noise), topology="gated_1t1r", cells=2, seeds=seeds)
    return AnalogLayer(crossbar, IFNeuron.sky130(**neuron))


def _pulses(key, quanta=24000, width=55):
    rng = stream(key, 9, Purpose.WRITE)
    start, row = [], []
    for i in range(4):
        at = int(rng.integers(0, 600))
        while at < quanta - width:
            start.append(at), row.append(i)
            at += width + int(rng.integers(0, 900))
    return np.array(start), np.array(row)


def _by_quanta(core, window, start, row):
    """The text of the module, quantum by quantum, in plain integers."""
    order = sorted(range(len(start)), key=lambda p: (start[p], row[p]))
    z = core.samples(window, len(start)).tolist()
    rate, sigma, theta = core.rate.tolist(), core.sigma.tolist(), core.threshold.tolist()
    charge, deaf, spikes = [0] * core.columns, [0] * core.columns, []
    drives = [
        (int(start[p]), [max(0, rate[row[p]][j] + ((sigma[row[p]][j] * z[n][j] + 2048) >> 12)) for j in range(6)])
        for n, p in enumerate(order)
    ]
    for k in range(core.quanta):
        now = [drive for begin, drive in drives if begin <= k < begin + core.width]
        for j in range(core.columns):
            if deaf[j]:
                deaf[j] -= 1
                continue
            charge[j] += sum(drive[j] for drive in now)
            if charge[j] >= theta[j]:
                spikes.append([k, j])
                charge[j], deaf[j] = 0, core.deaf
    return spikes


@pytest.mark.parametrize("changes", [{}, {"dead_time": 7e-9, "offset_high": 5e-3, "threshold_sigma": 5e-3}])
def test_pulse_core_equals_a_loop_over_quanta(changes):
    core = PulseCore(_layer(**changes), chip=1, window=6e-6)
    start, row = _pulses(3, 6000)
    found = core.run(11, start, row)
    assert found.tolist() == _by_quanta(core, 11, start, row)
    assert len(found) > 20
    assert core.run(12, start, row).tolist() != found.tolist()  # other noise
    shuffled = np.random.Generator(np.random.Philox(1)).permutation(len(start))
    assert core.run(11, start[shuffled], row[shuffled]).tolist() == found.tolist()


def test_asking_more_often_changes_nothing():
    core, (start, row) = PulseCore(_layer(), window=24e-6), _pulses(4)
    whole = core.run(2, start, row).tolist()
    core.begin(2)
    spikes, rng = [], stream(1, 9, Purpose.WRITE)
    for p in np.lexsort((row, start)):
        while core.now < start[p] and rng.random() < 0.7:
            spikes += core.advance(min(int(start[p]), core.now + int(rng.integers(1, 40))))
        core.pulse(int(row[p]), int(start[p]))
    while core.now < core.quanta:
        spikes += core.advance(core.now + 1000)
    assert [list(spike) for spike in spikes] == whole


def test_integers_follow_the_float_model():
    """Without noise, stamps of the first spikes are within some quanta of the closed form, and counts agree."""
    layer = _layer(read_noise=False)
    start, row = _pulses(6)
    order = np.lexsort((row, start))
    pulses = Pulses((start[order] * 1e-9)[None], row[order][None], 55e-9, 4)
    exact = layer.run(pulses, chip=np.array([0]), index=np.array([0]), window=24e-6)
    found = PulseCore(layer).run(0, start, row)
    for j in range(6):
        stamps, times = found[found[:, 1] == j, 0], exact.of(0, j) * 1e9
        assert abs(len(stamps) - len(times)) <= 1
        np.testing.assert_allclose(stamps[:3], times[:3], atol=12)


def test_noise_of_the_integers_is_that_of_pulses():
    layer = _layer()
    core = PulseCore(layer)
    expected = layer.sigma[0] * layer.pulse_noise_scale / layer.currents[0]
    np.testing.assert_allclose(core.sigma / core.rate, expected, rtol=0.01)
    z = core.samples(0, 4000)
    assert z.std() == pytest.approx(4096, rel=0.02)
    np.testing.assert_array_equal(core.samples(0, 10), z[:10])


def test_tables_say_what_they_are():
    one, same, other = PulseCore(_layer()), PulseCore(_layer()), PulseCore(_layer(), chip=1)
    assert one.tables()["sha256"] == same.tables()["sha256"]
    assert other.tables()["sha256"] == one.tables()["sha256"]  # no effect that differs between chips is frozen here
    assert PulseCore(_layer(threshold_sigma=1e-3)).tables()["sha256"] != one.tables()["sha256"]


def test_code_core_is_exact_and_order_free():
    device = Device(name="noisy", g_min=1e-6, g_max=40e-6, read=(FixedNoise(0.4e-6),))
    g = stream(2, 9, Purpose.WRITE).uniform(1e-6, 40e-6, (32, 5))
    crossbar = Crossbar(g, device=device, seeds=[1, 2])
    adc = ADC(kind="sar", bits=8, high=1.3e-4, unit_sigma=0.02, offset_sigma=2e-7, noise=1e-8)
    core = CodeCore(crossbar, ConverterArray(adc, 5, seeds=[1, 2]), chip=1, v_read=0.1, i_quantum=1e-11)
    rows = np.array([3, 17, 4, 31, 8])
    codes = core.read(rows, 7)
    np.testing.assert_array_equal(codes, core.read(rows[::-1], 7))
    np.testing.assert_array_equal(codes, core.read(np.isin(np.arange(32), rows), 7))
    many = np.array([core.read(rows, k) for k in range(300)])
    expected = crossbar.currents(np.where(np.isin(np.arange(32), rows), 0.1, 0.0)[None])[1, 0] / adc.lsb
    np.testing.assert_allclose(many.mean(axis=0), expected, atol=1.5)  # of mismatch and offset
    assert many.std(axis=0).max() > 0.1


def test_ideal_code_is_rounding():
    """code = clamp(floor((2 i + lsb) / (2 lsb))) in integers."""
    crossbar = Crossbar(np.full((8, 1), 20e-6), device=ideal(), wire=Wire(0, 0))
    converters = ConverterArray(ADC(bits=3, high=8e-6), 1)
    core = CodeCore(crossbar, converters, v_read=0.1, i_quantum=1e-9)
    lsb = 1000
    for n in range(9):
        i = 2000 * n
        assert core.read(np.arange(n), 0)[0] == min(7, (2 * i + lsb) // (2 * lsb))


@pytest.mark.parametrize("kind", ["ramp", "sar"])
def test_converters(kind):
    adc = ADC(kind=kind, bits=8, low=-1e-6, high=1e-6, unit_sigma=0.05, offset_sigma=1e-9)
    some = ConverterArray(adc, 30, seeds=range(40))
    inl = np.abs(some.inl()).max(axis=2)
    assert 0.1 < np.median(inl) < 2
    assert (ConverterArray(adc, 30, seeds=[17]).thresholds[0] == some.thresholds[17]).all()
    current = np.broadcast_to(np.linspace(-1.2e-6, 1.2e-6, 200)[None, :, None], (40, 200, 30)).copy()
    codes = some.convert(current, index=0)
    assert codes.min() == 0
    assert codes.max() == 255
    ideal_code = np.clip(np.floor((current + 1e-6) / adc.lsb + 0.5), 0, 255)
    assert np.abs(codes - ideal_code).max() <= np.ceil(inl.max() + 1)
    if kind == "ramp":  # one staircase for all columns
        np.testing.assert_allclose(some.inl()[:, 0], some.inl()[:, 1], atol=1e-9)
        np.testing.assert_array_equal(codes[3, :, 2], (some.thresholds[3, 2] <= current[3, :, 2, None]).sum(axis=1))
    else:  # the largest jump of a binary array is at the middle
        jumps = np.abs(np.diff(some.thresholds, axis=2) / adc.lsb - 1).mean(axis=(0, 1))
        assert np.argmax(jumps) == 126  # between codes 127 and 128


def test_search_is_counting_on_ascending_levels():
    rng = stream(3, 9, Purpose.WRITE)
    levels = np.sort(rng.integers(0, 1000, (4, 31)), axis=1)
    values = rng.integers(-10, 1010, (50, 4))
    np.testing.assert_array_equal(search(levels, values), (levels <= values[..., None]).sum(axis=2))


def test_dac():
    dac = DACArray(DAC(bits=4, high=0.3), 3)
    np.testing.assert_allclose(dac.voltages(np.array([[0, 5, 15]]))[0, 0], [0.0, 0.1, 0.3])
    spread = DACArray(DAC(bits=8, high=0.3, unit_sigma=0.05), 500, seeds=[1])
    middle = (spread.levels[0, :, 128] - spread.levels[0, :, 127]) / (0.3 / 255)
    assert middle.std() == pytest.approx(0.05 * np.sqrt(255), rel=0.1)


@pytest.mark.parametrize("encoding", ["differential", "single"])
def test_tiles_add_up(encoding):
    weights = stream(4, 9, Purpose.WRITE).normal(size=(25, 70))
    weights = np.abs(weights) if encoding == "single" else weights
    v = stream(5, 9, Purpose.WRITE).uniform(0, 0.2, (3, 70))
    device = ideal(g_min=1e-6, g_max=40e-6)
    exact = TiledCrossbar(weights, device=device, tile=(16, 8), encoding=encoding, wire=Wire(0, 0))
    assert {t.shape[0] <= 16 and t.shape[1] <= 8 for t, _, _ in exact.tiles} == {True}
    np.testing.assert_allclose(exact.currents(v)[0] / exact.siemens, v @ weights.T, rtol=1e-9, atol=1e-12)
    wired = TiledCrossbar(weights, device=device, tile=(64, 64), encoding=encoding, wire=Wire(1, 1))
    better = TiledCrossbar(weights, device=device, tile=(64, 64), encoding=encoding, wire=Wire(1, 1), calibrated=True)
    errors = [np.abs(t.currents(v)[0] / t.siemens - v @ weights.T).mean() for t in (wired, better)]
    assert errors[1] < errors[0] / 2


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: PulseCore(_layer(), quantum=10e-9),
            "pulse_width: 5.5e-08 s was given; accepted: a whole",
        ),
        (lambda: PulseCore(_layer(), chip=2), "chip: 2 was given; accepted: 0 to 1"),
        (lambda: PulseCore(_layer(leak_resistance=9e6)), "neuron: a leak"),
        (lambda: PulseCore(_layer()).pulse(4, 0), "row: 4 was given; accepted: 0 to 3"),
        (
            lambda: PulseCore(_layer()).run(0, [5, 40], [1, 1]),
            "row 1 at 40 was given; accepted: from 60",
        ),
        (
            lambda: PulseCore(_layer()).run(0, [24000], [1]),
            r"start\[0\]: 24000 was given; accepted: whole",
        ),
        (lambda: ADC(bits=0, high=1.0), "ADC bits: 0 was given"),
        (lambda: ADC(high=0.0), "ADC high: 0.0 was given; accepted: above low, 0 A"),
        (
            lambda: DACArray(DAC(bits=2, high=1.0), 1).voltages(np.array([[4]])),
            "codes: 4 to 4 were given",
        ),
        (
            lambda: TiledCrossbar(-np.ones((2, 2)), device=ideal(), encoding="single"),
            "weights: -1 was given",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()
