"""The write path: switching models, pulses, write-verify, devices from files."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from spikeloom.errors import InputError
from spikeloom.mapping.write_verify import FIRST_AMPLITUDES, WriteVerifyPlan
from spikeloom_analog.cells import CellArray, cell_tables, conductances, levels_of, write_verify
from spikeloom_analog.device_files import load_device
from spikeloom_analog.devices import RRAM, Device
from spikeloom_analog.laws import FixedNoise
from spikeloom_analog.switching import VTEAM, StanfordPKU
from spikeloom_analog.writing import GapPulse, TableResponse, first_amplitudes


def test_vteam_by_hand():
    """v = 2 v_off moves x at k_off; between the thresholds nothing moves."""
    model = VTEAM()
    g = np.array([1 / 50.0])
    after = model.apply(g, 0.04, 1e-6)
    assert 1 / after[0] == pytest.approx(50 + 950 * 5e-4 * 1e-6 / 3e-9)
    assert model.apply(after, 0.01, 1.0)[0] == pytest.approx(after[0])
    assert model.apply(after, -0.15, 1.0)[0] == pytest.approx(after[0])
    back = model.apply(after, -0.4, 1e-11)  # k_on (2 - 1)**3 = -10 m/s
    assert 1 / back[0] == pytest.approx(1 / after[0] - 950 * 10 * 1e-11 / 3e-9)
    assert model.apply(g, 1.0, 1.0)[0] == pytest.approx(1e-3)  # stops at r_off


@pytest.mark.parametrize(("v", "seconds"), [(-1.3, 1e-7), (1.3, 1e-7), (1.5, 2e-8)])
def test_stanford_equals_numeric_integration(v, seconds):
    model, q, kb = StanfordPKU(), 1.602176634e-19, 1.380649e-23
    start = float(model.gap(np.array(2e-5)))

    def slope(_, gap):
        current = 1e-3 * math.exp(-gap[0] / 0.25e-9) * math.sinh(v / 0.25)
        t = 298 + abs(v * current) * 2.1e3
        gamma = 16 - 0.8 * (gap[0] / 1e-9) ** 3
        gamma = 0.0 if gamma * abs(v) / 12e-9 < 1.4e9 else gamma
        return [-10 * math.exp(-q * 0.6 / kb / t) * math.sinh(gamma * 0.25e-9 / 12e-9 * q * v / kb / t)]

    gaps = [float(model.gap(np.array(g))) for g in (model.g_max, model.g_min)]
    steps = solve_ivp(slope, (0, seconds), [start], rtol=1e-9, atol=1e-16, method="LSODA")
    expected = steps.y[0, -1]
    found = float(model.gap(model.apply(np.array([2e-5]), v, seconds))[0])
    assert gaps[0] < expected < gaps[1]
    assert found - start == pytest.approx(expected - start, rel=2e-3)
    assert abs(found - start) > 1e-11


def test_stanford_range():
    model = StanfordPKU()
    assert model.conductance(model.gap(np.array([1e-4])))[0] == pytest.approx(1e-4)
    set_, reset = model.apply(np.array([1e-4, 1e-4]), np.array([2.5, -2.5]), 1e-3)
    assert set_ == pytest.approx(1 / 542)
    assert reset == pytest.approx(1 / 218586)


def test_write_verify_on_41_levels():
    """Cycle-to-cycle and read noise, 5 % stuck cells: the good ones arrive, the stuck ones are found."""
    device = RRAM.sky130()
    tables = cell_tables(device, (100, 100, 2), seed=3, stuck=0.05)
    cells = CellArray(tables)
    level = np.random.Generator(np.random.Philox(5)).integers(0, 41, tables.shape)
    result = write_verify(cells, levels_of(device)[level], WriteVerifyPlan())
    grid = device.level_conductances
    away = np.abs(np.log(conductances(cells) / grid[level])) > np.log(grid[1] / grid[0]) / 2
    good = ~tables.stuck
    assert (~away)[good].mean() >= 0.99
    assert np.median(result.pulses[good]) <= 30
    found = ~good & away  # a cell stuck where it should be is no fault
    assert found.sum() > 900
    assert result.fault[found].all()
    assert result.fault[good].mean() < 0.01


def test_write_noise_is_by_cell():
    """Cells written in another order, or alone, end at the same conductance; no two pulses or reads are alike."""
    tables = cell_tables(RRAM.sky130(), (5, 10, 1), seed=1)
    together, turns = CellArray(tables), CellArray(tables)
    everywhere = np.ones(tables.shape, bool)
    for _ in range(3):
        together.pulse(everywhere, everywhere, np.full(tables.shape, 12))
    for row, column, cell in list(np.ndindex(*tables.shape))[::-1]:
        for _ in range(3):
            turns.access(0, row, column, cell, 12)
    np.testing.assert_array_equal(together.state, turns.state)
    assert len(np.unique(together.state - tables.state)) > 30
    assert turns.access(2, 3, 4, 0, 0) == together.read(everywhere, 0)[3, 4, 0]
    assert len({turns.access(2, 3, 4, 0, 0) for _ in range(6)}) > 3


def test_longer_reads_are_quieter():
    device = RRAM.sky130()
    tables = cell_tables(device, (40, 50, 2), seed=1, conductance=np.full((40, 50, 2), device.g_max / 2))
    cells, everywhere = CellArray(tables), np.ones((40, 50, 2), bool)
    spread = [(cells.read(everywhere, average) / tables.gain[:, None]).std(axis=(0, 2)).mean() for average in (0, 6)]
    assert spread[0] / spread[1] == pytest.approx(8, rel=0.1)


def test_gap_pulse_is_the_speed_of_the_switching_model():
    """By hand: 55 ns, 10 m/s exp(-0.6 / kT) sinh(16 a0 V / (t_ox kT)) over g0 = a0 = 0.25 nm, at 300 K."""
    kt = 1.380649e-23 * 300 / 1.602176634e-19
    volts = 0.80 + 0.02 * np.arange(32)
    wanted = 55e-9 * 10 * np.exp(-0.6 / kt) * np.sinh(16 * 0.25 / 12 * volts / kt) / 0.25e-9
    np.testing.assert_allclose(GapPulse().moves(), wanted, rtol=1e-9)
    g = np.array([2e-5])
    moved = abs(np.log(GapPulse().law.apply(g, 1.2, 55e-9) / g))  # the whole model, integrated over the pulse
    assert GapPulse().moves()[20] == pytest.approx(moved[0], rel=1e-3)
    assert first_amplitudes(GapPulse()) == FIRST_AMPLITUDES


UP, DOWN = np.array([1e-6, 3e-6, 4e-6, 4.5e-6]), np.array([4.5e-6, 2e-6, 1e-6])


def measured(g, **changes):
    """Cells at conductances g [S] that move along UP and DOWN."""
    device = Device(name="mine", g_min=1e-6, g_max=4.5e-6)
    shape = (1, 1, len(g))
    return CellArray(
        cell_tables(device, shape, response=TableResponse(UP, DOWN, **changes), conductance=np.reshape(g, shape))
    )


def test_measured_response_follows_the_curve():
    """Full pulses go from point to point, and no further than the ends."""
    for curve, kind in ((UP, 0), (DOWN, 1)):
        cells = measured(curve[:1])
        for expected in (*curve[1:], curve[-1]):
            cells.access(kind, 0, 0, 0, 31)
            assert conductances(cells).item() == pytest.approx(expected, rel=2e-3)
    half = measured([1e-6, 2e-6])  # between points a pulse moves as from the one below, in ln G
    half.pulse(np.ones((1, 1, 2), bool), np.ones((1, 1, 2), bool), np.full((1, 1, 2), 31))
    np.testing.assert_allclose(conductances(half)[0, 0], [3e-6, 4.5e-6], rtol=2e-3)
    assert np.all(np.diff(TableResponse(UP, DOWN).moves()) >= 0)


def test_measured_response_is_written_and_verified():
    """The same plan brings cells of a measured device, 40 unequal pulses from end to end, to their targets."""
    n = np.arange(41)
    up = 1e-6 + 39e-6 * (1 - np.exp(-n / 12)) / (1 - np.exp(-40 / 12))
    device = Device(name="mine", g_min=1e-6, g_max=40e-6, levels=16, spacing="log", read=(FixedNoise(2e-7),))
    tables = cell_tables(device, (20, 20, 1), response=TableResponse(up, up[::-1], 0.3), stuck=0.05)
    cells = CellArray(tables)
    level = np.random.default_rng(1).integers(0, 16, tables.shape)
    result = write_verify(cells, levels_of(device)[level], WriteVerifyPlan())
    grid = device.level_conductances
    away = np.abs(np.log(conductances(cells) / grid[level])) > np.log(grid[1] / grid[0]) / 2
    assert (~away)[~tables.stuck].mean() > 0.97
    assert result.fault[tables.stuck & away].all()
    assert np.median(result.pulses) <= 30


FILES = {
    "up.csv": "pulse,conductance_S\n0,1e-6\n1,5e-6\n2,9e-6\n",
    "down.csv": "conductance_S,pulse\n9e-6,0\n4e-6,1\n1e-6,2\n",
    "noise.csv": "conductance_S,sigma_S\n1e-6,1e-7\n9e-6,4e-7\n",
}
TOML = """schema = 1
name = "mine"
g_min = 1e-6
g_max = 9e-6
levels = 5
programming = "noise.csv"
read = 2e-7
potentiation = "up.csv"
depression = "down.csv"
source = "wafer 7"
"""


def _write(folder, toml=TOML, **files):
    for name, text in (FILES | {key.replace("_csv", ".csv"): text for key, text in files.items()}).items():
        (folder / name).write_text(text)
    (folder / "mine.toml").write_text(toml)
    return folder / "mine.toml"


def test_device_of_a_user(tmp_path):
    user = load_device(_write(tmp_path))
    assert user.device.level_conductances.tolist() == pytest.approx([1e-6, 3e-6, 5e-6, 7e-6, 9e-6])
    assert user.device.programming[0].sigma(np.array([5e-6]))[0] == pytest.approx(2.5e-7)
    assert user.device.sources["programming"] == "wafer 7"
    assert user.response is not None
    cells = CellArray(cell_tables(user.device, (1, 1, 1), response=user.response, conductance=np.full((1, 1, 1), 1e-6)))
    cells.access(0, 0, 0, 0, 31)
    assert conductances(cells).item() == pytest.approx(5e-6, rel=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            ("levels = 5", "levels = 1"),
            "mine.toml: device mine: levels: 1 was given; accepted: a whole",
        ),
        (("levels = 5", "level = 5"), "mine.toml: level: unknown key; accepted are .*; did you mean 'levels'"),
        (("g_min = 1e-6", "g_min = -1e-6"), "mine.toml: device mine: g_min: -1e-06 was given"),
        (("g_min = 1e-6", "g_min = nan"), "mine.toml: g_min: nan was given; accepted: a number in S"),
        (
            ("g_max = 9e-6", "g_max = 8e-6"),
            "noise.csv: line 3: conductance_S: 9e-06 was given; accepted: 1e-06",
        ),
        (('"up.csv"', '"none.csv"'), "none.csv: No such file or directory; accepted: a CSV file with columns pulse"),
        (('depression = "down.csv"\n', ""), "mine.toml: potentiation was given alone; accepted"),
        (("schema = 1", "schema = 2"), "mine.toml: schema: 2 was given; accepted: 1"),
        (("read = 2e-7", "read = true"), "mine.toml: read: True was given; accepted: a number in S"),
        (("levels = 5", "levels = ]"), "mine.toml: .*; accepted: a device file in TOML"),
    ],
)
def test_bad_device_files(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        load_device(_write(tmp_path, TOML.replace(*change)))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            {"up_csv": "pulse,conductance_S\n0,1e-6\n1,nan\n"},
            "up.csv: line 3: conductance_S: 'nan' was given",
        ),
        ({"up_csv": "pulse,conductance_S\n0,-1e-6\n1,2e-6\n"}, "up.csv: line 2: conductance_S: '-1e-6' was given"),
        ({"up_csv": "pulse,conductance_S\n0,2e-6\n1,1e-6\n"}, "up.csv: line 3: .*accepted: conductances that rise"),
        (
            {"up_csv": "pulse,siemens\n0,2e-6\n"},
            "up.csv: line 1: pulse, siemens was given; accepted: a column",
        ),
        ({"up_csv": "pulse,conductance_S\n0,2e-6\n"}, "up.csv: 1 lines of numbers were given; accepted: at least 2"),
        ({"noise_csv": "conductance_S,sigma_S\n1e-6,x\n"}, "noise.csv: line 2: sigma_S: 'x' was given"),
    ],
)
def test_bad_measurements(tmp_path, files, message):
    with pytest.raises(InputError, match=message):
        load_device(_write(tmp_path, **files))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: VTEAM(r_off=10.0), "VTEAM r_off: 10.0 was given; accepted: above r_on"),
        (lambda: StanfordPKU(r_on=-5.0), "StanfordPKU r_on: -5.0 was given"),
        (lambda: GapPulse(width=0.0), "write pulse width: 0.0 was given"),
        (
            lambda: TableResponse(np.array([1e-6, 1e-6]), np.array([2e-6, 1e-6])),
            "pulse response up: accepted: two",
        ),
        (
            lambda: write_verify(
                CellArray(cell_tables(RRAM.sky130(), (1, 1, 1))), np.zeros((1, 1, 1)), WriteVerifyPlan()
            ),
            "targets: accepted: whole numbers from 1 to 4095",
        ),
        (lambda: cell_tables(RRAM.sky130(), (1, 1, 1), stuck=1.5), "stuck: 1.5 was given; accepted: a number from 0"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()
