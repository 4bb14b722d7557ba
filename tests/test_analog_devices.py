"""Devices, order of effects, seeds."""

import math

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom_analog.chip import Chips, StuckAt
from spikeloom_analog.devices import PCM, RRAM, Device, ideal
from spikeloom_analog.laws import CubicIV, Endurance, FixedNoise, MiloIV, SinhIV, TableNoise, thermal_current_noise
from spikeloom_analog.streams import Purpose, Streams, normals, stream


def test_published_numbers():
    """Points that follow from the published fits by hand."""
    wan = RRAM.wan2022().programming[0].sigma(np.array([20e-6]))[0]
    assert wan == pytest.approx((1.536e-4 * 8000 - 1.167e-2 * 400 + 0.2374 * 20 + 1.053) * 1e-6)
    assert wan == pytest.approx(2.36e-6, rel=0.01)
    milo = RRAM.milo2021()
    assert milo.programming[0].sigma(np.array([100e-6]))[0] == pytest.approx((4.782321 - 0.9107) * 1e-6)
    pcm = PCM.joshi2020()
    assert pcm.programming[0].sigma(np.array([12.5e-6]))[0] == pytest.approx((0.26348 + 0.98250 - 0.293275) * 1e-6)
    # CrossSim's own quadratic of the same device, Joshi 2020, Fig. 3(b), agrees within 1 %.
    assert pcm.programming[0].sigma(np.array([25e-6]))[0] == pytest.approx(
        (-0.00178767 * 625 + 0.07585724 * 25 + 0.28638599) * 1e-6, rel=0.01
    )
    g = 1 / 5.94e6 / 2
    r = 0.035 * (g / 7e-6) ** -0.95
    assert RRAM.sky130().read[0].sigma(np.array([g]))[0] == pytest.approx(g * 0.35 * r / (0.35 + r))
    assert thermal_current_noise(np.array(10e-6), 300, 10e6) == pytest.approx(1.29e-9, rel=0.003)


def test_sky130_levels():
    device = RRAM.sky130()
    r = 1 / (2 * device.level_conductances)
    assert len(r) == 41
    assert r[0] == pytest.approx(5.94e6)
    assert r[-1] == pytest.approx(198e3)
    np.testing.assert_allclose(np.diff(np.log(r)), -math.log(30) / 40)


def test_nearest_level():
    device, rng = RRAM.sky130(), stream(0, 0, Purpose.WRITE)
    g = rng.uniform(device.g_min, device.g_max, 500)
    found = device.quantise(g)
    for asked, level, given in zip(g, found.levels, found.conductance, strict=True):
        distances = [abs(x - asked) for x in device.level_conductances]
        assert level == distances.index(min(distances))
        assert given == device.level_conductances[level]
    np.testing.assert_allclose(found.error, found.conductance - g)


def test_between_off_and_smallest():
    device = RRAM.sky130()
    g = device.g_min * np.array([0.0, 0.2, 0.49, 0.51, 1.0])
    found = device.quantise(g, off=True)
    assert found.levels.tolist() == [-1, -1, -1, 0, 0]
    assert found.conductance.tolist() == [0, 0, 0, device.g_min, device.g_min]
    np.testing.assert_allclose(found.error, device.g_min * np.array([0, -0.2, -0.49, 0.49, 0]), atol=1e-20)
    with pytest.raises(InputError, match=r"conductance\[0\]: 0 S was given; accepted: .* \(rram_sky130_41\)"):
        device.quantise(g)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ideal(levels=1), "levels: 1 was given; accepted: a whole number of at least 2"),
        (lambda: ideal(g_min=5e-6, g_max=1e-6), "g_max 1e-06 S was given; accepted: above g_min, 5e-06 S"),
        (lambda: ideal(g_max=math.nan), "g_max: nan was given; accepted: a finite number above 0, in S"),
        (lambda: RRAM.wan2022(g_max=50e-6), "g_max: 5e-05 S was given; accepted: up to 39.26 uS"),
        (
            lambda: Chips(ideal(), np.array([[1e-6, 41e-6]])),
            r"conductance\[0, 1\]: 4.1e-05 S was given; accepted: 0 to",
        ),
        (lambda: Chips(ideal(), np.array([[1e-6, math.nan]])), r"conductance\[0, 1\]: nan was given; accepted: finite"),
        (lambda: Chips(ideal(), np.array([[-1e-6]])), r"conductance\[0, 0\]: -1e-06 S was given"),
        (lambda: Chips(ideal(), np.ones((1, 1)) * 1e-6, temperature=0.0), "temperature: 0.0 was given"),
        (
            lambda: Chips(ideal(), np.ones((1, 1)) * 1e-6, seeds=-1),
            "seeds: -1 was given; accepted: whole numbers from 0",
        ),
        (lambda: StuckAt(0.6, 0.6), "stuck-at low [+] high: 1.2 was given; accepted: a number from 0 to 1"),
        (
            lambda: Device(name="mine", g_min=1e-6, g_max=2e-6, levels=2, spacing="table", table=(1e-6, 3e-6)),
            "table from 1e-06 to 3e-06 S was given; accepted: 1e-06 to 2e-06 S",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()


def _chips(seeds, **changes):
    device = PCM.joshi2020(levels=16)
    target = device.g_max * stream(1, 0, Purpose.WRITE).random((6, 5))
    chips = Chips(device, target, seeds=seeds, cells=2, faults=StuckAt(0.1, 0.1), **changes)
    return chips


def test_same_chips_in_any_order_and_batch():
    whole = _chips([3, 8, 5])
    whole.age(1000.0)
    for place, seed in enumerate([3, 8, 5]):
        alone = _chips(seed)
        alone.age(1000.0)
        np.testing.assert_array_equal(alone.conductance[0], whole.conductance[place])
        np.testing.assert_array_equal(alone.read(7)[0], whole.read(7)[place])
    assert not np.array_equal(whole.conductance[0], whole.conductance[1])
    assert not np.array_equal(_chips(3, core=1).conductance, _chips(3).conductance)
    sky = Chips(RRAM.sky130(), np.full((4, 4), 1e-6), seeds=3, cells=2)
    assert not np.array_equal(sky.read(0), sky.read(1))
    np.testing.assert_array_equal(sky.read(1), sky.read(1))


def test_order_of_effects():
    """Each effect alone on what the one before left, recomputed here from the same streams."""
    device = Device(
        name="all",
        g_min=1e-6,
        g_max=20e-6,
        levels=8,
        programming=(FixedNoise(0.5e-6),),
        drift=PCM.joshi2020().drift,
        read=(FixedNoise(0.2e-6),),
        activation_energy=0.05,
    )
    target = np.linspace(1e-6, 10e-6, 12).reshape(3, 4)
    chips = Chips(device, target, seeds=11, core=2, faults=StuckAt(0.2, 0.2), temperature=350.0)
    chips.age(500.0)

    grid = [1e-6 + k * 19e-6 / 7 for k in range(8)]
    level = np.array([[min(grid, key=lambda x: abs(x - t)) for t in row] for row in target])

    def z(purpose, index=0):
        return stream(11, 2, purpose, index)

    g = level + 0.5e-6 * z(Purpose.PROGRAMMING).standard_normal((1, 3, 4))[0]
    u = z(Purpose.STUCK).random((1, 3, 4))[0]
    g = np.where(u < 0.2, 1e-6, np.where(u < 0.4, 20e-6, g))
    assert 0 < (u < 0.4).sum() < 12
    x = np.log(g / 20e-6)
    mean, spread = np.clip(-0.0155 * x + 0.0244, 0.049, 0.1), np.clip(-0.0125 * x - 0.0059, 0.008, 0.045)
    g = g * (520.0 / 20.0) ** -np.abs(mean + spread * z(Purpose.DRIFT).standard_normal((1, 3, 4))[0])
    g = g * np.exp(-0.05 / 8.617333e-5 * (1 / 350 - 1 / 300))
    np.testing.assert_allclose(chips.conductance[0], g, rtol=1e-7)
    read = g + 0.2e-6 * z(Purpose.READ, 4).standard_normal((3, 4))
    np.testing.assert_allclose(chips.read(4)[0], read, rtol=1e-7)


def test_ageing_adds_up():
    once, twice = _chips(2), _chips(2)
    once.age(300.0)
    twice.age(100.0)
    assert twice.conductance.sum() > 0  # what was cached is dropped
    twice.age(200.0)
    np.testing.assert_array_equal(once.conductance, twice.conductance)


def test_statistics_of_programming():
    device = RRAM.wan2022()
    chips = Chips(device, np.full((50, 40), 20e-6), seeds=range(20))
    found = chips.conductance
    assert found.mean() == pytest.approx(20e-6, abs=4 * 2.36e-6 / math.sqrt(found.size))
    assert found.std() == pytest.approx(2.36e-6, rel=0.02)


def test_faults_and_wear():
    device = Device(name="worn", g_min=1e-6, g_max=10e-6, endurance=Endurance(scale=1e6, shape=2.0, low=0.25))
    target = np.full((100, 100), 5e-6)
    assert (Chips(device, target, seeds=0).conductance == 5e-6).all()
    worn = Chips(device, target, seeds=0, cycles=1e6)
    part = (worn.stuck != 0).mean()
    assert part == pytest.approx(1 - math.exp(-1), abs=0.02)
    assert (worn.stuck < 0).sum() / (worn.stuck != 0).sum() == pytest.approx(0.25, abs=0.03)
    assert set(np.unique(worn.conductance)) == {1e-6, 5e-6, 10e-6}
    older = Chips(device, target, seeds=0, cycles=2e6)
    assert ((older.stuck != 0) >= (worn.stuck != 0)).all()  # nothing heals
    stuck = Chips(device, target, seeds=4, faults=StuckAt(0.05, 0.02))
    assert (stuck.stuck < 0).mean() == pytest.approx(0.05, abs=0.01)
    assert (stuck.stuck > 0).mean() == pytest.approx(0.02, abs=0.006)


def test_never_selected_cells_have_no_noise():
    chips = Chips(RRAM.sky130(), np.array([[0.0, 1e-6]]), seeds=[0, 1], cells=2, off=True, faults=StuckAt(0.5, 0.5))
    assert (chips.conductance[:, 0, 0] == 0).all()
    assert (chips.read_sigma[:, 0, 0] == 0).all()
    assert (chips.read_sigma[:, 0, 1] > 0).all()


def test_read_noise_of_parallel_cells():
    """Two cells have their own noise each: their relative noise is that of one by the square root of two."""
    one = Chips(RRAM.sky130(cells=1), np.array([[2e-6]]), cells=1)
    two = Chips(RRAM.sky130(cells=2), np.array([[4e-6]]), cells=2)
    law = RRAM.sky130().read[0]
    half = two.level_conductance[0, 0] / 2
    assert two.read_sigma[0, 0, 0] == pytest.approx(math.sqrt(2) * law.sigma(np.array(half)))
    assert one.read_sigma[0, 0, 0] == pytest.approx(float(law.sigma(one.level_conductance)[0, 0]))


@pytest.mark.parametrize("iv", [CubicIV(0.3, 2.0), SinhIV(0.25), MiloIV()])
def test_slopes_are_derivatives(iv):
    g, v, h = np.array([62.5e-6, 100e-6]), np.array([0.1, -0.3]), 1e-6
    numeric = (iv.current(g, v + h) - iv.current(g, v - h)) / (2 * h)
    np.testing.assert_allclose(iv.slope(g, v), numeric, rtol=1e-7)
    np.testing.assert_allclose(iv.slope(g, 0 * v), g, rtol=1e-12)


def test_milo_fades_with_conductance():
    """At 0.5 V the 62.5 uS state is 15 % from ohmic, the 225 uS state (linear by assumption of the fit) is not."""
    iv = MiloIV()
    low, high = (iv.current(np.array(g), np.array(0.5)) / (g * 0.5) - 1 for g in (62.5e-6, 225e-6))
    assert abs(low) > 0.1
    assert abs(high) < 0.01


def test_table_noise():
    law = TableNoise(np.array([1e-6, 3e-6]), np.array([0.1e-6, 0.5e-6]))
    np.testing.assert_allclose(law.sigma(np.array([0.0, 2e-6, 9e-6])), [0.1e-6, 0.3e-6, 0.5e-6])


def test_streams_are_their_keys():
    z = normals([1, 2], (3,), core=0, purpose=Purpose.READ, index=5)
    np.testing.assert_array_equal(z[1], normals([2], (3,), core=0, purpose=Purpose.READ, index=5)[0])
    others = [(1, 0, Purpose.READ, 6), (1, 1, Purpose.READ, 5), (1, 0, Purpose.DRIFT, 5), (2, 0, Purpose.READ, 5)]
    for key in others:
        assert not np.array_equal(stream(*key).standard_normal(3), z[0])


def test_reused_generators_are_fresh_ones():
    streams = Streams(3, Purpose.READ)
    for seed, index in [(1, 0), (2**64 - 1, 7), (1, 0)]:
        got = streams.at(seed, index)
        expected = stream(seed, 3, Purpose.READ, index)
        np.testing.assert_array_equal(got.standard_normal(5), expected.standard_normal(5))
        assert got.integers(0, 7, 3, np.uint16).tolist() == expected.integers(0, 7, 3, np.uint16).tolist()


def test_flicker_grows_with_time():
    """20 s and 10^5 s after programming, by the published formula: 0.0088 x^-0.65 sqrt(ln((t + tr) / 2 tr))."""
    law = PCM.joshi2020().flicker
    assert law is not None
    for seconds in (0.0, 1e5):
        t = seconds + 20.0
        expected = 12.5e-6 * 0.0088 * 0.5**-0.65 * math.sqrt(math.log((t + 250e-9) / 500e-9))
        assert law.sigma(np.array([12.5e-6]), 25e-6, seconds)[0] == pytest.approx(expected)
    device = Device(name="flicker", g_min=0.0, g_max=25e-6, flicker=law)
    found = Chips(device, np.full((60, 60), 12.5e-6), seeds=0).conductance
    assert found.std() == pytest.approx(law.sigma(np.array([12.5e-6]), 25e-6, 0.0)[0], rel=0.05)
