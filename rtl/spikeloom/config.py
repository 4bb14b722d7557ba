"""The configuration file: one frozen, validated object per TOML section. Pure Python: no HDL is imported here.

`load_config` turns every mistake into one message `file: key: what was given; what is accepted; did you mean`.
"""

import dataclasses
import difflib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, get_args

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from .errors import InputError

__all__ = [
    "CimConfig",
    "Config",
    "CoreConfig",
    "CrossbarConfig",
    "DataConfig",
    "DigitalConfig",
    "HostConfig",
    "InputConfig",
    "NetworkConfig",
    "QuantiseConfig",
    "SharedConfig",
    "StochasticConfig",
    "SynthConfig",
    "VirtualConfig",
    "core_kinds",
    "json_schema",
    "load_config",
    "parse_config",
    "render_config",
]

SCHEMA = 1
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Positive = Annotated[int, Field(ge=1)]

DEFAULT_KIND = "digital"
KINDS = (
    "architecture: digital | cim (SRAM compute-in-memory) | crossbar (memristors with analog neurons) | "
    "virtual (memory-based event control, virtual neurons) | shared (a table of conductances, an index per synapse) | "
    "stochastic (memristors that switch at random)"
)


def _doc(text: str, **constraints: Any) -> Any:
    """Field metadata: the text is both the comment of the written TOML and the description of the JSON schema."""
    return Field(description=text, **constraints)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class NetworkConfig:
    """Where the trained network is and what NIR does not store."""

    file: Annotated[str, _doc("NIR file, relative to this file; `zoo:NAME` is a network that comes with Spikeloom")]
    dt: Annotated[
        float,
        _doc("time step of the trained network in seconds, a number above 0: NIR stores time constants only", gt=0),
    ]
    reset: Annotated[
        Literal["zero", "subtract", "delayed_zero", "delayed_subtract"],
        _doc("reset of the neurons, not stored by NIR: zero | subtract | delayed_zero | delayed_subtract (snnTorch)"),
    ] = "zero"
    synapse: Annotated[
        Literal["same_step", "next_step", "jump"],
        _doc("how spikes change a synaptic current (CubaLIF): same_step (snnTorch) | next_step | jump (Norse)"),
    ] = "same_step"
    integration: Annotated[
        Literal["euler", "exponential"],
        _doc("what a step leaves of a potential: euler, 1 - dt / tau | exponential, exp(-dt / tau) (sinabs)"),
    ] = "euler"
    refractory: Annotated[
        Annotated[int, Field(ge=0, le=65_536)] | list[Annotated[int, Field(ge=0, le=65_536)]],
        _doc(
            "steps after a spike in which a neuron rests, 0 to 65536, not stored by NIR; a list gives each layer its "
            "own"
        ),
    ] = 0
    adaptation: Annotated[
        Annotated[float, Field(ge=0)] | list[Annotated[float, Field(ge=0)]],
        _doc(
            "what each spike adds to the threshold of its neuron, as a share of it, at least 0 (0: the threshold "
            "stays), not stored by NIR; a list gives each layer its own"
        ),
    ] = 0.0
    adaptation_decay: Annotated[
        Annotated[float, Field(ge=0, le=1)] | list[Annotated[float, Field(ge=0, le=1)]],
        _doc("share of what spikes added to a threshold that is left after a step, 0 to 1; a list as above"),
    ] = 0.9
    seed: Annotated[
        int,
        _doc("seed of the random words of stochastic neurons, 0 to 4294967295, not stored by NIR", ge=0, le=2**32 - 1),
    ] = 0
    state: Annotated[Literal["clear", "keep"], _doc("membrane potentials at the end of an input: clear | keep")] = (
        "clear"
    )


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class QuantiseConfig:
    """Number formats of the integer network."""

    weight_bits: Annotated[int, _doc("bits of a stored weight, 2 to 16", ge=2, le=16)] = 8
    potential_bits: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=32)],
        _doc('bits of a stored membrane potential, 2 to 32, or "auto": the smallest that loses nothing on the data'),
    ] = "auto"
    current_bits: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=32)],
        _doc('bits of a stored synaptic current, 2 to 32, or "auto": the smallest that no activity can pass'),
    ] = "auto"
    leak: Annotated[
        Literal["auto", "none", "linear", "shift", "shift2", "multiply"],
        _doc("leak arithmetic: auto | none | linear (fitted on the data) | shift | shift2 (two shifts) | multiply"),
    ] = "auto"
    scale: Annotated[
        Literal["max", "mse"], _doc("weight step: max (largest weight fits) | mse (clip for least squared error)")
    ] = "max"
    levels: Annotated[
        Literal["all"] | Annotated[int, Field(ge=2, le=256)],
        _doc('distinct weights that are kept, 2 to 256, by k-means, or "all"'),
    ] = "all"
    levels_of: Annotated[
        Literal["layer", "network"], _doc("layer (each layer has levels of its own) | network (all share them)")
    ] = "layer"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class InputConfig:
    """How values become spikes."""

    coding: Annotated[
        Literal["rate", "bernoulli", "latency", "current", "events"],
        _doc("rate (evenly spaced) | bernoulli | latency (one spike) | current (direct) | events (recorded streams)"),
    ] = "rate"
    steps: Annotated[int, _doc("time steps of one input, 1 to 100000", ge=1, le=100_000)] = 25
    max_rate: Annotated[float, _doc("spikes per step of the largest value, above 0 to 1", gt=0, le=1)] = 1.0
    seed: Annotated[int, _doc("seed of the bernoulli coding, an integer of at least 0", ge=0)] = 0
    step_us: Annotated[float, _doc("length of a step for recorded events in microseconds, above 0", gt=0)] = 10_000.0


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CoreConfig:
    """The accelerator core: keys that every kind has. A kind is a subclass whose `kind` is its name."""

    kind: Annotated[str, _doc(KINDS)]
    weights: Annotated[
        Literal["fixed", "loaded"],
        _doc("weights fixed at elaboration (smallest) or loaded at run time: fixed | loaded"),
    ] = "fixed"
    parameters: Annotated[
        Literal["fixed", "loaded"],
        _doc("thresholds, resets, leaks and biases fixed at elaboration or loaded at run time: fixed | loaded"),
    ] = "fixed"
    queue_depth: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=64)],
        _doc(
            'events that the queue in front of each layer holds, 2 to 64, or "auto": 2, none where lanes are shared '
            "(their look-ahead holds two events already)"
        ),
    ] = "auto"
    decision: Annotated[
        Literal["auto", "count", "first", "value", "none"],
        _doc("decision unit: auto | count (most spikes) | first (first spike) | value (largest read-out) | none"),
    ] = "auto"
    readout: Annotated[
        Literal["last", "tick"],
        _doc("when a read-out layer reports its potentials: last (end of input) | tick (every step)"),
    ] = "last"
    probe: Annotated[
        bool, _doc("true: a stream per layer shows every membrane potential (for verification) | false")
    ] = False


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DigitalConfig(CoreConfig):
    """The digital core: potentials in registers or memory, weight rows as wide as its lanes."""

    kind: Annotated[Literal["digital"], _doc(KINDS)] = "digital"
    lanes: Annotated[
        Literal["full"] | Positive | list[Literal["full"] | Positive],
        _doc(
            'neurons updated per cycle: 1 to the layer width, or "full", one lane per neuron; '
            "a list gives each layer its own"
        ),
    ] = "full"
    events_per_cycle: Annotated[
        Literal[1, 2, 4],
        _doc(
            "spikes that a layer takes per cycle: 1 | 2 | 4; more than 1 where every layer is dense, with a lane for "
            "each neuron, and feeds the next one only"
        ),
    ] = 1
    weight_ports: Annotated[
        Literal[1, 2],
        _doc(
            "read ports of a weight memory: 1 (events_per_cycle banks of rows) | 2 (half as many banks, any two rows "
            "of each per cycle)"
        ),
    ] = 1
    sparse: Annotated[
        Literal["auto", "off", "on"],
        _doc(
            "pruned dense layers on shared lanes: off | on (only weights that are not 0 are stored and added) | auto "
            "(on for fixed weights where that takes fewer memory bits and cycles)"
        ),
    ] = "auto"
    spike_queue: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=64)],
        _doc(
            'groups of spikes held between shared lanes and their serialiser, 2 to 64, or "auto": 4, none for one lane '
            "(it sends what it finds at once)"
        ),
    ] = "auto"
    schedule: Annotated[
        Literal["pipeline", "folded"],
        _doc("pipeline (an engine for each layer) | folded (one engine of `lanes` lanes runs all layers in turn)"),
    ] = "pipeline"
    fold_steps: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=4096)],
        _doc(
            'time steps that a folded core takes through a layer before the next one, 1 to 4096, or "auto": 1 with all '
            "weights on chip (outputs of a step wait for no later one), all of an input with streamed weights"
        ),
    ] = "auto"
    weight_buffer: Annotated[
        Literal["auto"] | Positive,
        _doc(
            'rows of the weight memory of a folded core, or "auto": all weights on chip; with fewer rows, weights '
            "stream in through the load port, one half while the other is worked on"
        ),
    ] = "auto"
    load_bits: Annotated[
        Literal[32, 64, 128, 256, 512, 1024],
        _doc("bits of a word of the load port: 32 | 64 | 128 | 256 | 512 | 1024 (above 32 for streamed weights only)"),
    ] = 32


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CimConfig(CoreConfig):
    """The compute-in-memory core: a column of an SRAM array is a neuron, a row a bit of all potentials."""

    kind: Annotated[Literal["cim"], _doc(KINDS)]
    update: Annotated[
        Literal["in_place", "sequential"],
        _doc(
            "in_place (bit by bit, all columns at once, inside the array) | sequential (neuron by neuron, words beside "
            "the array: the comparison)"
        ),
    ] = "in_place"
    bits: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=64)],
        _doc('rows that hold a potential while spikes add up, 2 to 64, or "auto": as many as no activity can pass'),
    ] = "auto"
    array_rows: Annotated[int, _doc("rows of an array, 4 to 65536", ge=4, le=65_536)] = 1024
    array_columns: Annotated[int, _doc("columns of an array, 1 to 4096", ge=1, le=4096)] = 256
    arrays: Annotated[
        Literal["auto"] | Positive, _doc('arrays that all layers may take together, or "auto": as many as they need')
    ] = "auto"
    banks: Annotated[
        Literal[1, 2, 4, 8, 16],
        _doc("arrays that hold the weights of a tile by source, each adding a row at a time: 1 | 2 | 4 | 8 | 16"),
    ] = 1
    ports: Annotated[
        Literal["1rw", "1r1w"], _doc("ports of the memory of a sequential update: 1rw (two cycles a word) | 1r1w (one)")
    ] = "1r1w"
    lanes: Annotated[int, _doc("words that a sequential update changes at a time, at least 1", ge=1)] = 1


def _nanoseconds(text: str) -> Any:
    return _doc(f"{text} in nanoseconds, above 0", gt=0, le=1e9)


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class CrossbarConfig(CoreConfig):
    """The crossbar core: digital control of a memristor array with analog integrate-and-fire neurons."""

    kind: Annotated[Literal["crossbar"], _doc(KINDS)]
    clock_mhz: Annotated[
        float, _doc("clock in MHz that the times below are counted in, above 0 to 10000", gt=0, le=10_000)
    ] = 200.0
    step_ns: Annotated[float, _nanoseconds("length of a time step")] = 480.0
    pulse_ns: Annotated[float, _nanoseconds("how long a spike opens the gates of its row, at most a step,")] = 55.0
    reset_ns: Annotated[float, _nanoseconds("how long a neuron ignores its inputs after a spike, at most a step,")] = (
        55.0
    )
    dead_ns: Annotated[float, _doc("what a slow amplifier adds to that in nanoseconds, at least 0", ge=0, le=1e9)] = 0.0
    tile_rows: Annotated[int, _doc("rows of the largest array, 1 to 1024", ge=1, le=1024)] = 64
    tile_columns: Annotated[int, _doc("columns (synapses) of the largest array, 1 to 1024", ge=1, le=1024)] = 64
    device: Annotated[
        str,
        _doc(
            "cell: sky130 (41 levels, read noise) | wan2022 | milo2021 (resistive) | joshi2020 (phase change) | "
            "ideal (any conductance, no noise) | a device file NAME.toml, relative to this file",
            pattern=r"^(sky130|wan2022|milo2021|joshi2020|ideal|.+\.toml)$",
        ),
    ] = "sky130"
    cells: Annotated[int, _doc("cells in parallel per synapse, 1 to 8", ge=1, le=8)] = 2
    age_s: Annotated[float, _doc("seconds since the cells were programmed, at least 0 (drift)", ge=0, le=1e12)] = 0.0
    unit_kohm: Annotated[float, _doc("resistance of a weight of one threshold in kOhm, above 0", gt=0, le=1e9)] = 178.2
    wire_ohm: Annotated[float, _doc("resistance of a bit-line segment in ohm, at least 0", ge=0, le=1e6)] = 1.0
    chip: Annotated[int, _doc("seed of the chip: its cells, offsets and noise, 0 to 2^63 - 1", ge=0, le=2**63 - 1)] = 0
    read_noise: Annotated[bool, _doc("true: read noise of the cells | false")] = True
    offset_mv: Annotated[
        float, _doc("amplifier offsets spread evenly from 0 to this in mV, 0 to below 50", ge=0, lt=50)
    ] = 0.0
    stuck: Annotated[float, _doc("part of the cells stuck, half of them at each end, 0 to 1", ge=0, le=1)] = 0.0
    stamps: Annotated[
        bool, _doc("true: a stream per layer has the clock cycle of every spike within its step | false")
    ] = False
    tolerance: Annotated[
        int, _doc("a cell is programmed at |target - code| <= target * tolerance / 256, 1 to 255", ge=1, le=255)
    ] = 6
    most_pulses: Annotated[int, _doc("write pulses after which a cell is given up, 1 to 63", ge=1, le=63)] = 63


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class VirtualConfig(CoreConfig):
    """The virtual core: memories lead spikes to engines that emulate many neurons each."""

    kind: Annotated[Literal["virtual"], _doc(KINDS)]
    queue_depth: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=65_536)],
        _doc('spikes that the event memory of each layer holds, 2 to 65536, or "auto": 64'),
    ] = "auto"
    engines: Annotated[int, _doc("engines of a core, M, 1 to 256", ge=1, le=256)] = 16
    slots: Annotated[int, _doc("virtual neurons of an engine, N, 1 to 65536", ge=1, le=65_536)] = 64
    passes: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=64)],
        _doc(
            'most passes over an input, 1 to 64, of a layer with more neurons than all engines have slots, or "auto": '
            "as many as it takes"
        ),
    ] = "auto"
    placement: Annotated[
        Literal["greedy", "round_robin"],
        _doc("how neurons get their engines without a mapping file: greedy (few rows for each spike) | round_robin"),
    ] = "greedy"
    mapping: Annotated[
        str,
        _doc("file of engines and passes of all neurons, as `spikeloom map` writes it; relative to this file"),
    ] = ""
    engine: Annotated[
        Literal["digital", "analog"],
        _doc("digital (an adder and a memory) | analog (C-2C ladder and op-amp, behind a port)"),
    ] = "digital"
    chip: Annotated[
        int, _doc("seed of the chip of analog engines: mismatch and noise, 0 to 2^63 - 1", ge=0, le=2**63 - 1)
    ] = 0
    circuit: Annotated[
        str, _doc('TOML file of the circuit of analog engines, or "": the parameters that come along')
    ] = ""
    clock_mhz: Annotated[
        float, _doc("clock in MHz at which analog engines do a row per cycle, above 0 to 10000", gt=0, le=10_000)
    ] = 100.0
    step_us: Annotated[
        float, _doc("time between ticks in microseconds, in which analog neurons leak, above 0", gt=0, le=1e9)
    ] = 20.0
    cores: Annotated[
        Literal["layer", "one"] | list[Annotated[int, Field(ge=0)]],
        _doc("layer (a core for each layer) | one (all layers share a core) | a list gives each layer's core, from 0"),
    ] = "layer"
    dispatch_rows: Annotated[
        Literal["auto"] | Positive,
        _doc('rows of a layer in the dispatch memory, or "auto": as many as its spikes take'),
    ] = "auto"
    weight_depth: Annotated[
        Literal["auto"] | Positive,
        _doc('words of a layer in an engine\'s weight memory, or "auto": as many as its synapses take'),
    ] = "auto"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SharedConfig(CoreConfig):
    """The weight-shared core: a small table of conductances, an index into it for every synapse."""

    kind: Annotated[Literal["shared"], _doc(KINDS)]
    gangs: Annotated[
        Literal["layer", "one"] | list[Annotated[int, Field(ge=0)]],
        _doc(
            "layer (a gang of cores for each layer) | one (all layers in turn on one gang) | a list gives each layer's "
            "gang, from 0"
        ),
    ] = "layer"
    cores: Annotated[
        Annotated[int, Field(ge=1, le=1024)] | list[Annotated[int, Field(ge=1, le=1024)]],
        _doc(
            "cores of a gang, side by side, that share the neurons of its layers, 1 to 1024; a list gives each gang's"
        ),
    ] = 1
    neurons: Annotated[int, _doc("neurons that a core holds, 1 to 65536", ge=1, le=65_536)] = 1024
    fan_in: Annotated[int, _doc("most sources of a layer, 1 to 65536", ge=1, le=65_536)] = 8192
    levels: Annotated[
        int,
        _doc("levels of the table of a core, K, a power of two from 2 to 256: indices have log2 K bits", ge=2, le=256),
    ] = 16
    pair: Annotated[
        Literal["differential", "single"],
        _doc("differential (two devices per level, weights of both signs) | single (one device, no negative weight)"),
    ] = "differential"
    read: Annotated[
        Literal["histogram", "replicate"],
        _doc(
            "histogram (active synapses of a neuron are counted by level, the table is read once for all) | replicate "
            "(a copy of the table for each of several active synapses)"
        ),
    ] = "histogram"
    copies: Annotated[int, _doc("active synapses of a conversion, P, 1 to 256 (replicate)", ge=1, le=256)] = 16
    count_bits: Annotated[
        int,
        _doc("bits of a counter, 1 to 16 (histogram): up to 2^bits - 1 spikes are counted before a read", ge=1, le=16),
    ] = 8
    pulse_bits: Annotated[
        int, _doc("bits of a counter that one row pulse carries, 1 to 16 (histogram)", ge=1, le=16)
    ] = 4
    lanes: Annotated[int, _doc("neurons of a core whose indices are read at a time, 1 to 256", ge=1, le=256)] = 16
    indices: Annotated[
        Literal["on_chip", "streamed"],
        _doc("index memory: on_chip | streamed (outside: the core asks for the rows that its spikes need, ahead)"),
    ] = "on_chip"
    row_buffer: Annotated[int, _doc("rows that may be under way from outside, 2 to 4096 (streamed)", ge=2, le=4096)] = (
        32
    )
    engine: Annotated[
        Literal["digital", "analog"],
        _doc("digital (a table of integers) | analog (memristors and converters, behind a port)"),
    ] = "digital"
    chip: Annotated[
        int, _doc("seed of the chip of analog tables: devices and noise, 0 to 2^63 - 1", ge=0, le=2**63 - 1)
    ] = 0
    device: Annotated[
        str,
        _doc(
            "device of analog tables: wan2022 | milo2021 (resistive) | joshi2020 (phase change) | ideal | a file "
            "NAME.toml, relative to this file",
            pattern=r"^(wan2022|milo2021|joshi2020|ideal|.+\.toml)$",
        ),
    ] = "wan2022"
    sigma: Annotated[
        Literal["device"] | Annotated[float, Field(ge=0, le=1)],
        _doc('relative error of a programmed conductance, 0 to 1, or "device": what is known of the device'),
    ] = "device"
    stuck: Annotated[float, _doc("part of the devices stuck, half of them at each end, 0 to 1", ge=0, le=1)] = 0.0
    read_noise: Annotated[bool, _doc("true: noise of every read | false")] = True
    calibrate: Annotated[
        bool, _doc("true: every device is read back and written again until it is near its level | false")
    ] = False
    remap: Annotated[
        bool, _doc("true: synapses use the level that is nearest as it was read back | false: their own")
    ] = False
    adc_bits: Annotated[int, _doc("bits of the converter behind a table, 4 to 16", ge=4, le=16)] = 10
    adc_range: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=1, le=1 << 24)],
        _doc('largest sum that it converts, in units of a weight, or "auto": four times the largest threshold'),
    ] = "auto"
    row_latency: Annotated[
        int, _doc("cycles to a row of the memory outside that is simulated, 1 to 4096 (streamed)", ge=1, le=4096)
    ] = 20


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class StochasticConfig(CoreConfig):
    """The stochastic core: write, read and reset of memristive neurons that switch at random."""

    kind: Annotated[Literal["stochastic"], _doc(KINDS)]
    lanes: Annotated[
        Literal["full"] | Positive | list[Literal["full"] | Positive],
        _doc('neurons written per cycle: 1 to the channels of a layer, or "full"; a list gives each layer its own'),
    ] = 4
    spike_queue: Annotated[
        Literal["auto"] | Annotated[int, Field(ge=2, le=64)],
        _doc('groups of spikes held between the lanes and their serialiser, 2 to 64, or "auto": 4, none for one lane'),
    ] = "auto"

    # What a pipeline of such engines has in common with that of the digital core.
    events_per_cycle: ClassVar[Literal[1]] = 1
    weight_ports: ClassVar[Literal[1]] = 1
    sparse: ClassVar[Literal["off"]] = "off"
    schedule: ClassVar[Literal["pipeline"]] = "pipeline"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class HostConfig:
    """What stands around the core for a system that uses it."""

    bus: Annotated[
        Literal["none", "axi4-lite", "wishbone"],
        _doc(
            "none | axi4-lite | wishbone: a second top, NAME_host, with registers on this bus and AXI4-Streams of "
            "events, and its C header, Python driver and register map"
        ),
    ] = "none"


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class DataConfig:
    """Labelled inputs for calibration, simulation and the report."""

    set: Annotated[
        Literal["none", "digits", "mnist", "nmnist", "dvs128", "npz", "sequence", "moving", "interception"],
        _doc(
            "data set: none | digits (bundled with scikit-learn) | mnist | nmnist | dvs128 (recordings of 128 x 128 "
            "pixels, such as CIFAR10-DVS) | npz (arrays x and y) | sequence (a task that needs memory) | moving "
            "(synthetic recordings of 128 x 128 pixels) | interception (what a predator sees, no labels)"
        ),
    ] = "none"
    path: Annotated[
        str, _doc("folder of the mnist / nmnist / dvs128 files, or the .npz file; relative to this file")
    ] = ""
    inputs: Annotated[int, _doc("how many test inputs simulate uses by default, at least 1", ge=1)] = 100


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class SynthConfig:
    """Synthesis targets."""

    pdk: Annotated[
        str,
        _doc(
            "process design kit: osu018 | sky130hd | gf180 | ihp-sg13g2 | nangate45 | asap7 (`spikeloom pdk list`), or "
            "a TOML file that describes one, relative to this file"
        ),
    ] = "osu018"
    corner: Annotated[str, _doc('operating point of the kit, or "" for its default one')] = ""
    pdk_root: Annotated[
        str,
        _doc(
            "folder with the kit's files, relative to this file: its own, one of ciel, or a checkout of "
            'OpenROAD-flow-scripts; "" looks where SPIKELOOM_PDK, PDK_ROOT and FLOW_HOME say'
        ),
    ] = ""
    liberty: Annotated[
        list[str], _doc("Liberty files in the place of the kit's, which make one library, relative to this file")
    ] = dataclasses.field(default_factory=list)
    clock_mhz: Annotated[
        float, _doc("clock that synthesis aims at and power is reported for, above 0 to 10000 MHz", gt=0, le=10_000)
    ] = 100.0
    macros: Annotated[
        list[str],
        _doc(
            "Liberty and LEF files of memory macros, relative to this file; a macro has the name of its memory's "
            "module and size, as in spikeloom_cim_array_512x64; other memories are estimated"
        ),
    ] = dataclasses.field(default_factory=list)
    memory_model: Annotated[
        str, _doc('parameters of that estimate: "default" or a file like macros.toml, relative to this file')
    ] = "default"
    memory_access_ns: Annotated[
        Literal["auto"] | Annotated[float, Field(ge=0)],
        _doc('access time of memories without a macro in nanoseconds, at least 0, or "auto": the estimate'),
    ] = "auto"
    adders: Annotated[
        Literal["auto", "gates", "cells"],
        _doc(
            "additions: gates | cells (full adders of the library) | auto (the smaller of both that reaches the clock)"
        ),
    ] = "auto"
    fpga: Annotated[
        list[Literal["ice40", "ecp5", "xc7"]], _doc("FPGA families whose resources are counted: ice40, ecp5, xc7")
    ] = dataclasses.field(default_factory=lambda: ["ice40", "ecp5", "xc7"])


@dataclass(frozen=True, kw_only=True, config=_STRICT)
class Config:
    """A whole configuration file."""

    schema: Annotated[Literal[1], _doc("version of this format")] = SCHEMA
    name: Annotated[
        str,
        _doc(
            "name of the design, its folder below build/ and its Verilog module: "
            "a lower-case letter, then up to 40 lower-case letters, digits and _",
            pattern=r"^[a-z][a-z0-9_]{0,40}$",
        ),
    ]
    network: NetworkConfig
    quantise: QuantiseConfig = dataclasses.field(default_factory=QuantiseConfig)
    input: InputConfig = dataclasses.field(default_factory=InputConfig)
    core: Annotated[
        DigitalConfig | CimConfig | CrossbarConfig | VirtualConfig | SharedConfig | StochasticConfig,
        Field(discriminator="kind"),
    ] = dataclasses.field(default_factory=DigitalConfig)
    host: HostConfig = dataclasses.field(default_factory=HostConfig)
    data: DataConfig = dataclasses.field(default_factory=DataConfig)
    synth: SynthConfig = dataclasses.field(default_factory=SynthConfig)


def load_config(path: Path | str) -> Config:
    """Read and validate a TOML configuration.

    Raises
    ------
    InputError
        For a missing or damaged file and for every key or value that is not accepted, all of them at once.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; `spikeloom new NET.nir` writes a configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from error
    return parse_config(text, origin=str(path))


def parse_config(text: str, *, origin: str = "configuration") -> Config:
    """Validate the TOML `text`; messages name `origin` as the file."""
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{origin}: not TOML: {error}") from error
    schema = values.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise InputError(f"{origin}: schema: {schema!r} was given; accepted is {SCHEMA}: this version reads no other")
    core = values.get("core")
    if isinstance(core, dict):
        core.setdefault("kind", DEFAULT_KIND)
    try:
        return TypeAdapter(Config).validate_json(json.dumps(values, default=_unknown))
    except ValidationError as error:
        raise InputError("\n".join(_explain(origin, values, item) for item in _distinct(error))) from None


def _unknown(value: Any) -> dict:
    """A TOML date: an object that no key accepts."""
    return {"toml": str(value)}


def _distinct(error: ValidationError) -> list[dict]:
    """One entry per key, the deepest: a union reports each of its members, and itself beside an item of a list."""
    entries: dict[tuple, dict] = {}
    for item in error.errors(include_url=False):
        key = tuple(part for part in item["loc"] if not _is_member(part))
        if item["type"].startswith("union_tag"):
            key = (*key, "kind")
        elif key[0] == "core" and len(key) > 1:  # the kind stands between the section and its key
            key = (key[0], *key[2:])
        entries.setdefault(key, {**item, "loc": key})  # type: ignore[typeddict-item]
    return [
        item for key, item in entries.items() if not any(other[: len(key)] == key for other in entries if other != key)
    ]


def _is_member(part: Any) -> bool:
    return isinstance(part, str) and ("[" in part or part in ("int", "constrained-int", "float", "constrained-float"))


def _explain(origin: str, values: dict, item: dict) -> str:
    """`file: key: given; accepted; did you mean` of one mistake."""
    location, types = item["loc"], _types(values)
    key = ".".join(str(part) for part in location)
    known = _fields(location[:-1], types)
    if item["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
        close = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"{origin}: {key}: unknown key; accepted are {', '.join(known)}{hint}"
    text = _describe(location, types)
    if item["type"] in ("missing", "missing_argument"):
        return f"{origin}: {key}: missing; accepted: {text}"
    given = values
    for part in location:
        try:
            given = given[part]
        except (KeyError, IndexError, TypeError):
            break
    close = difflib.get_close_matches(given, _choices(location, types), n=1) if isinstance(given, str) else []
    hint = f"; did you mean {close[0]!r}?" if close else ""
    return f"{origin}: {key}: {given!r} was given; accepted: {text}{hint}"


def core_kinds() -> dict[str, type[CoreConfig]]:
    """The configuration class of each kind of core."""
    union = next(f.type for f in dataclasses.fields(Config) if f.name == "core")
    members = get_args(get_args(union)[0])
    return {
        get_args(get_args(f.type)[0])[0]: member
        for member in members
        for f in dataclasses.fields(member)
        if f.name == "kind"
    }


def _types(values: dict) -> dict[str, Any]:
    """The dataclass of each section; of [core], the one of the kind that `values` name."""
    types = {f.name: f.type for f in dataclasses.fields(Config)}
    core = values.get("core")
    kind, kinds = core.get("kind") if isinstance(core, dict) else None, core_kinds()
    types["core"] = kinds[kind] if isinstance(kind, str) and kind in kinds else CoreConfig
    return types


def _choices(location: tuple, types: dict[str, Any]) -> list[str]:
    """The words that a key accepts."""

    def words(kind: Any) -> list[str]:
        if isinstance(kind, str):
            return [kind]
        return [word for inner in get_args(kind) for word in words(inner)]

    if location == ("core", "kind"):
        return list(core_kinds())
    item = _field(location, types)
    return words(item.type) if item is not None else []


def _section(location: tuple, types: dict[str, Any]) -> Any:
    """The dataclass that holds the keys at `location`."""
    if not location:
        return Config
    kind = types.get(location[0]) if len(location) == 1 else None
    return kind if dataclasses.is_dataclass(kind) else None


def _fields(location: tuple, types: dict[str, Any]) -> list[str]:
    kind = _section(location, types)
    return [f.name for f in dataclasses.fields(kind)] if kind else []


def _field(location: tuple, types: dict[str, Any]) -> Any:
    """The field at `location`, or the one of the list that holds the item there."""
    while location:
        kind = _section(location[:-1], types)
        for item in dataclasses.fields(kind) if kind is not None else ():
            if item.name == location[-1]:
                return item
        location = location[:-1]
    return None


def _describe(location: tuple, types: dict[str, Any]) -> str:
    """The description of a key, or of the list that holds the item at `location`."""
    item = _field(location, types)
    if item is None:
        return "the keys of `spikeloom schema`"
    return _text(item) or f"a section [{item.name}] with {', '.join(_fields(location, types))}"


def _text(item: Any) -> str:
    return next((m.description for m in getattr(item.type, "__metadata__", ()) if getattr(m, "description", None)), "")


def json_schema() -> dict:
    """The JSON schema of the configuration file."""
    schema = TypeAdapter(Config).json_schema()
    for name, member in core_kinds().items():
        if name != DEFAULT_KIND:  # what names no kind is of the default one
            schema["$defs"][member.__name__]["required"] = ["kind"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Spikeloom configuration"}


def render_config(config: Config) -> str:
    """The TOML text of `config`, every key with its comment; `parse_config` reads it back unchanged."""
    lines = ["# Spikeloom configuration. Paths are relative to this file."]
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if not dataclasses.is_dataclass(value):
            lines.append(f"{item.name} = {_toml(value)}  # {_text(item)}")
            continue
        summary = (type(value).__doc__ or "").strip().splitlines()[0]
        lines += ["", f"[{item.name}]  # {summary}"]
        for inner in dataclasses.fields(value):
            lines += [f"# {_text(inner)}", f"{inner.name} = {_toml(getattr(value, inner.name))}"]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    """A TOML value; JSON strings, numbers, booleans and lists are written alike."""
    if isinstance(value, float):
        text = repr(value)
        return text if any(c in text for c in ".en") else text + ".0"
    # JSON's pairs of surrogates are not TOML, and TOML wants DEL escaped.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
