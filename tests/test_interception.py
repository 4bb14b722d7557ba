"""The interception task against a slow second implementation, and what is made of weights."""

import dataclasses

import numpy as np
import pytest

import interception_oracle as oracle
from spikeloom.errors import InputError
from spikeloom.network import zoo
from spikeloom.network.datasets import load_dataset
from spikeloom.network.interception import (
    FAMILIES,
    IntegerController,
    ReferenceController,
    Weights,
    decode,
    draw_prey,
    encode,
    integer_network,
    load_weights,
    network_nir,
    own_weights,
    pure_pursuit,
    pursue,
    read_weights,
    spike_counts,
    steer,
)
from spikeloom.network.interception.evolution import evolve
from spikeloom.network.recipes import RECIPES
from spikeloom.network.reference import simulate

SHORT = dataclasses.replace(RECIPES["interception"], epochs=4, population=6, prey=8)


def random_weights(seed=0):
    rng = np.random.default_rng(seed)
    return Weights(0.9 * rng.random((30, 4)) ** 3, 0.7 * rng.random(30) ** 5)  # small enough to count, not to saturate


def write(folder, hidden, output):
    np.savetxt(folder / "fc1_weight.csv", hidden, delimiter=",", fmt="%.17g")
    np.savetxt(folder / "fc2_weight.csv", np.atleast_2d(output), delimiter=",", fmt="%.17g")


def test_encoder_at_every_tie_and_everywhere():
    values = np.concatenate([np.arange(51) / 50, np.linspace(0, 1, 402)])[:452].reshape(-1, 4)
    spikes = encode(values)
    assert spikes.shape == (113, 50, 4)
    for row, given in zip(values, spikes, strict=True):
        for x, train in zip(row, given.T, strict=True):
            assert np.flatnonzero(train).tolist() == oracle.spike_steps(x)
    assert spike_counts(np.array([[0.02, 0.06, 0.1, 1.0]])).tolist() == [[0, 2, 2, 25]]  # ties go to even
    assert decode(np.array([0, 25])).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.zeros(4), r"shape \(4,\): accepted is \[inputs of the batch, 4\]"),
        (np.full((1, 4), 1.1), "1.1 to 1.1: accepted is 0 to 1"),
        (np.full((1, 4), np.nan), "accepted is 0 to 1"),
    ],
)
def test_encoder_refuses(values, text):
    with pytest.raises(InputError, match=text):
        encode(values)


def test_prey_keep_the_rules():
    prey = draw_prey(3, range(400))
    start, steps = np.hypot(*prey[:, 0].T), np.hypot(*np.diff(prey, axis=1).transpose(2, 0, 1))
    assert prey.shape == (400, 50, 2)
    assert 3 <= start.min() < 3.2
    assert 9.8 < start.max() <= 10
    assert 0.95 < steps.max() <= 1 + 1e-12
    lines, walks = prey[0::4], prey[3::4]
    assert np.abs(np.diff(lines, 2, axis=1)).max() < 1e-12
    turns = np.degrees(np.unwrap(np.arctan2(*np.diff(walks, axis=1)[..., ::-1].transpose(2, 0, 1))))
    assert 29 < np.abs(np.diff(turns)).max() <= 30 + 1e-9
    circles = np.hypot(*np.diff(prey[1::4], 2, axis=1).transpose(2, 0, 1))
    assert np.ptp(circles, axis=1).max() < 1e-12  # a constant turn
    assert len(FAMILIES) == 4


def test_prey_do_not_depend_on_the_batch():
    together = draw_prey(5, range(12))
    assert (draw_prey(5, [7, 3]) == together[[7, 3]]).all()
    assert (draw_prey(6, [7]) != together[[7]]).any()
    with pytest.raises(InputError, match="seed = -1: accepted"):
        draw_prey(-1, range(1))
    with pytest.raises(InputError, match="path number -2: accepted"):
        draw_prey(0, [4, -2])


def test_prey_come_from_the_documented_stream():
    """Path 3, a random walk, written again from the docstring."""
    u = [int(n) / 2**64 for n in np.random.Philox(key=[9, 3]).random_raw(55)]
    angle, bearing, speed = 2 * np.pi * u[2], 2 * np.pi * u[1], 0.3 + 0.7 * u[3]
    place = (3 + 7 * u[0]) * np.array([np.cos(bearing), np.sin(bearing)])
    path = [place]
    for k in range(1, 50):
        angle += np.radians(60 * u[k + 5] - 30)
        place = place + speed * np.array([np.cos(angle), np.sin(angle)])
        path.append(place)
    assert np.abs(draw_prey(9, [3])[0] - path).max() < 1e-12


@pytest.mark.parametrize("kind", ["float", "integer"])
def test_closed_loop_equals_the_oracle(kind):
    weights = random_weights()
    if kind == "float":
        controller, threshold = ReferenceController(weights), 1
        first, second = weights.hidden.tolist(), weights.output.tolist()
    else:
        controller, threshold = IntegerController(weights), 256
        first, second = (array.tolist() for array in weights.quantised())
        second = second[0]
    prey = draw_prey(1, range(12))
    found = pursue(prey, steer(controller))
    spikes = 0
    for n, path in enumerate(prey.tolist()):
        step, seen, answers, places = oracle.pursue(
            path, lambda values: oracle.answer(values, first, second, threshold) / 25
        )
        assert found.captured[n] == step
        asked = found.asked[n]
        assert asked.sum() == len(seen)
        assert np.allclose(found.values[n][asked], np.array(seen).reshape(-1, 4), rtol=0, atol=1e-9)
        assert found.out[n][asked].tolist() == answers
        assert np.allclose(found.predator[n, : len(places)], places, rtol=0, atol=1e-9)
        assert (found.predator[n, len(places) :] == found.predator[n, len(places) - 1]).all()
        spikes += round(25 * sum(answers))
    assert spikes > 100


def test_pure_pursuit_heads_for_the_prey():
    prey = draw_prey(2, range(40))
    found = pursue(prey, pure_pursuit)
    for n, path in enumerate(prey.tolist()):
        step, _, _, places = oracle.pursue(path, lambda values: 0.5)
        assert found.captured[n] == step
        assert np.allclose(found.predator[n, : len(places)], places, rtol=0, atol=1e-9)
    assert found.capture_rate > 0.9
    assert found.mean_steps == pytest.approx(np.where(found.captured > 0, found.captured, 49).mean())


def test_pursuits_do_not_depend_on_each_other():
    prey, steering = draw_prey(4, range(8)), steer(ReferenceController(random_weights(1)))
    together, alone = pursue(prey, steering), pursue(prey[5:6], steering)
    assert (together.predator[5] == alone.predator[0]).all()
    keys = together.recorded_keys()
    assert len(keys) == len(together.recorded()) == len(set(keys.tolist()))
    assert keys[0] == 1  # path 0, step 1
    assert (pursue(prey[5:6], steering, numbers=[5]).recorded_keys([5]) == keys[keys // 64 == 5]).all()


def test_pursuit_refuses_other_paths():
    with pytest.raises(InputError, match=r"prey of shape \(2, 3, 2\): accepted"):
        pursue(np.zeros((2, 3, 2)), pure_pursuit)


def test_reference_spikes_are_its_counts():
    values = np.random.default_rng(0).random((30, 4))
    reference = ReferenceController(random_weights(2))
    hidden, output = reference.spikes(values)
    weights = reference.weights
    wanted = [oracle.answer(row, weights.hidden.tolist(), weights.output.tolist(), 1) for row in values.tolist()]
    assert reference.counts(values).tolist() == wanted == output.sum(axis=1).tolist()
    assert hidden.sum() > 100
    assert (reference.counts(values[::-1]) == reference.counts(values)[::-1]).all()


def test_weights_as_nir_come_back_as_the_same_integers():
    weights = random_weights(3)
    network = integer_network(weights)
    assert network_nir(weights) == network_nir(weights)
    assert [layer.threshold for layer in network.layers] == [256, 256]
    assert network.layers[0].connections[0].weights.tolist() == np.rint(256 * weights.hidden).tolist()
    small = Weights(weights.hidden, weights.output / 2)
    with pytest.raises(InputError, match=r"largest weight of layer 2 is .* / 256: accepted is 128 / 256 or more"):
        network_nir(small)


@pytest.mark.parametrize(("where", "value"), [("hidden", -0.01), ("output", np.nan), ("hidden", 255.5 / 256)])
def test_weights_refused(where, value):
    arrays = {"hidden": np.full((30, 4), 0.5), "output": np.full(30, 0.5)}
    arrays[where].flat[3] = value
    with pytest.raises(InputError, match=f"{where} weights from .*: accepted is 0 to below 0.998"):
        Weights(**arrays)


def test_weights_from_files(tmp_path):
    given = random_weights(4)
    write(tmp_path, given.hidden, given.output)
    found = load_weights(str(tmp_path))
    assert (found.hidden == given.hidden).all()
    assert (found.output == given.output).all()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("fc1_weight.csv", "0.1,0.2\n0.3\n", "fc1_weight.csv: line 2: 1 numbers; accepted is 2"),
        ("fc1_weight.csv", "0.1,x\n", "fc1_weight.csv: line 1: '0.1,x': accepted are numbers"),
        ("fc1_weight.csv", "", "fc1_weight.csv: no numbers"),
        ("fc1_weight.csv", "0.1,0.2\n", r"hidden weights of shape \(1, 2\): accepted is \(30, 4\)"),
        ("fc2_weight.csv", "0.1\n0.2\n", "fc2_weight.csv: 2 x 1 numbers: accepted is 1 x 30"),
        ("fc2_weight.csv", None, "fc2_weight.csv: No such file.*accepted is a folder with fc1_weight.csv"),
    ],
)
def test_damaged_files_are_named(tmp_path, name, text, message):
    given = random_weights(4)
    write(tmp_path, given.hidden, given.output)
    if text is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        read_weights(tmp_path)


def test_unknown_weights(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="weights 'mine': accepted are own, published, or a folder"):
        load_weights("mine")
    monkeypatch.delenv("SPIKELOOM_DATA", raising=False)
    with pytest.raises(InputError, match="SPIKELOOM_DATA is not set; accepted: a folder"):
        load_weights("published")


def test_published_weights(data_folder):
    """Q0.8 costs little on what the reference meets: 1 spike is 0.0016 in squares."""
    weights = load_weights("published")
    reference, integer = ReferenceController(weights), IntegerController(weights)
    loop = pursue(draw_prey(0, range(60)), steer(reference))
    values = loop.recorded()
    error = decode(integer.counts(values) - reference.counts(values))
    assert (error**2).mean() < 5e-4
    assert loop.capture_rate > 0.95


def test_own_weights_fit_the_crossbar_and_catch_as_soon_as_pure_pursuit():
    weights = own_weights()
    assert all(w[w > 0].min() >= 8 / 256 for w in (weights.hidden, weights.output))
    assert max(weights.hidden.max(), weights.output.max()) <= 230 / 256
    assert (weights.quantised()[0] == 256 * weights.hidden).all()
    prey, table = draw_prey(0, range(1 << 32, (1 << 32) + 1000)), zoo.settings("interception")
    found = pursue(prey, steer(IntegerController(weights)))
    assert found.capture_rate == pytest.approx(table["capture_rate"], abs=2e-3)  # angles depend on the machine's sine
    assert found.mean_steps == pytest.approx(table["mean_steps"], abs=0.05)
    assert found.mean_steps < pursue(prey, pure_pursuit).mean_steps + 0.15


def test_evolution_repeats_and_goes_on(tmp_path):
    whole = evolve(SHORT, seed=2)
    again = evolve(SHORT, seed=2)
    assert (whole.hidden == again.hidden).all()
    assert (whole.hidden != evolve(SHORT, seed=3).hidden).any()

    class Stop(Exception):
        pass

    def stop(done, total, note):
        if done == 3:
            raise Stop

    path = tmp_path / "checkpoint"
    with pytest.raises(Stop):
        evolve(dataclasses.replace(SHORT), seed=2, checkpoint=path, advance=stop)
    assert path.is_file()
    started = []
    resumed = evolve(SHORT, seed=2, checkpoint=path, advance=lambda done, total, note: started.append(done))
    assert (resumed.hidden == whole.hidden).all()
    assert (resumed.output == whole.output).all()
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"not a readable checkpoint .*delete it"):
        evolve(SHORT, seed=2, checkpoint=path)


def test_evolution_improves():
    recipe = dataclasses.replace(SHORT, epochs=25, population=10, prey=16)
    prey = draw_prey(0, range(5000, 5060))
    first = evolve(dataclasses.replace(recipe, epochs=1, learning_rate=1e-9), seed=0)
    last = evolve(recipe, seed=0)
    steps = [pursue(prey, steer(IntegerController(weights))).mean_steps for weights in (first, last)]
    assert steps[1] < steps[0] - 0.2


def test_data_set_is_what_the_reference_sees():
    task = load_dataset("interception")
    observations, labels = task.half(train=False, count=40)
    assert labels is None
    numbers = range(1 << 32, (1 << 32) + 200)
    values = pursue(draw_prey(0, numbers), steer(ReferenceController(own_weights()))).recorded()[:40]
    for observation, wanted in zip(observations, encode(values), strict=True):
        spikes = np.zeros((50, 4), np.uint8)
        np.add.at(spikes, (observation.times_us // 1000, observation.addresses), 1)
        assert (spikes == wanted).all()
    trace = simulate(zoo_network(), encode(values))
    assert (trace.counts[:, 0] == IntegerController(own_weights()).counts(values)).all()


def zoo_network():
    return integer_network(own_weights())
