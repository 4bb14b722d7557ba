"""C-2C ladders against a dense solve of all nodes, sampled statistics, and thermal noise of the switched network."""

import numpy as np
import pytest
from scipy.linalg import solve_continuous_lyapunov

from spikeloom.errors import InputError
from spikeloom_analog.virtual.c2c import C2C, Ladders

BOLTZMANN = 1.380649e-23


def capacitors(ladders, chip=0, engine=0):
    """(node, node, F) of every capacitor: nodes 0 .. n - 1 of the ladder, bottom plates n .. 2 n - 1, ground None."""
    n = ladders.ladder.bits
    found = [(0, None, ladders.termination[chip, engine])]
    for k in range(n):
        found += [(k, n + k, ladders.bit[chip, engine, k]), (k, None, ladders.parasitic[chip, engine, k])]
    return found + [(k, k + 1, ladders.series[chip, engine, k]) for k in range(n - 1)]


def nodal(found, size):
    """The matrix of all nodes, charge out of node voltages."""
    matrix = np.zeros((size, size))
    for a, b, value in found:
        for one, other in ((a, b), (b, a)):
            if one is not None:
                matrix[one, one] += value
                if other is not None:
                    matrix[one, other] -= value
    return matrix


def solved(ladders, code, load=0.0, ground=False):
    """(Vout, charge into the output if that is held at 0, charge of the reference) by a dense solve of all nodes."""
    n, vref = ladders.ladder.bits, ladders.ladder.reference
    matrix = nodal([*capacitors(ladders), (n - 1, None, load)], 2 * n)
    v = np.zeros(2 * n)
    v[n:] = [vref * (code >> k & 1) for k in range(n)]
    free = np.arange(n - 1 if ground else n)
    if len(free):
        v[free] = np.linalg.solve(matrix[np.ix_(free, free)], -matrix[free, n:] @ v[n:])
    charge = matrix @ v
    driven = v[n:] > 0
    return v[n - 1], -charge[n - 1], charge[n:][driven].sum()


@pytest.mark.parametrize("bits", [1, 2, 5, 8])
@pytest.mark.parametrize("compensated", [False, True])
def test_against_a_dense_solve_of_all_nodes(bits, compensated):
    ladder = C2C(bits=bits, mismatch=0.03, parasitic=0.04, parasitic_spread=0.2, compensated=compensated, reference=0.7)
    ladders = Ladders(ladder, 2, seeds=5)
    open_v, loaded = ladders.voltages()[0, 0], ladders.voltages(3e-15)[0, 0]
    charge, reference = ladders.transferred()[0, 0], ladders.charge_of_reference()[0, 0]
    for code in range(1 << bits):
        assert open_v[code] == pytest.approx(solved(ladders, code)[0], rel=1e-12, abs=0)
        assert loaded[code] == pytest.approx(solved(ladders, code, load=3e-15)[0], rel=1e-12, abs=0)
        _, into, taken = solved(ladders, code, ground=True)
        assert charge[code] == pytest.approx(into, rel=1e-12, abs=0)
        assert reference[code] == pytest.approx(taken, rel=1e-12, abs=0)
    # The ladder is C_out behind Vout.
    assert ladders.output_capacitance[0, 0] * open_v[-1] == pytest.approx(charge[-1], rel=1e-12, abs=0)


def test_ideal_weights_are_powers_of_two():
    ladders = Ladders(C2C(bits=8), 1)
    assert ladders.weights()[0, 0] == pytest.approx(2.0 ** (np.arange(8) - 8), rel=1e-13)
    assert ladders.output_capacitance[0, 0] == pytest.approx(4e-15, rel=1e-13, abs=0)
    assert np.abs(ladders.inl()).max() < 1e-12


@pytest.mark.parametrize(("parasitic", "steps"), [(0.01, 2.4), (0.05, 11.7)])
def test_parasitics_break_the_ratio_and_the_sizing_restores_it(parasitic, steps):
    plain = Ladders(C2C(bits=8, parasitic=parasitic, compensated=False), 1)
    assert np.abs(plain.dnl()).max() == pytest.approx(steps, abs=0.06)
    sized = Ladders(C2C(bits=8, parasitic=parasitic), 1)
    assert np.abs(sized.dnl()).max() < 1e-12
    assert sized.weights()[0, 0] == pytest.approx(2.0 ** (np.arange(8) - 8) / (1 + 3 * parasitic), rel=1e-12)
    assert sized.transferred()[0, 0] == pytest.approx(Ladders(C2C(bits=8), 1).transferred()[0, 0], rel=1e-12)


@pytest.mark.parametrize(("mismatch", "p95"), [(0.001, 0.28), (0.0025, 0.66), (0.005, 1.38), (0.01, 2.74)])
def test_statistics_of_the_largest_step_error(mismatch, p95):
    """95 of 100 ladders of 8 bits stay below p95 LSB: known figures, each from 2000 samples of its own."""
    ladders = Ladders(C2C(bits=8, mismatch=mismatch), 2000, seeds=1)
    assert np.percentile(np.abs(ladders.dnl()).max(axis=-1), 95) == pytest.approx(p95, rel=0.06)


def test_larger_capacitors_match_better():
    ladders = Ladders(C2C(bits=6, mismatch=0.01), 20000, seeds=2)
    assert (ladders.bit / 2e-15).std() == pytest.approx(0.01, rel=0.02)
    assert (ladders.series / 4e-15).std() == pytest.approx(0.01 / np.sqrt(2), rel=0.02)


def test_thermal_noise_of_reset_and_transfer():
    """Covariances of the switched network from its Lyapunov equation, C dv/dt = -G v + noise of 2 k T G."""
    ladders = Ladders(C2C(bits=5, mismatch=0.1, parasitic=0.02), 1, seeds=3)
    n, kt = 5, BOLTZMANN * 300
    matrix = nodal(capacitors(ladders), 2 * n)[:n, :n]
    rng = np.random.default_rng(0)

    def covariance(conductance):
        drift = -np.linalg.solve(matrix, conductance)
        drive = np.linalg.solve(matrix, np.linalg.solve(matrix, 2 * kt * conductance).T)
        return solve_continuous_lyapunov(drift, -drive)

    # Reset: a switch from every node to ground; what is frozen on the nodes goes to the output, which is held at 0.
    frozen = covariance(np.diag(rng.uniform(1e-5, 1e-4, n)))
    inside = np.linalg.inv(matrix[: n - 1, : n - 1])
    to_output = np.concatenate([-matrix[n - 1, : n - 1] @ inside, [1.0]]) @ matrix
    reset = to_output @ frozen @ to_output
    # Transfer: the switch at the output alone; the charge that passed it is what the network holds.
    size = 1 / np.linalg.inv(matrix)[n - 1, n - 1]
    transfer = kt * size
    assert reset == pytest.approx(transfer, rel=1e-9, abs=0)
    assert ladders.noise_charge(300.0)[0, 0] ** 2 == pytest.approx(reset + transfer, rel=1e-6, abs=0)


def test_a_ladder_is_the_same_alone_and_among_others():
    ladder = C2C(mismatch=0.01, parasitic=0.01, parasitic_spread=0.1)
    many = Ladders(ladder, 4, seeds=range(5), core=2)
    one = Ladders(ladder, 4, seeds=[3], core=2)
    assert np.array_equal(many.bit[3], one.bit[0])
    assert np.array_equal(many.parasitic[3], one.parasitic[0])
    assert not np.array_equal(many.bit[3], Ladders(ladder, 4, seeds=[3], core=1).bit[0])
    assert not np.array_equal(many.bit[0], many.bit[1])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"bits": 0}, "ladder bits: 0 was given; accepted: a whole number of at least 1"),
        ({"bits": 17}, "ladder bits: 17 was given; accepted: 1 to 16"),
        ({"unit": 0.0}, "ladder unit: 0.0 was given; accepted: a finite number above 0, in F"),
        ({"mismatch": -0.1}, "ladder mismatch: -0.1 was given"),
        ({"parasitic": 0.5}, "ladder parasitic: 0.5 was given; accepted: 0 to below 0.25"),
        ({"reference": float("nan")}, "ladder reference: nan was given"),
    ],
)
def test_bad_ladders(given, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        C2C(**given)
