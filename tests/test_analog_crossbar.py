"""Crossbars against an independent nodal solve."""

import warnings

import numpy as np
import pytest

import analog_oracle as oracle
from spikeloom.errors import InputError
from spikeloom_analog.chip import StuckAt
from spikeloom_analog.crossbar import Crossbar, IRLossWarning, Wire, differential
from spikeloom_analog.devices import RRAM, Device, ideal
from spikeloom_analog.ladder import bit_line_currents, bit_line_gains, transfer_matrix
from spikeloom_analog.laws import CubicIV, FixedNoise
from spikeloom_analog.nodal import ArrayNodes
from spikeloom_analog.streams import Purpose, stream

WIDE = ideal(g_max=100e-6)
"""Conductances up to 100 uS, so that wires matter."""


def _array(rows, columns, seed=0, low=1e-6):
    rng = stream(seed, 9, Purpose.WRITE)
    return rng.uniform(low, 100e-6, (rows, columns)), rng.uniform(0.0, 0.3, rows), rng


@pytest.mark.parametrize(
    ("rows", "columns", "r_wl", "r_bl"),
    [(1, 1, 2, 2), (1, 7, 2, 3), (7, 1, 3, 2), (64, 64, 2, 2), (40, 24, 3.0, 0.5), (24, 40, 0.1, 7), (128, 128, 2, 2)],
)
def test_row_driven_equals_nodal_solve(rows, columns, r_wl, r_bl):
    g, v, _ = _array(rows, columns)
    found = v @ transfer_matrix(g, r_wl, r_bl)
    np.testing.assert_allclose(found, oracle.row_driven(g, v, r_wl, r_bl), rtol=1e-9)


@pytest.mark.slow
def test_row_driven_equals_nodal_solve_256():
    g, v, _ = _array(256, 256)
    np.testing.assert_allclose(v @ transfer_matrix(g, 2, 2), oracle.row_driven(g, v, 2, 2), rtol=1e-9)


@pytest.mark.parametrize(
    ("rows", "columns", "r_bl"), [(1, 3, 2), (64, 64, 2), (40, 24, 9.0), (128, 128, 2), (256, 64, 1)]
)
def test_gated_equals_nodal_solve(rows, columns, r_bl):
    g, v, rng = _array(rows, columns)
    g[rng.random(g.shape) < 0.1] = 0.0
    active = rng.random((3, rows)) < 0.4
    active[0] = True
    crossbar = Crossbar(g, device=WIDE, topology="gated_1t1r", wire=Wire(5.0, r_bl))
    found = crossbar.currents(np.tile(v, (3, 1)), active)[0]
    for b in range(3):
        np.testing.assert_allclose(found[b], oracle.gated(g, v, active[b], r_bl), rtol=1e-9)


def test_wires_of_one_side_only():
    """What is almost no resistance in the nodal solve is none in the package."""
    g, v, _ = _array(9, 6)
    np.testing.assert_allclose(v @ transfer_matrix(g, 0, 5), oracle.row_driven(g, v, 1e-8, 5), rtol=1e-6)
    np.testing.assert_allclose(v @ transfer_matrix(g, 5, 0), oracle.row_driven(g, v, 5, 1e-8), rtol=1e-6)
    np.testing.assert_array_equal(transfer_matrix(g, 0, 0), g)
    np.testing.assert_array_equal(bit_line_gains(g, 0.0), np.ones(g.shape))


def test_very_lossy_lines():
    """Megohms per segment: products of dividers leave the range of doubles, and nothing becomes NaN."""
    g = np.full((3, 300), 1e-3)
    found = transfer_matrix(g, 1e6, 1e3)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    np.testing.assert_allclose(found[:, :5], transfer_matrix(g[:, :60], 1e6, 1e3)[:, :5], rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 2, 3, 17, 64])
def test_small_and_large_ladders_agree(rows, monkeypatch):
    g, v, _ = _array(rows, 5)
    small = bit_line_currents(g, v[:, None], 4.0)
    monkeypatch.setattr("spikeloom_analog.ladder.SMALL", 0)
    np.testing.assert_allclose(small, bit_line_currents(g, v[:, None], 4.0), rtol=1e-11)


def test_small_ladder_of_tiny_wires():
    """What the tridiagonal solver subtracts is far larger than a cell here: 1 MOhm cells on 0.1 mOhm segments."""
    g, v, _ = _array(64, 5)
    np.testing.assert_allclose(bit_line_currents(g / 100, v[:, None], 1e-4), v @ g / 100, rtol=1e-6)


@pytest.mark.parametrize("small", [0, 1024])
def test_very_lossy_ladder(small, monkeypatch):
    """More attenuation than doubles hold: still the currents of the last rows, no NaN."""
    monkeypatch.setattr("spikeloom_analog.ladder.SMALL", small)
    g = np.full((400, 2), 1.0)
    v = np.ones((400, 1))
    found = bit_line_currents(g, v, 1e3)
    np.testing.assert_allclose(found, bit_line_currents(g[-50:], v[-50:], 1e3), rtol=1e-12)


def test_read_is_linear_and_batched():
    g, _, rng = _array(12, 8)
    crossbar = Crossbar(g, device=WIDE, seeds=[1, 2])
    v = rng.uniform(0, 0.2, (5, 12))
    found = crossbar.currents(v)
    assert found.shape == (2, 5, 8)
    for b in range(5):
        np.testing.assert_allclose(found[:, b], crossbar.currents(v[b : b + 1])[:, 0], rtol=1e-13)


@pytest.mark.parametrize("topology", ["row_driven", "gated_1t1r"])
def test_nonlinear_cells(topology):
    """The chord iteration against fixed-point iteration of the oracle with secant conductances."""
    iv = CubicIV(a2=0.2, a3=2.0)
    g, v, _ = _array(10, 7, low=20e-6)
    device = Device(name="cubic", g_min=1e-6, g_max=100e-6, iv=iv)
    crossbar = Crossbar(g, device=device, topology=topology, wire=Wire(20.0, 20.0))
    active = np.arange(10) % 3 != 0
    gated = topology == "gated_1t1r"
    found = crossbar.currents(v[None], active[None] if gated else None)[0, 0]
    drive = np.where(active, v, 0.0) if gated else v
    secant = g.copy()
    for _ in range(60):
        circuit = oracle.Circuit()
        for i in range(10):
            for j in range(7):
                source = float(drive[i])
                if not gated:
                    circuit.resistor(source if j == 0 else ("w", i, j - 1), ("w", i, j), 1 / 20.0)
                if not gated or active[i]:
                    circuit.resistor(source if gated else ("w", i, j), ("b", i, j), secant[i, j])
                circuit.resistor(("b", i, j), 0.0 if i == 9 else ("b", i + 1, j), 1 / 20.0)
        nodes = circuit.solve()
        across = np.array(
            [[(drive[i] if gated else nodes["w", i, j]) - nodes["b", i, j] for j in range(7)] for i in range(10)]
        )
        last, secant = secant, g * (1 + 0.2 * across + 2.0 * across**2)
        if np.abs(secant / last - 1).max() < 1e-13:
            break
    expected = np.array([nodes["b", 9, j] / 20.0 for j in range(7)])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    linear = Crossbar(g, device=WIDE, topology=topology, wire=Wire(20.0, 20.0))
    assert np.abs(found / linear.currents(v[None], active[None] if gated else None)[0, 0] - 1).min() > 0.02


@pytest.mark.parametrize("others", ["floating", "grounded", "half"])
def test_sneak_paths(others):
    g, _, _ = _array(6, 5)
    total, sneak = Crossbar(g, device=WIDE, wire=Wire(3.0, 2.0)).passive_read(2, 3, 0.2, others=others)
    level = {"floating": None, "grounded": 0.0, "half": 0.1}[others]
    rows, columns = [level] * 6, [level] * 5
    rows[2], columns[3] = 0.2, 0.0
    assert total[0] == pytest.approx(oracle.passive(g, 3.0, 2.0, rows, columns)[3], rel=1e-9)
    assert total[0] - sneak[0] == pytest.approx(g[2, 3] * 0.2, rel=0.05)
    if others == "floating":  # a 1 uS cell between 100 uS neighbours reads the neighbours
        g[:], g[2, 3] = 100e-6, 1e-6
        total, sneak = Crossbar(g, device=WIDE, wire=Wire(3.0, 2.0)).passive_read(2, 3, 0.2)
        assert sneak[0] > 10 * (total[0] - sneak[0])


def test_first_order_noise_equals_noisy_arrays():
    """Column noise of the transfer matrix against solving arrays whose conductances carry the noise."""
    g, v, rng = _array(16, 4)
    device = Device(name="noisy", g_min=1e-6, g_max=100e-6, read=(FixedNoise(1e-6),))
    crossbar = Crossbar(g, device=device, wire=Wire(2.0, 2.0))
    sigma = crossbar.noise_sigma(v[None])[0, 0]
    noisy = np.array([v @ transfer_matrix(g + 1e-6 * rng.standard_normal(g.shape), 2.0, 2.0) for _ in range(1500)])
    np.testing.assert_allclose(sigma, noisy.std(axis=0), rtol=0.08)
    np.testing.assert_allclose(crossbar.currents(v[None])[0, 0], noisy.mean(axis=0), rtol=5e-3)
    reads = crossbar.read(np.tile(v, (1500, 1)), index=0)[0]
    np.testing.assert_allclose(reads.std(axis=0), noisy.std(axis=0), rtol=0.08)
    # The noise is the same number; the sum of currents is rounded as the batch's matrix product happens to add it up.
    np.testing.assert_allclose(crossbar.read(v[None], index=3)[0, 0], reads[3], rtol=1e-14)


def test_calibrated_columns():
    g, v, rng = _array(64, 16)
    crossbar = Crossbar(g, device=WIDE, wire=Wire(2.0, 2.0))
    with pytest.warns(IRLossWarning, match=r"take \d+% of its current"):
        loss = crossbar.ir_loss
    assert loss > 0.1
    exact = v @ g
    raw = np.abs(crossbar.currents(v[None])[0, 0] / exact - 1).mean()
    calibrated = np.abs(crossbar.currents(v[None])[0, 0] * crossbar.column_gain()[0] / exact - 1).mean()
    assert calibrated < raw / 10
    sparse = np.where(rng.random((50, 64)) < 0.1, 0.2, 0.0)
    left = crossbar.currents(sparse)[0] * crossbar.column_gain()[0] / (sparse @ g)
    assert left.mean() == pytest.approx(1.0, abs=0.01)  # one gain serves every activity


def test_no_warning_for_a_good_array():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        crossbar = Crossbar(np.full((64, 64), 20e-6), device=ideal())
        assert 0.03 < crossbar.ir_loss < 0.1


def test_superposition_of_gated_rows():
    """4 x 30 with the resistances of the interception network: sums of single rows are good to 1e-4."""
    g, _, _ = _array(4, 30)
    crossbar = Crossbar(g / 20, device=RRAM.sky130(), topology="gated_1t1r", cells=2, seeds=[0])
    assert 0 < crossbar.superposition_error < 1e-4
    v = np.full((1, 4), 0.05)
    alone = 0.05 * crossbar.transfer.sum(axis=1)
    error = np.abs(alone / crossbar.currents(v)[:, 0] - 1).max()
    assert error == pytest.approx(crossbar.superposition_error)


def test_access_resistance():
    g = np.array([[1e-6], [5e-6]])
    crossbar = Crossbar(
        g, device=ideal(g_max=40e-6), topology="gated_1t1r", cells=2, access_resistance=10e3, wire=Wire(0, 0)
    )
    np.testing.assert_allclose(crossbar.conductance[0], 2 / (2 / g + 10e3))


def test_differential_pairs():
    device = RRAM.milo2021()
    weights = np.array([[0.5, -1.0], [0.0, 0.25]])
    plus, minus, siemens = differential(weights, device)
    np.testing.assert_allclose(plus - minus, weights * siemens, atol=1e-18)
    assert plus.min() == minus.min() == device.g_min
    assert max(plus.max(), minus.max()) == pytest.approx(device.g_max)
    with pytest.raises(InputError, match=r"weights: 1 was given; accepted: up to `largest`, 0\.5"):
        differential(weights, device, largest=0.5)


def test_stuck_cells_reach_the_currents():
    target = np.full((20, 20), 5e-6)
    faulty = Crossbar(target, device=ideal(g_min=1e-6, g_max=10e-6), faults=StuckAt(0.1, 0.1), seeds=7)
    v = np.eye(20) * 0.1
    column = faulty.currents(v)[0]
    stuck = faulty.chips.stuck[0, 0]
    assert (stuck > 0).any()
    assert column[stuck > 0].min() > column[stuck == 0].max()
    assert column[stuck < 0].max() < column[stuck == 0].min()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Wire(-1.0, 1.0), "wire r_wl: -1.0 was given; accepted: a finite number of 0 or more, in ohm"),
        (
            lambda: Crossbar(np.ones((2, 2)), device=ideal()),
            r"conductance\[0, 0\]: 1 S was given; accepted: 0 to 4e-05 S",
        ),
        (
            lambda: Crossbar(np.zeros((65, 4)), device=ideal(), tile=(64, 64)),
            "crossbar: 65 x 4 was given; accepted: up to 64 x 64, the tile",
        ),
        (
            lambda: Crossbar(np.zeros((2, 2)), device=ideal(), topology="lines"),
            "topology: 'lines' was given; accepted: row",
        ),
        (lambda: Crossbar(np.zeros((2, 2)), device=ideal(), access_resistance=1e3), "access_resistance: accepted with"),
        (lambda: Crossbar(np.zeros((2, 2)), device=ideal()).currents(np.zeros((1, 3))), r"v: shape \(1, 3\) was given"),
        (
            lambda: Crossbar(np.zeros((2, 2)), device=ideal()).currents(np.zeros((1, 2)), np.ones((1, 2), bool)),
            "active: accepted with gated_1t1r only",
        ),
        (
            lambda: ArrayNodes(np.ones((2, 2)), 1.0, 1.0, np.zeros(2, bool), np.zeros(2, bool)),
            "every line floats; accepted: at least one driven row",
        ),
    ],
)
def test_bad_input(build, message):
    with pytest.raises(InputError, match=message):
        build()
