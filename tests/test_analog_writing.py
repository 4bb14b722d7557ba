"""The write path: switching models, pulses, write-verify, devices from files."""

import math

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from spikeloom.errors import InputError
from spikeloom_analog.chip import StuckAt
from spikeloom_analog.device_files import load_device
from spikeloom_analog.devices import RRAM
from spikeloom_analog.switching import VTEAM, StanfordPKU
from spikeloom_analog.writing import LogResponse, TableResponse, WritableCells, write_verify


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
    cells = WritableCells(device, 20_000, seed=3, faults=StuckAt(0.025, 0.025))
    level = np.random.Generator(np.random.Philox(5)).integers(0, 41, 20_000)
    result = write_verify(cells, level)
    grid = device.level_conductances
    edge = np.concatenate([[0.0], (grid[1:] + grid[:-1]) / 2, [1.0]])
    within = (cells.conductance > edge[level]) & (cells.conductance < edge[level + 1])
    good = cells.stuck == 0
    assert within[good].mean() >= 0.99
    assert np.median(result.pulses[good]) <= 30
    away = ~good & ~within  # a cell stuck where it should be is no fault
    assert away.sum() > 900
    assert result.fault[away].all()
    assert result.fault[good].mean() < 0.01


def test_write_noise_is_by_cell():
    """Cells written in another order, or alone, end at the same conductance."""
    device = RRAM.sky130()
    together, turns = (WritableCells(device, 50, seed=1) for _ in range(2))
    for _ in range(3):
        together.pulse(np.arange(50), np.ones(50, bool), 0.5)
    for cell in np.arange(50)[::-1]:
        for _ in range(3):
            turns.pulse(np.array([cell]), np.ones(1, bool), 0.5)
    np.testing.assert_array_equal(together.conductance, turns.conductance)
    assert len(np.unique(together.conductance)) == 50
    np.testing.assert_array_equal(together.read(np.arange(50))[7], turns.read(np.array([7]))[0])


def test_longer_reads_are_quieter():
    cells = WritableCells(RRAM.sky130(), 4000, seed=1)
    short, long = cells.read(np.arange(4000)).std(), cells.read(np.arange(4000), 1e-6).std()
    assert short / long == pytest.approx(10, rel=0.1)  # 100 values of 10 ns


def test_measured_response_follows_the_curve():
    up, down = np.array([1e-6, 3e-6, 4e-6, 4.5e-6]), np.array([4.5e-6, 2e-6, 1e-6])
    response = TableResponse(up, down)
    g = np.array([1e-6, 2e-6, 4.5e-6, 3.25e-6])
    one, none = np.ones(4), np.zeros(4)
    np.testing.assert_allclose(response.change(g, one > 0, one, none), [3e-6, 3.5e-6, 4.5e-6, 4.125e-6])
    np.testing.assert_allclose(response.change(g, one < 0, one, none), [1e-6, 1e-6, 2e-6, 1.5e-6])


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
    cells = WritableCells(user.device, 3, response=user.response)
    cells.pulse(np.arange(3), np.ones(3, bool))
    np.testing.assert_allclose(cells.conductance, 5e-6)


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
        (lambda: LogResponse(step=0.0), "step: 0.0 was given"),
        (
            lambda: TableResponse(np.array([1e-6, 1e-6]), np.array([2e-6, 1e-6])),
            "pulse response up: accepted: two",
        ),
        (lambda: WritableCells(RRAM.wan2022(), 3), "rram_wan2022: g_min 0 was given; accepted with LogResponse"),
        (lambda: write_verify(WritableCells(RRAM.sky130(), 2), np.array([0, 41])), r"level\[1\]: 41 was given"),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()


def test_pulses_of_a_cell_differ():
    """No two pulses and no two reads have the same noise."""
    cells = WritableCells(RRAM.sky130(), 1, seed=1, response=LogResponse(step=0.1, cycle_to_cycle=0.3))
    steps, reads = [], []
    for _ in range(6):
        before = cells.conductance[0]
        cells.pulse(np.array([0]), np.ones(1, bool), 0.5)
        steps.append(math.log(cells.conductance[0] / before))
        reads.append(cells.read(np.array([0]))[0] / cells.conductance[0])
    assert len({round(step, 12) for step in steps}) == len({round(read, 12) for read in reads}) == 6
