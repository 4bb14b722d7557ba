"""The integer core with converters; converters; tiles."""

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom_analog.converters import ADC, DAC, ConverterArray, DACArray, search
from spikeloom_analog.core import CodeCore
from spikeloom_analog.crossbar import Crossbar, Wire
from spikeloom_analog.devices import Device, ideal
from spikeloom_analog.laws import FixedNoise
from spikeloom_analog.streams import Purpose, stream
from spikeloom_analog.tiles import TiledCrossbar


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
