"""Mixed-signal engines: amplifiers against their differential equations, integers against nodal charge conservation."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import trapezoid
from scipy.linalg import expm

from spikeloom.errors import InputError
from spikeloom.mapping.virtual import analog_leak
from spikeloom.network.connections import Connection
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom_analog.streams import normals
from spikeloom_analog.virtual.c2c import Ladders
from spikeloom_analog.virtual.energy import engine_energy
from spikeloom_analog.virtual.engine import EngineState, program_engines
from spikeloom_analog.virtual.integrator import Integrator
from spikeloom_analog.virtual.network import Routes, as_integer_layer, run_layer
from spikeloom_analog.virtual.parameters import EngineParameters, load_engine

BOLTZMANN = 1.380649e-23
OFFSET, THRESHOLD, READ, FEEDBACK, AMPLIFIER, DROOP, ENGINE = 7, 8, 4, 15, 16, 17, 18
"""Numbers of purposes in the keys of streams."""
NEUTRAL = EngineParameters(
    mismatch=0.0, parasitic=0.0, reference_mismatch=0.0, gain=1e12, offset=0.0, injection=0.0, injection_spread=0.0,
    leak_spread=0.0, hold_resistance=1e25, comparator_offset=0.0, comparator_noise=0.0, settling_error=1e-12,
)  # fmt: skip


# ---- the amplifier ----


@pytest.mark.parametrize("changes", [{}, {"gain": 200.0, "switch_capacitance": 2e-15}, {"noise_limit": 0.05}])
def test_the_tail_current_settles_and_slews_in_time(changes):
    """The two nodes of the loop as a linear system: capacitors, transconductance of the tail current; then slewing."""
    p = EngineParameters(**changes)
    d = Integrator.design(p, bits=7, slots=64, volts_per_step=0.4e-3, clock=100e6)
    cx = d.output + d.input
    matrix = np.array([[cx + d.feedback, -d.feedback], [-d.feedback, d.feedback + d.load]])
    gm = p.gm_over_current * d.tail / 2
    system = -np.linalg.solve(matrix, np.array([[0.0, 0.0], [gm, 0.0]]))
    start = np.linalg.solve(matrix, [1e-15, 0.0])  # a charge arrives at the input
    t1, t2 = d.time * d.settling / d.tail, d.time * d.slewing / d.tail
    final = expm(system * 5 * t1) @ start
    left = (expm(system * t1) @ start - final)[1] / (start - final)[1]
    assert left == pytest.approx(p.settling_error, rel=1e-3)
    # While it slews the input floats: the whole tail current goes into the output.
    rate = np.linalg.solve(matrix, [0.0, d.tail])[1]
    assert rate * t2 == pytest.approx(p.swing_low + p.swing_high, rel=1e-9)
    assert t1 + t2 == pytest.approx(0.5 / 100e6)


def test_what_has_not_settled_is_missing_and_slips():
    """Charge Q and voltage U on Cf when the loop closes, the output at rest; then the loop for its time of settling."""
    p = EngineParameters(settling_error=0.02, gain=1e9)
    d = Integrator.design(p, bits=7, slots=64, volts_per_step=0.4e-3, clock=100e6)
    cx, cf, gm = d.output + d.input, d.feedback, p.gm_over_current * d.tail / 2
    matrix = np.array([[cx + cf, -cf], [-cf, cf + d.load]])
    settles = expm(-np.linalg.solve(matrix, np.array([[0.0, 0.0], [gm, 0.0]])) * d.time * d.settling / d.tail)
    for q, u in ((1e-15, 0.0), (0.0, 0.3), (-2e-16, 0.5)):
        v = settles @ np.linalg.solve(matrix, [q + cf * u, -cf * u])
        assert v[0] - v[1] == pytest.approx(u * (1 - d.slip) + q / cf * (1 - d.missing), rel=1e-6, abs=0)


def test_noise_of_the_amplifier_in_a_row():
    p = EngineParameters(auto_zero=False)
    d = Integrator.design(p, bits=7, slots=16, volts_per_step=0.4e-3, clock=100e6)
    cx, gm = d.output + d.input, 1e-4
    matrix = np.array([[cx + d.feedback, -d.feedback], [-d.feedback, d.feedback + d.load]])
    # Charge on Cf for a noise current at the output, over all frequencies.
    omega = 2 * np.pi * np.logspace(3, 13, 20001)
    systems = 1j * omega[:, None, None] * matrix + np.array([[0, 0], [gm, 0]])
    v = np.linalg.solve(systems, np.broadcast_to([[0.0], [1.0]], (len(omega), 2, 1)))[..., 0]
    density = 4 * BOLTZMANN * p.temperature * p.noise_factor * gm
    variance = trapezoid(density * np.abs(d.feedback * (v[:, 0] - v[:, 1])) ** 2, omega / (2 * np.pi))
    assert variance == pytest.approx(d.noise**2, rel=1e-3, abs=0)
    stored = Integrator.design(replace(p, auto_zero=True), bits=7, slots=16, volts_per_step=0.4e-3, clock=100e6)
    assert stored.load == d.load  # not set by noise
    assert stored.noise**2 == pytest.approx(2 * variance, rel=1e-3, abs=0)


def test_noise_asks_for_load_and_load_for_current():

    def designed(limit, *, slots=64, clock=100e6):
        return Integrator.design(
            EngineParameters(noise_limit=limit), bits=7, slots=slots, volts_per_step=0.4e-3, clock=clock
        )

    loose, tight = designed(10.0), designed(0.05)
    assert loose.load == pytest.approx(20e-15, rel=1e-9, abs=0)
    assert tight.noise == pytest.approx(0.05 * tight.charge_step, rel=1e-9, abs=0)
    assert tight.load > loose.load
    assert tight.tail > loose.tail
    assert tight.limited_by.endswith("load set by noise")
    fast = designed(10.0, clock=200e6)
    assert fast.tail == pytest.approx(2 * loose.tail)
    wide = designed(10.0, slots=640)
    assert wide.settling > loose.settling  # each neuron's switch loads the virtual ground


# ---- energy ----


def test_energy_by_rail():
    """Against the charges of a ladder of two bits worked out by hand, and sums of everything else."""
    p = EngineParameters(parasitic=0.0, buffer_factor=1.5)
    d = Integrator.design(p, bits=2, slots=8, volts_per_step=5e-3, clock=100e6)
    found = engine_energy(d, engines=4, magnitudes=np.array([0, 10, 20, 40]), comparisons=96, seconds=2e-6)
    # Into a virtual ground: bit 2 is C alone, bit 1 sees C in parallel with Ct + Cs, C + 2 C of 4 C.
    c, v = p.unit, p.reference
    low, high = v * c * 3 / 4, v * c
    assert found.items["ladders"] == pytest.approx(1.2 * 1.5 * (50 * low + 60 * high), rel=1e-12, abs=0)
    assert found.items["amplifiers"] == pytest.approx(1.2 * d.supply_current * 4 * 2e-6, rel=1e-12, abs=0)
    assert found.items["comparators"] == pytest.approx(96 * 20e-15 * 1.44, rel=1e-12, abs=0)
    assert found.items["switches"] == pytest.approx((70 * 20 + 96 * 4) * 0.2e-15 * 1.44, rel=1e-12, abs=0)
    assert found.rails["reference"] == found.items["ladders"]
    assert sum(found.rails.values()) == pytest.approx(found.total)
    with pytest.raises(InputError, match=r"magnitudes: shape \(5,\) was given; accepted: \[4\]"):
        engine_energy(d, engines=4, magnitudes=np.zeros(5, int), comparisons=0, seconds=1.0)


# ---- the integers ----


class Slow:
    """Engines of one chip in volts: every row is a dense solve of ladder, capacitor and amplifier together."""

    def __init__(self, p, theta, volts, *, seed, core, slots, engines, beta, subtract, step, clock=100e6):
        self.p, self.step = p, step
        self.ladders = Ladders(p.ladder(7), engines, seeds=[seed], core=core)
        design = Integrator.design(p, bits=7, slots=slots, volts_per_step=volts, clock=clock)
        self.input, self.load = p.input_capacitance + slots * p.switch_capacitance, design.load
        nominal = 127 / 64 * p.unit * p.reference / 127  # a compensated ladder sends the charge of the ideal one
        assert design.charge_step == pytest.approx(nominal, rel=1e-12, abs=0)

        def z(purpose, *shape, index=0):
            return normals([seed], shape, core=core, purpose=purpose, index=index)[0]

        nominal_cf = nominal / volts
        self.cf = nominal_cf * (1 + p.mismatch * np.sqrt(p.unit / nominal_cf) * z(FEEDBACK, slots, engines))
        self.offset = -p.offset * z(OFFSET, engines) / (1 + p.gain)
        self.skew = p.reference_mismatch * z(ENGINE, 1)[0]
        self.injected = p.injection + p.injection_spread * z(AMPLIFIER, engines)
        self.reset = p.injection + p.injection_spread * z(AMPLIFIER, engines, index=1)
        self.level = theta * volts * (1 + 1 / p.gain) + p.comparator_offset * z(THRESHOLD, engines)
        rate = -np.log(beta) * (1 + p.leak_spread * z(DROOP, slots, engines)) + step / (p.hold_resistance * self.cf)
        self.kept = np.exp(-rate)
        self.subtract = None if subtract is None else subtract * volts
        self.u = np.zeros((slots, engines))

    def row(self, takes, slot, code):
        for m in np.flatnonzero(takes):
            self.u[slot[m], m] = self.added(m, slot[m], code[m])

    def added(self, m, k, code):
        """Nodes: ladder 0 .. 6 (6 is the input), output 7. Charges of the nodes before and after, and Vo = -A Vx."""
        p, n = self.p, 7
        cf, u = self.cf[k, m], self.u[k, m]
        c = np.zeros((n + 1, n + 1))

        def between(a, b, value):
            c[a, a] += value
            if b is not None:
                c[b, b] += value
                c[a, b] -= value
                c[b, a] -= value

        bit, series = self.ladders.bit[0, m], self.ladders.series[0, m]
        between(0, None, self.ladders.termination[0, m])
        for j in range(n):
            between(j, None, bit[j] + self.ladders.parasitic[0, m, j])
            if j < n - 1:
                between(j, j + 1, series[j])
        between(n - 1, None, self.input)
        between(n - 1, n, cf)
        sign = -1 if code < 0 else 1
        vref = sign * p.reference * (1 + sign * self.skew / 2)
        held = np.zeros(n + 1)
        held[:n] = [bit[j] * vref * (min(abs(code), 127) >> j & 1) for j in range(n)]  # what the bits push in
        held[n - 1] += cf * u + self.input * self.offset[m] + self.injected[m]
        # Before the amplifier moves, its output has its load alone, from rest.
        passive, pushed = c.copy(), held.copy()
        passive[n, n] += self.load
        pushed[n] = -cf * u
        jump = np.linalg.solve(passive, pushed)[n - 1]
        c[n] = 0  # the amplifier gives its output any charge
        c[n, n], c[n, n - 1], held[n] = 1.0, p.gain, p.gain * self.offset[m]
        v = np.linalg.solve(c, held)
        at_input = self.input + 1 / np.linalg.inv(c[:n, :n] - np.diag([0.0] * (n - 1) + [self.input + cf]))[-1, -1]
        return v[n - 1] - v[n] - p.settling_error * at_input / cf * jump

    def fire(self, slot, clears):
        u = self.u[slot]
        fired = u >= self.level[slot]
        after = self.reset / self.cf[slot] if self.subtract is None else u - self.subtract[slot]
        self.u[slot] = 0 if clears else np.where(fired, after, u) * self.kept[slot]
        return fired


def requests(seed, slots, engines, steps, rows):
    """Random rows of each step: (takes, slot, code)."""
    rng = np.random.default_rng(seed)
    return [
        [
            (
                rng.random(engines) < 0.7,
                rng.integers(0, slots, engines),
                rng.integers(-127, 128, engines) + 25,
            )
            for _ in range(rows)
        ]
        for _ in range(steps)
    ]


@pytest.mark.parametrize("subtracts", [False, True], ids=["zero", "subtract"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gain": 60.0, "offset": 1e-3, "injection": 3e-17, "hold_resistance": 1e11},
        {"mismatch": 0.02, "parasitic": 0.04, "gain": 1e4},
    ],
    ids=["default", "poor amplifier", "poor capacitors"],
)
def test_integers_are_the_circuit(changes, subtracts):
    slots, engines, theta, beta, step = 3, 4, 256, 0.875, 20e-6
    p = EngineParameters(swing_low=0.8, swing_high=0.6, supply=1.8, **changes)  # no neuron reaches a rail
    threshold = np.full((slots, engines), theta)
    subtract = np.full((slots, engines), 200) if subtracts else None
    tables, design = program_engines(
        p, threshold=threshold, beta=beta, subtract=subtract, step=step, seeds=[4, 9], core=2, clock=100e6
    )
    volts = 0.8 / 2048
    slow = Slow(
        p, threshold, volts, seed=9, core=2, slots=slots, engines=engines, beta=beta, subtract=subtract, step=step
    )
    state = EngineState(tables.quiet().chip(1))
    unit, worst, spikes, near = volts / 1024, 0.0, 0, 0
    for t, rows in enumerate(requests(1, slots, engines, 40, 6)):
        for takes, slot, code in rows:
            code = np.minimum(code, 127)
            state.row(takes, slot, code, step=t)
            slow.row(takes, slot, code)
            exact = slow.u * slow.cf / design.feedback / unit  # charge in quanta
            worst = max(worst, np.abs(state.v[0, 0] - exact).max())
        for k in range(slots):
            ours = state.fire(k, step=t, clears=t % 16 == 15)[0, 0]
            theirs = slow.fire(k, clears=t % 16 == 15)
            near += int((ours != theirs).sum())
            spikes += int(theirs.sum())
    assert worst < 30  # of 1024 to a weight of 1: 96 rows and 16 steps that each round, and products of errors
    assert near == 0
    assert spikes > 30


def test_noise_of_a_row():
    """Ladder (4.12 fF at the output, reset and transfer) and amplifier, in the charge of a neuron."""
    p = EngineParameters(mismatch=0.0, injection=0.0, injection_spread=0.0, gain=1e12, offset=0.0)
    tables, design = program_engines(p, threshold=np.full((1, 50), 256))
    state, given = EngineState(tables), np.zeros(50, int)
    found = []
    for t in range(400):
        state.row(np.ones(50, bool), given, given, step=t)
        found.append(state.v[0, 0, 0].copy())
        state.v[:] = 0
    expected = np.sqrt(2 * BOLTZMANN * 300 * 4.12e-15 + design.noise**2) / tables.quantum
    assert np.std(found) == pytest.approx(expected, rel=0.02)
    assert abs(np.mean(found)) < 4 * expected / np.sqrt(20000)


def test_rails():
    tables, _ = program_engines(NEUTRAL, threshold=np.array([[256]]))
    state = EngineState(tables.quiet())
    one, first = np.ones(1, bool), np.zeros(1, int)
    for _ in range(60):
        state.row(one, first, np.array([-100]), step=0)
    assert state.v[0, 0, 0, 0] == -2048 * 1024
    for _ in range(60):
        state.row(one, first, np.array([100]), step=0)
    assert state.v[0, 0, 0, 0] == 512 * 1024


def test_ideal_engines_are_the_integer_network():
    """Without any error a weight moves a neuron by 1024 quanta, and the lowest weight as much as the one above it."""
    tables, _ = program_engines(NEUTRAL, threshold=np.full((2, 3), 256), beta=0.5)
    words = np.arange(256)
    expected = 1024 * np.maximum(np.where(words < 128, words, words - 256), -127)
    assert np.abs(tables.charge - expected).max() == 0
    assert (tables.threshold == 256 * 1024).all()
    assert (tables.kept == 1 << 23).all()
    assert not tables.loss.any()


def random_layer(rng, *, neurons=23, sources=15, reset="zero", bits=8):
    weights = rng.integers(-100, 128, (neurons, sources)) * (rng.random((neurons, sources)) < 0.7)
    return IntegerLayer.dense(
        name="fc", weights=weights, weight_bits=bits, potential_bits=12, threshold=256, reset=reset,
        leak=Leak(kind="shift", shifts=(3,)),
    )  # fmt: skip


def convolution(rng):
    weights = rng.integers(-90, 128, (3, 2, 3, 3))
    connection = Connection(weights=weights, source_shape=(2, 8, 8), stride=(2, 2), padding=(1, 1), pool=(1, 1))
    return IntegerLayer(
        name="conv", connections=(connection,), weight_bits=8, potential_bits=12, threshold=200, reset="zero",
        leak=Leak(kind="multiply", factor=3, fraction_bits=2),
    )  # fmt: skip


def placed(layer, engines, seed=0):
    """A random placement: (engine, slot) of each neuron."""
    order = np.random.default_rng(seed).permutation(layer.neurons)
    engine, slot = np.empty(layer.neurons, int), np.empty(layer.neurons, int)
    engine[order], slot[order] = np.arange(layer.neurons) % engines, np.arange(layer.neurons) // engines
    return engine, slot


def routed(layer, engine, slot, engines):
    """Dispatch rows of a layer, one source after the other, written plainly."""
    matrix = np.asarray(layer.connections[0].matrix.toarray())
    base, length, rows = [], [], []
    for source in range(matrix.shape[1]):
        queues = [[n for n in np.flatnonzero(matrix[:, source]) if engine[n] == m] for m in range(engines)]
        base.append(len(rows))
        length.append(max(map(len, queues)))
        for r in range(length[-1]):
            rows.append([(q[r], matrix[q[r], source]) if r < len(q) else None for q in queues])
    valid = np.array([[entry is not None for entry in row] for row in rows])
    at = np.array([[slot[entry[0]] if entry else 0 for entry in row] for row in rows])
    code = np.array([[entry[1] if entry else 0 for entry in row] for row in rows])
    return np.array(base), np.array(length), valid, at, code


def programmed(layer, engine, slot, engines, p, **changes):
    threshold = np.zeros((slot.max() + 1, engines), int)
    threshold[slot, engine] = layer.threshold
    subtract = threshold if layer.reset == "subtract" else None
    given = {"beta": analog_leak(layer), "subtract": subtract, "potential_bits": layer.potential_bits}
    return program_engines(p, threshold=threshold, **given | changes)[0]


@pytest.mark.parametrize("reset", ["zero", "subtract"])
def test_a_layer_at_once_is_the_layer_request_by_request(reset):
    """Noise on, several chips and inputs, every spike."""
    rng, engines = np.random.default_rng(3), 4
    layer = random_layer(rng, reset=reset)
    engine, slot = placed(layer, engines)
    base, length, valid, at, code = routed(layer, engine, slot, engines)
    tables = programmed(
        layer, engine, slot, engines, EngineParameters(comparator_noise=10e-3, noise_limit=5.0), seeds=[3, 8], core=1
    )
    assert tables.noisy
    spikes = (rng.random((3, 12, 15)) < 0.4).astype(np.uint8)
    routes = Routes.of_rows(base=base, length=length, valid=valid, slot=at, code=code)
    fired = run_layer(tables, routes, spikes)
    for b in range(3):
        state = EngineState(tables)
        for t in range(12):
            for s in np.flatnonzero(spikes[b, t]):
                for r in range(base[s], base[s] + length[s]):
                    state.row(valid[r], at[r], code[r], step=12 * b + t)
            for k in range(tables.slots):
                assert np.array_equal(state.fire(k, step=12 * b + t)[:, 0], fired[:, b, t, k])
    assert 0 < fired.sum() < fired.size / 2
    assert not np.array_equal(fired[:, 0], run_layer(tables, routes, spikes[:1], first_step=np.array([500]))[:, 0])
    assert not np.array_equal(fired, run_layer(tables.quiet(), routes, spikes))


def test_layers_that_share_a_core():
    """They take turns in any way, and each has its own noise."""
    rng, engines, routes, spikes, parts = np.random.default_rng(8), 3, [], [], []
    threshold, first = np.zeros((12, engines), int), 0
    for n, neurons in enumerate((17, 11)):
        layer = random_layer(rng, neurons=neurons)
        engine, slot = placed(layer, engines, seed=n)
        base, length, valid, at, code = routed(layer, engine, slot, engines)
        routes.append(Routes.of_rows(base=base, length=length, valid=valid, slot=at + first, code=code))
        parts.append((slice(first, first + slot.max() + 1), base, length, valid, at + first, code))
        threshold[slot + first, engine] = 256
        first = parts[-1][0].stop
        spikes.append((rng.random((1, 10, 15)) < 0.4).astype(np.uint8))
    p = EngineParameters(comparator_noise=10e-3, noise_limit=5.0)
    tables, _ = program_engines(p, threshold=threshold[:first], beta=0.9, seeds=[5])
    found = [run_layer(tables, routes[n], spikes[n], layer=n, slots=parts[n][0]) for n in range(2)]
    # Each layer's requests in order, the layers in turns.
    queues = [[], []]
    for n, (slots, base, length, valid, at, code) in enumerate(parts):
        for t in range(10):
            for s in np.flatnonzero(spikes[n][0, t]):
                queues[n] += [(t, valid[r], at[r], code[r]) for r in range(base[s], base[s] + length[s])]
            queues[n] += [(t, k) for k in range(slots.start, slots.stop)]
    state, ours = EngineState(tables), [[], []]
    while queues[0] or queues[1]:
        n = int(rng.integers(2)) if queues[0] and queues[1] else int(not queues[0])
        t, *row = queues[n].pop(0)
        if len(row) == 1:
            ours[n].append(state.fire(row[0], step=t, layer=n)[0, 0])
        else:
            state.row(*row, step=t, layer=n)
    for n in range(2):
        assert np.array_equal(np.array(ours[n]).reshape(found[n].shape), found[n])
        assert found[n].any()
    assert not np.array_equal(found[1], run_layer(tables, routes[1], spikes[1], slots=parts[1][0]))


@pytest.mark.parametrize("make", [random_layer, convolution], ids=["dense", "convolution"])
def test_a_layer_as_an_integer_layer(make):
    """Without noise and loss, and away from the rails, the reference simulator gives every spike."""
    rng, engines = np.random.default_rng(5), 5
    layer = make(rng)
    engine, slot = placed(layer, engines)
    p = replace(EngineParameters(gain=1e12, settling_error=1e-12, supply=9.0), swing_low=4.0, swing_high=4.0)
    tables = programmed(layer, engine, slot, engines, p, seeds=[11])
    tables = replace(tables.quiet(), injection=np.zeros_like(tables.injection))
    assert not tables.loss.any()
    base, length, valid, at, code = routed(layer, engine, slot, engines)
    spikes = (rng.random((4, 20, layer.connections[0].sources)) < 0.15).astype(np.uint8)
    routes = Routes.of_rows(base=base, length=length, valid=valid, slot=at, code=code)
    fired = run_layer(tables, routes, spikes)[0][:, :, slot, engine]
    network = IntegerNetwork(name="analog", layers=(as_integer_layer(layer, tables, engine, slot),))
    assert np.array_equal(simulate(network, spikes).spikes[0], fired)
    assert 0 < fired.sum() < fired.size / 2
    # The chip's own charges matter: the digital network does something else.
    assert not np.array_equal(simulate(IntegerNetwork(name="digital", layers=(layer,)), spikes).spikes[0], fired)


def test_samples_are_standard_normal_and_keyed():
    tables, _ = program_engines(EngineParameters(), threshold=np.full((2, 6), 100), seeds=[1, 2], core=3)
    z = tables.samples()
    assert z.shape == (2, 4096, 6)
    assert z.std() / 4096 == pytest.approx(1, abs=0.01)
    assert np.array_equal(tables.chip(1).samples()[0], z[1])
    alone = np.random.Generator(np.random.Philox(key=[2, (3 << 32) | READ], counter=[0, 0, 0, 0]))
    assert np.array_equal(np.rint(alone.standard_normal((4096, 6)) * 4096), z[1])


def test_chips_are_the_same_alone_and_among_others():
    given = {"threshold": np.full((3, 4), 256), "beta": 0.9}
    many, _ = program_engines(EngineParameters(), seeds=range(4), **given)
    one, _ = program_engines(EngineParameters(), seeds=[2], **given)
    for name in ("charge", "loss", "threshold", "kept", "injection"):
        assert np.array_equal(getattr(many.chip(2), name), getattr(one, name))
        assert not np.array_equal(getattr(many.chip(1), name), getattr(one, name))


# ---- what users hand in ----


def test_parameters_from_a_file(tmp_path):
    path = tmp_path / "engine.toml"
    path.write_text("schema = 1\ngain = 3000.0\nmismatch = 0.01\n")
    assert load_engine(path) == EngineParameters(gain=3000.0, mismatch=0.01)
    path.write_text("schema = 1\ngian = 3000.0\n")
    with pytest.raises(InputError, match=r"engine.toml: gian: no such parameter; .*did you mean gain\?"):
        load_engine(path)
    path.write_text("schema = 1\nsupply = 0.9\n")
    with pytest.raises(InputError, match=r"engine.toml: supply: 0.9 V was given; accepted: above reference"):
        load_engine(path)
    rows = EngineParameters.describe()
    assert all(row["source"] and row["unit"] for row in rows.values())
    assert rows["gain"]["assumed"]
    assert not rows["mismatch"]["assumed"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": None, "reset": "none"}, "a read-out"),
        ({"reset": "delayed_zero"}, "reset 'delayed_zero'"),
        ({"leak": Leak(kind="linear", amount=3)}, "a linear leak"),
        ({"bias": np.arange(23)}, "a bias"),
        ({"refractory": 2}, "refractory"),
        ({"max_count": 3}, "several spikes of a source in a step"),
        ({"threshold": np.arange(1, 24)}, "a leak or threshold per neuron"),
        ({"leak": Leak(kind="multiply", factor=0, fraction_bits=3)}, "a leak of everything"),
    ],
)
def test_layers_that_engines_do_not_do(changes, message):
    layer = replace(random_layer(np.random.default_rng(0)), **changes)
    with pytest.raises(InputError, match=rf"layer 'fc': .*{message}.*accepted for analog engines"):
        analog_leak(layer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": np.zeros((2, 2), int)}, "threshold: shape .* accepted: .* not all 0"),
        ({"beta": 1.5}, "beta: 1.5 to 1.5 was given"),
        ({"weight_bits": 13}, "weight_bits: 13 was given; accepted for analog engines: 2 to 12"),
        ({"clock": 0.0}, "clock: 0.0 was given"),
        ({"seeds": -1}, "seeds: -1 was given"),
    ],
)
def test_bad_input(changes, message):
    with pytest.raises(InputError, match=message):
        program_engines(EngineParameters(), **{"threshold": np.full((2, 2), 9)} | changes)
