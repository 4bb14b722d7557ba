"""Ladders and engines against ngspice; skipped without it."""

import numpy as np
import pytest

from spikeloom.errors import InputError
from spikeloom_analog.virtual import C2C, EngineParameters, Integrator, Ladders
from spikeloom_analog.virtual.spice import compare_engine, compare_ladder, engine_netlist, ladder_netlist


@pytest.mark.parametrize("load", [0.0, 3e-15])
def test_ladder(need_tool, load):
    """A ladder of 8 bits that is neither matched nor compensated: within 0.01 of a step, in fact 1e-12."""
    need_tool("ngspice")
    ladders = Ladders(C2C(bits=8, mismatch=0.01, parasitic=0.01, compensated=False), 1, seeds=3)
    assert compare_ladder(ladders, [0, 1, 127, 128, 200, 255], load=load).worst < 1e-9


@pytest.mark.parametrize(
    ("changes", "bound"),
    [({}, 0.02), ({"gain": 1e6, "settling_error": 1e-5}, 0.002), ({"gain": 100.0, "settling_error": 0.02}, 0.06)],
    ids=["default", "good amplifier", "poor amplifier"],
)
def test_engine(need_tool, changes, bound):
    """24 rows on 4 neurons: gain, settling, mismatch, what stays on capacitors meanwhile, in weights of 1."""
    need_tool("ngspice")
    p = EngineParameters(**changes)
    design = Integrator.design(p, bits=7, slots=4, volts_per_step=0.4e-3, clock=100e6)
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(4)), int(rng.integers(-127, 128))) for _ in range(24)]
    found, waveforms = compare_engine(design, Ladders(p.ladder(7), 1, seeds=2), rows, slots=4)
    assert found.worst < bound
    # What is left out would show: the last voltages are tens of steps, and losses some of them.
    assert np.abs(waveforms["v(o)"]).max() > 50 * 0.4e-3


def test_netlists_need_no_ngspice():
    ladders = Ladders(C2C(bits=3, parasitic=0.01), 1)
    text = ladder_netlist(ladders, 5).text
    assert [line.split()[0] for line in text.splitlines()[1:10]] == [
        "Ct", "Cb1", "Cp1", "Cs1", "Cb2", "Cp2", "Cs2", "Cb3", "Cp3",
    ]  # fmt: skip
    assert "Vb2 b2 0 PWL(0 0)" in text.replace("\n+ ", " ")
    with pytest.raises(InputError, match="code: 8 was given; accepted: 0 to 7"):
        ladder_netlist(ladders, 8)
    design = Integrator.design(EngineParameters(), bits=7, slots=2, volts_per_step=0.4e-3, clock=100e6)
    with pytest.raises(InputError, match=r"slot.*: 2 was given"):
        engine_netlist(design, ladders, [(0, 1), (2, 3)], slots=2)
