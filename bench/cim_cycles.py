"""Cycles of updates and spikes against the number of neurons, on compiled RTL: in place, word by word, and fused."""

from pathlib import Path

import numpy as np
from _common import fixed_project, main, scratch, silent_inputs, stream

from spikeloom.config import CimConfig, CoreConfig, DigitalConfig
from spikeloom.export import elaborate, read_manifest
from spikeloom.mapping.cost_models import cost_model
from spikeloom.network.integer import IntegerLayer, IntegerNetwork, Leak
from spikeloom.network.reference import simulate
from spikeloom_sim.batch import compile_design

NEURONS = (16, 64, 256, 1024)
BITS = 12
SOURCES = 64
BANKS = 8


def network(neurons: int, *, sources: int = SOURCES, leak: bool = True) -> IntegerNetwork:
    """One layer with a subtracting reset, so that a tick compares, subtracts and decays; sums fit `BITS` bits."""
    rng = stream(41, neurons)
    weights = rng.integers(-2, 4, (neurons, sources)) * (rng.random((neurons, sources)) < SOURCES / sources)
    layer = IntegerLayer.dense(
        name="fc1",
        weights=weights,
        weight_bits=3,
        potential_bits=BITS - 2,
        leak=Leak(kind="linear", amount=9) if leak else Leak(),
        reset="subtract",
        threshold=40,
    )
    return IntegerNetwork(name="cycles", layers=(layer,))


class Measured:
    """A core on compiled RTL; every run is checked against the reference and against the cost model."""

    def __init__(self, place: Path, name: str, net: IntegerNetwork, core: CoreConfig):
        self.network, self.core, self.steps = net, core, 8
        project = fixed_project(net, steps=self.steps, core=core, name=name)
        elaborate(project, place / name, inputs=silent_inputs(project))
        self.design = compile_design(place / name, read_manifest(place / name))

    def latency(self, spikes: np.ndarray) -> int:
        """Cycles of one input [T, sources]."""
        result = self.design.run(spikes[None], isolated=True, processes=1)
        trace = simulate(self.network, spikes[None])
        if not np.array_equal(result.spikes, trace.spikes[-1]):
            raise SystemExit("the RTL's spikes differ from the reference")
        model = cost_model(self.network, self.core, steps=self.steps).cycles(spikes[None], trace.spikes)[0].latency
        if int(result.latency[0]) != model:
            raise SystemExit(f"{int(result.latency[0])} cycles on RTL, {model} in the cost model")
        return int(result.latency[0])

    def steps_of(self, count: int, events: int = 0) -> np.ndarray:
        """`count` steps with `events` spikes in the first one."""
        spikes = np.zeros((count, self.network.inputs), np.uint8)
        spikes[0, :events] = 1
        return spikes

    def tick(self) -> int:
        """Cycles from one tick to the next without a spike: the whole update."""
        return (self.latency(self.steps_of(8)) - self.latency(self.steps_of(4))) // 4

    def lone_spike(self) -> int:
        """Cycles by which a spike in front of it delays a tick: from its acceptance to the end of its addition."""
        return self.latency(self.steps_of(1, 1)) - self.latency(self.steps_of(1))


def measure() -> dict:
    """The figures of docs/cim.md."""
    answer: dict = {"bits": BITS, "neurons": list(NEURONS)}
    place = {"kind": "cim", "bits": BITS, "decision": "none"}
    ticks, spikes, decays, emitting = {}, {}, {}, {}
    with scratch() as folder:
        root = Path(folder)
        for neurons in NEURONS:
            core = Measured(root, f"n{neurons}", network(neurons), CimConfig(**place))
            ticks[neurons], spikes[neurons] = core.tick(), core.lone_spike()
            full = core.steps_of(1, SOURCES)  # many fire
            fired = int(simulate(core.network, full[None]).spikes[0].sum())
            emitting[neurons] = core.latency(full) - core.latency(core.steps_of(1, 1)) - (SOURCES - 1) * BITS - fired
            if neurons in (NEURONS[0], NEURONS[-1]):
                still = Measured(root, f"s{neurons}", network(neurons, leak=False), CimConfig(**place))
                decays[neurons] = ticks[neurons] - still.tick()
        words = {
            "sequential_1rw": {"ports": "1rw"},
            "sequential_1r1w": {"ports": "1r1w"},
            "lanes_8": {"ports": "1r1w", "lanes": 8},
        }
        updates: dict[str, dict[int, int]] = {"in_place_decay": dict.fromkeys(NEURONS, decays[NEURONS[0]])}
        updates["in_place_tick"] = ticks
        for name, keys in words.items():
            core = CimConfig(**place, update="sequential", **keys)
            judged = Measured(root, name, network(256), core)
            updates[name] = {}
            for neurons in NEURONS:
                net = network(neurons)
                model = cost_model(net, core, steps=8)
                silent = np.zeros((1, 8, SOURCES), np.uint8)
                fired = simulate(net, silent).spikes
                four = model.cycles(silent[:, :4], [each[:, :4] for each in fired])[0].latency
                updates[name][neurons] = (model.cycles(silent, fired)[0].latency - four) // 4
            if updates[name][256] != judged.tick():
                raise SystemExit(f"{name}: the cost model's tick is not the RTL's")
        fused = Measured(root, "fused", network(256), DigitalConfig(lanes=1, decision="none"))
        busy = [fused.latency(np.ones((steps, SOURCES), np.uint8)) for steps in (4, 8)]
        answer["fused_extra_cycles_of_a_busy_tick"] = (busy[1] - busy[0]) // 4 - SOURCES * 256

        net = network(256, sources=4096)
        banked = Measured(root, "banked", net, CimConfig(**place, banks=BANKS, array_rows=65536))
        chosen, pace = stream(43), []
        for _ in range(5):
            few, many = (np.zeros((1, 4096), np.uint8) for _ in range(2))
            order = chosen.permutation(4096)
            few[0, order[:32]], many[0, order[:288]] = 1, 1
            fired = [int(simulate(net, each[None]).spikes[0].sum()) for each in (few, many)]
            pace.append((banked.latency(many) - banked.latency(few) - fired[1] + fired[0]) / 256)
    limit = (BITS + 8) / 8
    return answer | {
        "decay_cycles": decays,
        "tick_cycles": ticks,
        "tick_limit": 3 * BITS + 8,
        "beyond_tick_per_spike_emitted": emitting,
        "lone_spike_cycles": spikes,
        "spike_limit": BITS + 3,
        "update_cycles": updates,
        "decay_ratio_256": round((256 + 2) / decays[NEURONS[0]], 2),
        "decay_ratio_256_to_rtl_1r1w": round(updates["sequential_1r1w"][256] / decays[NEURONS[0]], 2),
        "banks8_cycles_per_spike": round(float(np.median(pace)), 3),
        "banks8_worst": round(max(pace), 3),
        "banks8_limit": round(1.5 * limit, 3),
    }


if __name__ == "__main__":
    main(measure, __doc__ or "")
