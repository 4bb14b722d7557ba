"""Virtual cores on chips: layers at once and request by request, energy from counts, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from spikeloom.config import VirtualConfig
from spikeloom.errors import InputError
from spikeloom.mapping.plan import plan_core
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom_analog.virtual import EngineParameters, virtual_chips
from spikeloom_analog.virtual.port import BEFORE, EnginePort, recorded, requests

IDEAL = EngineParameters(
    mismatch=0.0, reference_mismatch=0.0, gain=1e12, offset=0.0, injection=0.0, injection_spread=0.0, leak_spread=0.0,
    hold_resistance=1e25, comparator_offset=0.0, comparator_noise=0.0, settling_error=1e-12, swing_high=4.0,
    swing_low=0.8, supply=6.0,
)  # fmt: skip
STEPS = 8


def network(seed=0, *, reset="zero", leak=None) -> IntegerNetwork:
    """A convolution and two dense layers; potentials stay within the rails."""
    rng = np.random.default_rng(seed)
    kinds = {"weight_bits": 8, "potential_bits": 12, "reset": reset, "leak": leak or Leak(kind="shift", shifts=(2,))}
    kernel = Connection(
        weights=rng.integers(-40, 90, (3, 2, 3, 3)), source_shape=(2, 6, 6), stride=(2, 2), padding=(1, 1)
    )
    sparse = rng.integers(-60, 110, (17, 27)) * (rng.random((17, 27)) < 0.5)
    return IntegerNetwork(
        name="tiny",
        layers=(
            IntegerLayer(name="conv", connections=(kernel,), threshold=120, **kinds),
            IntegerLayer(
                name="fc1", connections=(Connection(weights=sparse, source_shape=(3, 3, 3)),), threshold=150, **kinds
            ),
            IntegerLayer.dense(name="fc2", weights=rng.integers(-90, 110, (5, 17)), threshold=130, **kinds),
        ),
    )


def planned(made=None, **core):
    made = network() if made is None else made
    return plan_core(made, VirtualConfig(kind="virtual", engines=4, **core), steps=STEPS)


def inputs(seed=1, batch=3):
    return (np.random.default_rng(seed).random((batch, STEPS, 72)) < 0.25).astype(np.uint8)


@pytest.mark.parametrize("cores", ["layer", "one"])
@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_run_is_what_the_ports_answer(cores, reset):
    """Noise on; the flags of every sweep row, layer by layer."""
    plan = planned(network(reset=reset), cores=cores)
    chips = virtual_chips(plan, seeds=[3, 4], parameters=EngineParameters(comparator_noise=4e-3))
    spikes = inputs()
    fired = chips.run(spikes)
    for chip in range(2):
        one = chips.chip(chip)
        given = [layer[chip] for layer in fired]
        for name, layers in requests(one, spikes, given).items():
            rows = recorded(EnginePort(one.engines[name], layers=len(layers)), layers)
            members = [n for n, entry in enumerate(one.plans) if entry.share.core == name]
            for n, found in zip(members, rows, strict=True):
                entry = one.plans[n]
                flags = np.array([answer for request, answer in found if request.fires and request.step != BEFORE])
                flags = flags.reshape(3, STEPS, entry.groups, 1) >> np.arange(entry.lanes) & 1
                assert np.array_equal(flags[:, :, entry.slot, entry.engine], given[n])
    assert all(0 < layer.sum() < layer.size for layer in fired)
    assert not np.array_equal(fired[-1][0], fired[-1][1])


def test_engines_without_errors_are_the_integer_network():
    """An exact leak, so that only order and rounding could differ; no potential comes near a rail."""
    made = network(leak=Leak(kind="multiply", factor=1, fraction_bits=1))
    trace = simulate(made, inputs())
    chips = virtual_chips(planned(made), parameters=IDEAL).quiet()
    for ours, theirs in zip(chips.run(inputs()), trace.spikes, strict=True):
        # A leak of half a weight step is not floored by capacitors: a neuron may be half a step above.
        assert (ours[0] != theirs).mean() < 0.01
    none = network(leak=Leak(), reset="zero")
    chips = virtual_chips(planned(none), parameters=IDEAL).quiet()
    for ours, theirs in zip(chips.run(inputs()), simulate(none, inputs()).spikes, strict=True):
        assert np.array_equal(ours[0], theirs)


def test_a_chip_as_an_integer_network():
    plan = planned()
    p = replace(
        EngineParameters(), gain=1e12, settling_error=1e-12, swing_low=0.8, swing_high=4.0, supply=6.0, injection=0.0
    )
    chips = virtual_chips(plan, seeds=range(2), parameters=replace(p, injection_spread=0.0)).quiet()
    spikes = inputs(batch=6)
    fired = chips.run(spikes)
    for n in range(2):
        trace = simulate(chips.integer_network(n), spikes)
        assert all(np.array_equal(a[n], b) for a, b in zip(fired, trace.spikes, strict=True))


def test_energy_counts_what_was_done():
    plan = planned()
    chips, spikes = virtual_chips(plan, seeds=[0]), inputs()
    fired = chips.run(spikes)
    found = chips.energy(spikes, fired, cycles=1e5)
    given = [spikes, fired[0][0], fired[1][0]]
    for entry, sent in zip(chips.plans, given, strict=True):
        energy = found[entry.share.core]
        assert energy.additions == int((sent.sum(axis=(0, 1)) * entry.layer.connections[0].fan_out).sum())
        assert energy.comparisons == 3 * STEPS * entry.groups * entry.lanes
        assert energy.seconds == pytest.approx(1e-3)
        assert energy.total > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bias": np.arange(5)}, "layer 'fc2': a bias; accepted for analog engines"),
        ({"threshold": None, "reset": "none"}, "layer 'fc2': a read-out"),
        ({"reset": "subtract"}, "layers conv, fc1, fc2: resets of several kinds"),
        ({"connections": (Connection(weights=np.full((5, 17), -128)),)}, "layer 'fc2': a weight of -128; accepted"),
    ],
)
def test_networks_that_engines_do_not_do(change, message):
    made = network()
    layers = (*made.layers[:2], replace(made.layers[2], **change))
    with pytest.raises(InputError, match=message):
        virtual_chips(planned(replace(made, layers=layers), cores="one"))


def test_other_cores_and_kept_states_are_refused():
    made = network()
    with pytest.raises(InputError, match=r"core.kind: 'digital' was given; accepted for analog engines: 'virtual'"):
        from spikeloom.config import DigitalConfig

        virtual_chips(plan_core(made, DigitalConfig(), steps=STEPS))
    with pytest.raises(InputError, match=r"network.state: 'keep' was given; accepted for analog engines: 'clear'"):
        virtual_chips(planned(replace(made, state="keep")))
    with pytest.raises(InputError, match=r"spikes: shape \(3, 8, 71\) was given; accepted: \[inputs, steps, 72\]"):
        virtual_chips(planned()).run(inputs()[..., 1:])
