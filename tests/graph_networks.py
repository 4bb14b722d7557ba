"""Random networks of every kind of connection: convolutions, joins, short cuts, delays, loops."""

import random

import numpy as np

from spikeloom.config import DigitalConfig
from spikeloom.network.connections import Connection
from spikeloom.network.integer import Adaptation, IntegerLayer, IntegerNetwork, Leak

NEURONS = (
    {},
    {"leak": Leak(kind="shift", shifts=(2,)), "reset": "zero"},
    {"current_bits": 7, "current_leak": Leak(kind="shift", shifts=(1,))},
    {"refractory": 2},
    {"adaptation": Adaptation(bits=5, leak=Leak(kind="shift", shifts=(2,)), increment=4)},
)


def two_maps() -> IntegerNetwork:
    """Two convolutions: addresses of three fields, with gaps, come in and go out."""
    rng = np.random.Generator(np.random.Philox(key=[6, 1]))
    first = Connection(weights=rng.integers(-3, 6, (3, 2, 2, 2)), source_shape=(2, 3, 5), padding=(1, 0))
    second = Connection(weights=rng.integers(-3, 6, (3, 3, 2, 1)), source_shape=(3, 4, 4))
    bits = {"weight_bits": 4, "potential_bits": 8, "reset": "subtract"}
    return IntegerNetwork(
        name="maps",
        layers=(
            IntegerLayer(name="a", connections=(first,), threshold=6, **bits),
            IntegerLayer(name="b", connections=(second,), threshold=5, **bits),
        ),
    )


class _Builder:
    """Layers one after the other, each with connections from layers before it and, delayed, from any."""

    def __init__(self, rng: random.Random):
        self.rng, self.numbers = rng, np.random.Generator(np.random.Philox(rng.getrandbits(64)))
        self.shapes: dict[str, tuple[int, ...]] = {}

    def weights(self, *shape: int) -> np.ndarray:
        low = self.rng.choice([-7, -3, 1])  # from balanced to purely exciting
        return self.numbers.integers(low, 8, shape)

    def dense(self, source: str, neurons: int, delay: int = 0) -> Connection:
        shape = self.shapes[source]
        pool = (1, 1)
        if len(shape) == 3 and min(shape[1:]) > 1 and self.rng.random() < 0.3:
            pool = (2, 2)
        pooled = int(np.prod(shape)) if len(shape) == 1 else shape[0] * (shape[1] // pool[0]) * (shape[2] // pool[1])
        return Connection(
            weights=self.weights(neurons, pooled), source=source, source_shape=shape, pool=pool, delay=delay
        )

    def convolution(self, source: str) -> Connection:
        channels, height, width = self.shapes[source]
        groups = self.rng.choice([1, 1, channels])
        kernel = [self.rng.randint(1, min(3, size)) for size in (height, width)]
        return Connection(
            weights=self.weights(groups * self.rng.randint(1, 3), channels // groups, *kernel),
            source=source,
            source_shape=self.shapes[source],
            stride=(self.rng.randint(1, 2), self.rng.randint(1, 2)),
            padding=(self.rng.randint(0, 1), self.rng.randint(0, 1)),
            groups=groups,
        )

    def layer(self, name: str, connections: list[Connection], *, reads_out: bool) -> IntegerLayer:
        kind = {"threshold": None, "reset": "none"} if reads_out else {"threshold": self.rng.choice([1, 5, 15, 40])}
        bits = {"weight_bits": 4, "potential_bits": 9, "reset": "subtract"}
        if not reads_out:
            kind |= self.rng.choice(NEURONS)
        layer = IntegerLayer(name=name, connections=tuple(connections), **bits | kind)
        self.shapes[name] = layer.shape
        return layer


def random_graph(seed: int, *, chain: bool) -> IntegerNetwork:
    """Two to four layers on maps and flat populations; with `chain` each listens to the one before it alone."""
    rng = random.Random(seed)
    build = _Builder(rng)
    mapped = rng.random() < 0.7
    sizes = [rng.randint(1, 2), rng.randint(2, 5), rng.randint(2, 5)] if mapped else [rng.randint(1, 9)]
    build.shapes["input"] = tuple(sizes)
    layers, before, depth = [], "input", rng.randint(2, 4)
    for n in range(depth):
        name, final = f"l{n}", n == depth - 1
        if len(build.shapes[before]) == 3 and not final and rng.random() < 0.7:
            connections = [build.convolution(before)]
        else:
            connections = [build.dense(before, rng.randint(1, 7))]
        neurons = connections[0].neurons
        if not chain and not connections[0].is_convolution:
            for source in [name for name in build.shapes if name != before]:
                if rng.random() < 0.4:
                    connections.append(build.dense(source, neurons, rng.choice([0, 0, 1, 3])))
            build.shapes[name] = (neurons,)
            if not final and rng.random() < 0.5:
                connections.append(build.dense(name, neurons, rng.randint(1, 3)))
            if rng.random() < 0.2:
                connections[0] = build.dense(before, neurons, rng.randint(1, 2))
        if not chain and len(connections) == 1 and connections[0].is_convolution and rng.random() < 0.3:
            first = connections[0]
            again = Connection(
                weights=build.weights(*first.weights.shape), source=before, source_shape=first.source_shape,
                stride=first.stride, padding=first.padding, groups=first.groups, delay=rng.randint(0, 2),
            )  # fmt: skip
            connections.append(again)
        layers.append(build.layer(name, connections, reads_out=final and rng.random() < 0.4))
        before = name
    return IntegerNetwork(name="net", layers=tuple(layers), state=rng.choice(["clear", "keep"]))


def random_graph_core(seed: int, network: IntegerNetwork, **options) -> DigitalConfig:
    """Any lanes, depths, decision and read-out that the network can have."""
    rng = random.Random(seed)
    reads_out = network.layers[-1].threshold is None
    return DigitalConfig(
        lanes=rng.choice(["full", 1, 2, 4]) if max(layer.neurons for layer in network.layers) >= 4 else "full",
        queue_depth=rng.choice(["auto", "auto", 2, 3, 8]),
        spike_queue=rng.choice(["auto", "auto", 2, 3]),
        decision=rng.choice(["auto", "none", *(["value"] if reads_out else ["count", "first"])]),
        readout=rng.choice(["last", "tick"]),
        **options,
    )


def random_graph_spikes(seed: int, network: IntegerNetwork, *, batch: int = 3) -> np.ndarray:
    """Counts [batch, steps, inputs] of one density, some steps empty and some full."""
    rng = random.Random(seed)
    numbers = np.random.Generator(np.random.Philox(rng.getrandbits(64)))
    steps = rng.choice([1, 2, 3, 6])
    spikes = (numbers.random((batch, steps, network.inputs)) < rng.choice([0, 0.05, 0.2, 0.5, 1])).astype(np.uint8)
    if rng.random() < 0.5:
        kinds = numbers.integers(0, 4, (batch, steps, 1))
        spikes = np.where(kinds == 0, 0, np.where(kinds == 1, 1, spikes)).astype(np.uint8)
    return spikes
