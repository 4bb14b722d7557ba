"""The reference simulator against the oracle: every spike, every potential; widths proven; networks on disk."""

import dataclasses
import io
import json
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracle
from networks import kinds, leaks, network_of, network_specs, stimuli
from spikeloom.errors import InputError
from spikeloom.network import reference
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak, signed_bits
from spikeloom.network.reference import DecisionKind, Trace, simulate
from spikeloom.network.storage import load_network, network_bytes, save_network

PATIENT = settings(deadline=None, max_examples=100)


@st.composite
def cases(draw, **limits):
    """A network, what enters it, what happens between inputs, and a direct current or None."""
    specs = draw(network_specs(**limits))
    inputs = draw(stimuli(len(specs[0]["weights"][0]), specs[0]["max_count"]))
    half = min(1 << specs[0]["potential_bits"] - 1, (1 << 40) - 1)  # the largest current that is accepted
    row = st.lists(
        st.sampled_from([-half, half]) | st.integers(-half, half),
        min_size=len(specs[0]["weights"]),
        max_size=len(specs[0]["weights"]),
    )
    currents = draw(st.none() | st.lists(row, min_size=len(inputs), max_size=len(inputs)))
    return specs, inputs, draw(st.sampled_from(["clear", "keep"])), currents


def agree(specs, inputs, state, currents) -> Trace:
    """Run both; raise where they differ."""
    expected = oracle.simulate(specs, inputs, state=state, currents=currents)
    current = None if currents is None else np.array(currents)
    trace = simulate(network_of(specs, state), np.array(inputs), current=current, potentials=True)
    assert [layer.tolist() for layer in trace.spikes] == expected.spikes
    assert trace.potentials is not None
    assert [layer.tolist() for layer in trace.potentials] == expected.potentials
    if specs[-1]["theta"] is None:
        assert trace.readout is not None
        assert trace.readout.tolist() == expected.potentials[-1]
    else:
        assert trace.readout is None
    kinds: list[DecisionKind] = ["count", "first", *(["value"] if trace.readout is not None else [])]
    last = list(zip(expected.spikes[-1], expected.potentials[-1], strict=True))
    for kind in kinds:
        assert trace.decision(kind).tolist() == [oracle.decide(kind, *one) for one in last]
    default = "count" if trace.readout is None else "value"
    assert trace.decision().tolist() == trace.decision(default).tolist()
    return trace


@PATIENT
@given(cases())
def test_every_spike_and_potential(case):
    agree(*case)


@PATIENT
@given(cases(max_layers=2), st.data())
def test_every_kind_of_neuron(case, data):
    specs, inputs, state, currents = case
    agree([data.draw(kinds(spec)) for spec in specs], inputs, state, currents)


def test_sums_beyond_a_synaptic_current_are_clamped_not_wrapped():
    """16 bits hold the accumulator, but not the sum of a step on top of a full current."""
    spec = chain(theta=None, reset="none", weights=((127,) * 236,), potential_bits=8, current=(14, ("none",), False))
    agree(spec, [[[1] * 236] * 3], "clear", None)


@settings(deadline=None, max_examples=40)
@given(cases(max_layers=1, max_width=8), st.sampled_from([1, 7, 1 << 10]))
def test_blocks_of_the_batch_change_nothing(case, elements):
    specs, inputs, state, currents = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reference, "BLOCK_ELEMENTS", elements)
        agree(specs, inputs, state, currents)


def chain(
    theta: int | None = 5, *, reset="zero", leak=("none",), weights=((9,),), potential_bits=4, bias=(0,), **more
) -> list[dict]:
    return [
        {
            "weights": [list(row) for row in weights],
            "bias": list(bias),
            "weight_bits": 8,
            "potential_bits": potential_bits,
            "leak": leak,
            "reset": reset,
            "theta": theta,
            "r": theta,
            **more,
        }
    ]


# Worked by hand from the equations: weight 9 on 4-bit potentials (-8 to 7), so a spike saturates at once.
@pytest.mark.parametrize(
    ("options", "spikes", "potentials"),
    [
        ({"reset": "zero"}, [1, 0, 1, 1], [0, 0, 0, 0]),
        ({"reset": "subtract"}, [1, 0, 1, 1], [2, 2, 2, 2]),
        ({"reset": "subtract", "r": 1}, [1, 1, 1, 1], [6, 5, 6, 6]),
        ({"reset": "none"}, [1, 1, 1, 1], [7, 7, 7, 7]),
        ({"reset": "delayed_zero"}, [1, 0, 1, 1], [7, 0, 7, 7]),
        ({"reset": "delayed_subtract"}, [1, 0, 1, 1], [7, 2, 7, 7]),
        ({"reset": "none", "leak": ("linear", 3)}, [1, 0, 1, 1], [7, 4, 7, 7]),
        ({"reset": "none", "leak": ("shift", 1)}, [1, 0, 1, 1], [7, 4, 7, 7]),
        ({"reset": "none", "leak": ("shift", 1, 2)}, [1, 0, 1, 1], [7, 3, 7, 7]),
        ({"reset": "none", "leak": ("multiply", 1, 2)}, [1, 0, 1, 1], [7, 1, 7, 7]),
        ({"reset": "none", "weights": ((-9,),)}, [0, 0, 0, 0], [-8, -8, -8, -8]),
        ({"reset": "none", "weights": ((-9,),), "leak": ("shift", 1)}, [0, 0, 0, 0], [-8, -4, -8, -8]),
        ({"reset": "none", "weights": ((-9,),), "leak": ("multiply", 3, 2)}, [0, 0, 0, 0], [-8, -6, -8, -8]),
        ({"reset": "none", "weights": ((-9,),), "leak": ("linear", 99)}, [0, 0, 0, 0], [-8, 0, -8, -8]),
        ({"theta": None, "r": None, "reset": "none"}, [0, 0, 0, 0], [7, 7, 7, 7]),
        ({"reset": "zero", "bias": (-2,)}, [1, 0, 1, 1], [0, -2, 0, 0]),
    ],
)
def test_small_cases_by_hand(options, spikes, potentials):
    trace = agree(chain(**options), [[[1], [0], [1], [1]]], "clear", None)
    assert trace.spikes[0][0, :, 0].tolist() == spikes
    assert trace.potentials is not None
    assert trace.potentials[0][0, :, 0].tolist() == potentials


def test_state_between_inputs():
    inputs = [[[1], [0]], [[0], [1]]]
    specs = chain(reset="none", weights=((3,),), theta=7)
    for state, potentials in (("clear", [[3, 3], [0, 3]]), ("keep", [[3, 3], [3, 6]])):
        trace = agree(specs, inputs, state, None)
        assert trace.potentials is not None
        assert trace.potentials[0][:, :, 0].tolist() == potentials


@settings(deadline=None, max_examples=100)
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_events_changes_nothing(case, rng):
    specs, inputs, state, currents = case

    def shuffled(terms):
        return rng.sample(terms, len(terms))

    one = oracle.simulate(specs, inputs, state=state, currents=currents)
    other = oracle.simulate(specs, inputs, state=state, currents=currents, order=shuffled)
    assert (one.spikes, one.potentials) == (other.spikes, other.potentials)


@settings(deadline=None, max_examples=60)
@given(cases(), st.randoms(use_true_random=False))
def test_order_of_inputs_changes_nothing(case, rng):
    specs, inputs, _, currents = case
    network, spikes = network_of(specs), np.array(inputs)
    current = None if currents is None else np.array(currents)
    order = rng.sample(range(len(inputs)), len(inputs))
    whole = simulate(network, spikes, current=current, potentials=True)
    moved = simulate(network, spikes[order], current=None if current is None else current[order], potentials=True)
    assert whole.potentials is not None
    assert moved.potentials is not None
    for one, other in zip((*whole.spikes, *whole.potentials), (*moved.spikes, *moved.potentials), strict=True):
        np.testing.assert_array_equal(one[order], other)


@PATIENT
@given(network_specs(), st.data())
def test_accumulator_never_leaves_its_range(specs, data):
    inputs = data.draw(stimuli(len(specs[0]["weights"][0]), specs[0]["max_count"]))
    rng = data.draw(st.randoms(use_true_random=False))
    orders = [list, sorted, lambda terms: sorted(terms, reverse=True), lambda terms: rng.sample(terms, len(terms))]
    bounds = [layer.accumulator_range() for layer in network_of(specs).layers]
    bits = [layer.accumulator_bits() for layer in network_of(specs).layers]
    for order in orders:
        answer = oracle.simulate(specs, inputs, state="keep", order=order)
        for (low, high), width, lowest, highest in zip(bounds, bits, answer.lowest, answer.highest, strict=True):
            assert all(low <= np.array(lowest)), "below the proven range"
            assert all(np.array(highest) <= high), "above the proven range"
            assert [signed_bits(a, b) for a, b in zip(low, high, strict=True)] == width.tolist()


@settings(deadline=None, max_examples=100)
@given(
    st.integers(3, 8).flatmap(lambda bits: st.tuples(st.just(bits), leaks(bits))),
    st.lists(st.integers(-9, 9), min_size=1, max_size=4),
    st.integers(-9, 9),
    st.sampled_from([1, 2]),
)
def test_accumulator_range_is_attained(format_, weights, bias, max_count):
    """No bit is wasted: from each limit of the leaked potential, worst-case events reach the bound itself."""
    bits, leak = format_
    spec = chain(theta=None, r=None, reset="none", leak=leak, weights=(weights,), potential_bits=bits, bias=(bias,))[0]
    spec["max_count"] = max_count
    layer = network_of([spec]).layers[0]
    reached = []
    for order in (sorted, lambda terms: sorted(terms, reverse=True)):
        for v in range(layer.v_min, layer.v_max + 1):
            every = [i for i in range(len(weights)) for _ in range(max_count)]
            oracle.step_of_neuron(spec, 0, oracle.at_rest() | {"v": v}, every, 0, order, reached.append)
            reached.append(v)  # the register holds the potential, too
    low, high = layer.accumulator_range()
    # Bounds of the register itself and of the sums are joined, so only the sums from the widest start are attained.
    ends = layer.leak.range(layer.v_min, layer.v_max)
    if ends[0] <= layer.v_min:
        assert min(reached) == low[0]
    if ends[1] >= layer.v_max:
        assert max(reached) == high[0]
    assert low[0] <= min(reached)
    assert max(reached) <= high[0]


def test_accumulator_range_by_hand():
    spec = chain(weights=((3, -2, 4), (-1, -1, 0)), bias=(5, -6), max_count=2)
    low, high = network_of(spec).layers[0].accumulator_range()
    assert low.tolist() == [-8 - 4, -8 - 6 - 4]
    assert high.tolist() == [7 + 5 + 14, 7]
    assert network_of(spec).layers[0].accumulator_bits().tolist() == [6, 6]
    late = chain(reset="delayed_subtract", theta=1, r=7, weights=((0,),), leak=("shift", 1, 1))
    low, high = network_of(late).layers[0].accumulator_range()
    assert (low.tolist(), high.tolist()) == ([-8], [7])


@pytest.mark.parametrize("state", ["clear", "keep"])
def test_an_empty_batch(state):
    for theta in (5, None):
        net = network_of(chain(theta, reset="zero" if theta else "none"), state)
        trace = simulate(net, np.zeros((0, 3, 1), bool), potentials=True)
        assert trace.spikes[0].shape == (0, 3, 1)
        assert trace.counts.shape == (0, 1)
        for kind in ("count", "first") if theta else ("value",):
            assert trace.decision(kind).shape == (0,)


def test_types_of_spikes_and_currents():
    """Any integer type says the same, also those that numpy would turn into floating point beside int64."""
    net = network_of(chain(reset="none", leak=("shift", 2), potential_bits=20, theta=30))
    spikes = np.array([[[1], [0], [1]]])
    plain = simulate(net, spikes, current=np.array([[7]]), potentials=True)
    assert plain.potentials is not None
    for spike_type in (bool, np.uint8, np.int8, np.uint64):
        for kind in (np.uint8, np.int16, np.uint64):
            typed = simulate(net, spikes.astype(spike_type), current=np.array([[7]], kind), potentials=True)
            assert typed.potentials is not None
            np.testing.assert_array_equal(plain.potentials[0], typed.potentials[0])
            assert typed.potentials[0].dtype.kind == "i"


def test_ties_go_to_the_lowest_index():
    def trace(steps):
        return Trace(spikes=(np.array([steps], np.uint8),), potentials=None, readout=np.array([steps]))

    assert trace([[0, 0, 0], [0, 0, 0]]).decision("first")[0] == 0
    assert trace([[0, 0, 0], [0, 1, 1], [1, 0, 0]]).decision("first")[0] == 1
    assert trace([[0, 0, 0], [0, 1, 1], [1, 0, 0]]).decision("count")[0] == 0
    assert trace([[9, 0, 0], [0, 1, 1]]).decision("value")[0] == 1
    assert trace([[0, 0, 1], [0, 1, 1]]).counts.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize(
    ("spikes", "current", "message"),
    [
        (np.zeros((2, 1), int), None, "spikes of shape (2, 1): accepted is [inputs of the batch, steps, 1]"),
        (np.zeros((2, 3, 2), int), None, "spikes of shape (2, 3, 2): accepted is [inputs of the batch, steps, 1]"),
        (np.zeros((2, 0, 1), int), None, "spikes of shape (2, 0, 1): accepted is [inputs of the batch, steps, 1]"),
        (np.zeros((2, 3, 1)), None, "spikes of type float64: accepted are bool and integers"),
        (np.full((1, 1, 1), 2), None, "spike counts from 2 to 2: layer 'fc1' accepts 0 to 1"),
        (np.full((1, 1, 1), -1), None, "spike counts from -1 to -1: layer 'fc1' accepts 0 to 1"),
        (
            np.zeros((2, 3, 1), int),
            np.zeros((1, 1), int),
            "current of shape (1, 1) and type int64: accepted are integers [2, 1]",
        ),
        (
            np.zeros((2, 3, 1), int),
            np.zeros((2, 1)),
            "current of shape (2, 1) and type float64: accepted are integers [2, 1]",
        ),
        (
            np.zeros((1, 3, 1), int),
            np.array([[-(1 << 40)]]),
            "layer 'fc1': direct current reaches 1099511627776; accepted is below 2**40",
        ),
    ],
)
def test_refused_inputs(spikes, current, message):
    with pytest.raises(InputError) as caught:
        simulate(network_of(chain()), spikes, current=current)
    assert str(caught.value) == message


def test_refused_sums():
    wide = IntegerLayer.dense(
        name="fc1",
        weights=np.full((1, 1), (1 << 31) - 1),
        weight_bits=32,
        potential_bits=8,
        threshold=1,
        max_count=(1 << 22) + 1,
    )
    with pytest.raises(InputError) as caught:
        simulate(IntegerNetwork(name="net", layers=(wide,)), np.zeros((1, 1, 1), int))
    assert str(caught.value) == "layer 'fc1': sums of weights reach 9007201398030335; accepted is below 2**53"
    narrower = IntegerNetwork(name="net", layers=(dataclasses.replace(wide, max_count=1 << 22),))
    assert simulate(narrower, np.full((1, 1, 1), 1 << 22)).counts.tolist() == [[1]]


@pytest.mark.parametrize("largest", [1 << 24, (1 << 31) - 1])
def test_sums_beyond_single_precision_are_exact(largest):
    """The smallest sums that a narrower floating-point type would round."""
    for extra in (-1, 1, 3):
        specs = chain(None, r=None, reset="none", weights=((largest, extra),), potential_bits=40, weight_bits=32)
        trace = agree(specs, [[[1, 1], [0, 1], [1, 0]]], "clear", None)
        assert trace.readout is not None
        assert trace.readout[0, :, 0].tolist() == [largest + extra, largest + 2 * extra, 2 * (largest + extra)]


def test_refused_decisions():
    trace = simulate(network_of(chain()), np.zeros((1, 1, 1), int))
    with pytest.raises(InputError) as caught:
        trace.decision("value")
    assert str(caught.value) == "decision 'value' needs a read-out as the last layer; accepted here: count, first"
    with pytest.raises(InputError) as caught:
        trace.decision("last")  # type: ignore[arg-type]
    assert str(caught.value) == "decision 'last': accepted are count, first, value"


@settings(deadline=None, max_examples=50)
@given(network_specs(), st.sampled_from(["clear", "keep"]))
def test_file_round_trip(tmp_path_factory, specs, state):
    net = network_of(specs, state, name="a name")
    path = save_network(net, tmp_path_factory.mktemp("net") / "network.npz")
    back = load_network(path)
    assert network_bytes(back) == network_bytes(net) == path.read_bytes()
    assert back.content_hash() == net.content_hash()
    assert (back.name, back.state) == (net.name, net.state)
    for one, other in zip(back.layers, net.layers, strict=True):
        np.testing.assert_array_equal(one.weights, other.weights)
        np.testing.assert_array_equal(one.bias, other.bias)
        for field in dataclasses.fields(IntegerLayer):
            if field.name not in ("connections", "bias"):
                assert getattr(one, field.name) == getattr(other, field.name)


def test_file_is_an_archive_that_numpy_reads(tmp_path):
    net = network_of(chain(weights=((1, -2), (3, 0)), bias=(0, 4), leak=("shift", 1, 2)))
    path = save_network(net, tmp_path / "network.npz")
    with np.load(path) as archive:
        assert archive["0.weights0"].tolist() == [[1, -2], [3, 0]]
        assert archive["0.bias"].tolist() == [0, 4]
    with zipfile.ZipFile(path) as archive:
        assert all(info.date_time == (1980, 1, 1, 0, 0, 0) for info in archive.infolist())
    assert load_network(path).layers[0].leak == Leak(kind="shift", shifts=(1, 2))


def rewritten(data: bytes, change) -> bytes:
    """The archive with its header changed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            new.writestr(name, json.dumps(change(json.loads(content))) if name == "header.json" else content)
    return buffer.getvalue()


def test_damaged_files_are_refused(tmp_path):
    net = network_of(chain())
    data, path = network_bytes(net), tmp_path / "network.npz"

    def refusal(content: bytes) -> str | None:
        path.write_bytes(content)
        try:
            back = load_network(path)
        except InputError as error:
            return str(error)
        return None if network_bytes(back) == data else "another network"

    answers = [refusal(data[:n] + bytes([data[n] ^ 0x41]) + data[n + 1 :]) for n in range(len(data))]
    # What is accepted are bytes that mean nothing, such as time stamps.
    assert all(answer is None or answer.startswith(f"{path}: ") for answer in answers)
    assert sum(answer is not None for answer in answers) > len(data) // 2
    for length in range(0, len(data), 7):
        answer = refusal(data[:length])
        assert answer is not None
        assert answer.startswith(f"{path}: not a readable network file (")
        assert answer.endswith("); `spikeloom elaborate` writes a new one")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header: {**header, "schema": 3}, "schema 3; accepted is 2"),
        (lambda header: [], "not a readable network file ('list' object has no attribute 'get')"),
        (lambda header: {"schema": 2}, "not a readable network file ('layers')"),
        (
            lambda header: {**header, "layers": [{**header["layers"][0], "weight_bits": 2}]},
            "layer 'fc1': weights from 9 to 9 need 5 bits; weight_bits is 2",
        ),
        (lambda header: {**header, "layers": [*header["layers"], header["layers"][0]]}, "not a readable network file"),
        (
            lambda header: {**header, "layers": [{**header["layers"][0], "colour": 2}]},
            "not a readable network file (IntegerLayer.__init__() got an unexpected keyword argument 'colour')",
        ),
    ],
)
def test_changed_headers_are_refused(tmp_path, change, message):
    path = tmp_path / "network.npz"
    path.write_bytes(rewritten(network_bytes(network_of(chain())), change))
    with pytest.raises(InputError) as caught:
        load_network(path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_missing_file(tmp_path):
    with pytest.raises(InputError) as caught:
        load_network(tmp_path / "none.npz")
    expected = f"{tmp_path}/none.npz: no such file; accepted is a network.npz that `spikeloom elaborate` wrote"
    assert str(caught.value) == expected
