"""The configuration file: read, written, described by its schema, and every mistake in one clear line."""

import dataclasses
import json
import re
import subprocess
import sys
import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikeloom.config import (
    CimConfig,
    Config,
    DataConfig,
    DigitalConfig,
    HostConfig,
    InputConfig,
    NetworkConfig,
    QuantiseConfig,
    SynthConfig,
    json_schema,
    load_config,
    parse_config,
    render_config,
)
from spikeloom.errors import InputError

SMALLEST = 'name = "a"\n[network]\nfile = "x.nir"\ndt = 0.001\n'

positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
text = st.text(st.characters(exclude_categories=["Cs"]))
lane = st.just("full") | st.integers(1, 2**40)
configs = st.builds(
    Config,
    name=st.from_regex(r"[a-z][a-z0-9_]{0,40}", fullmatch=True),
    network=st.builds(
        NetworkConfig,
        file=text,
        dt=positive,
        reset=st.sampled_from(["zero", "subtract", "delayed_zero", "delayed_subtract"]),
        refractory=st.integers(0, 65_536) | st.lists(st.integers(0, 65_536)),
        adaptation=st.floats(0, allow_infinity=False) | st.lists(st.floats(0, allow_infinity=False)),
        adaptation_decay=st.floats(0, 1) | st.lists(st.floats(0, 1)),
        state=st.sampled_from(["clear", "keep"]),
    ),
    quantise=st.builds(
        QuantiseConfig,
        weight_bits=st.integers(2, 16),
        potential_bits=st.just("auto") | st.integers(2, 32),
        current_bits=st.just("auto") | st.integers(2, 32),
        leak=st.sampled_from(["auto", "none", "linear", "shift", "shift2", "multiply"]),
        scale=st.sampled_from(["max", "mse"]),
    ),
    input=st.builds(
        InputConfig,
        coding=st.sampled_from(["rate", "bernoulli", "latency", "current", "events"]),
        steps=st.integers(1, 100_000),
        max_rate=st.floats(0, 1, exclude_min=True),
        seed=st.integers(0, 2**63),
        step_us=positive,
    ),
    core=st.builds(CimConfig, kind=st.just("cim"), probe=st.booleans())
    | st.builds(
        DigitalConfig,
        lanes=lane | st.lists(lane),
        weights=st.sampled_from(["fixed", "loaded"]),
        parameters=st.sampled_from(["fixed", "loaded"]),
        queue_depth=st.just("auto") | st.integers(2, 64),
        spike_queue=st.just("auto") | st.integers(2, 64),
        decision=st.sampled_from(["auto", "count", "first", "value", "none"]),
        readout=st.sampled_from(["last", "tick"]),
        probe=st.booleans(),
    ),
    data=st.builds(
        DataConfig,
        set=st.sampled_from(
            ["none", "digits", "mnist", "nmnist", "dvs128", "npz", "sequence", "moving", "interception"]
        ),
        path=text,
        inputs=st.integers(1, 2**40),
    ),
    synth=st.builds(
        SynthConfig,
        pdk=text,
        corner=text,
        pdk_root=text,
        liberty=st.lists(text),
        clock_mhz=st.floats(0, 10_000, exclude_min=True),
        macros=st.lists(text),
        memory_model=text,
        memory_access_ns=st.just("auto") | st.floats(0, allow_infinity=False),
        fpga=st.lists(st.sampled_from(["ice40", "ecp5", "xc7"])),
    ),
)


def test_defaults():
    config = parse_config(SMALLEST)
    assert config == Config(name="a", network=NetworkConfig(file="x.nir", dt=0.001))
    assert (config.core.lanes, config.quantise.weight_bits, config.input.steps) == ("full", 8, 25)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.name = "b"  # type: ignore[misc]


@settings(deadline=None)
@given(configs)
def test_written_and_read_back(config):
    assert parse_config(render_config(config)) == config


def test_written_files_explain_every_key():
    lines = render_config(parse_config(SMALLEST)).splitlines()
    for number, line in enumerate(lines):
        if re.match(r"\w+ = ", line):
            assert lines[number - 1].startswith("# ") or " # " in line
    keys = [line.split(" = ")[0] for line in lines if " = " in line and not line.startswith("#")]
    sections = [NetworkConfig, QuantiseConfig, InputConfig, DigitalConfig, HostConfig, DataConfig, SynthConfig]
    assert keys == ["schema", "name"] + [field.name for section in sections for field in dataclasses.fields(section)]


def test_file(tmp_path):
    path = tmp_path / "design.toml"
    path.write_text(SMALLEST, encoding="utf-8")
    assert load_config(path) == load_config(str(path)) == parse_config(SMALLEST)


LANES = (
    'neurons updated per cycle: 1 to the layer width, or "full", one lane per neuron; a list gives each layer its own'
)
KINDS = (
    "architecture: digital | cim (SRAM compute-in-memory) | crossbar (memristors with analog neurons) | "
    "virtual (memory-based event control, virtual neurons) | shared (a table of conductances, an index per synapse) | "
    "stochastic (memristors that switch at random)"
)
WEIGHT = "bits of a stored weight, 2 to 16"
DT = "time step of the trained network in seconds, a number above 0: NIR stores time constants only"
NAME = (
    "name of the design, its folder below build/ and its Verilog module: "
    "a lower-case letter, then up to 40 lower-case letters, digits and _"
)
CODING = "rate (evenly spaced) | bernoulli | latency (one spike) | current (direct) | events (recorded streams)"
POTENTIAL = 'bits of a stored membrane potential, 2 to 32, or "auto": the smallest that loses nothing on the data'


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            "[core]\nlane = 1",
            "core.lane: unknown key; accepted are kind, weights, parameters, queue_depth, decision, readout, probe, "
            "lanes, events_per_cycle, weight_ports, sparse, spike_queue, schedule, fold_steps, weight_buffer, "
            "load_bits; did you mean 'lanes'?",
        ),
        (
            "[sinth]\nfpga = []",
            "sinth: unknown key; accepted are schema, name, network, quantise, input, core, host, data, synth; "
            "did you mean 'synth'?",
        ),
        (
            "refractory = -1",
            "network.refractory: -1 was given; accepted: steps after a spike in which a neuron rests, 0 to 65536, not "
            "stored by NIR; a list gives each layer its own",
        ),
        (
            "colour = 3",
            "network.colour: unknown key; accepted are file, dt, reset, synapse, integration, refractory, adaptation, "
            "adaptation_decay, seed, state",
        ),
        (
            "adaptation = -0.5",
            "network.adaptation: -0.5 was given; accepted: what each spike adds to the threshold of its neuron, as a "
            "share of it, at least 0 (0: the threshold stays), not stored by NIR; a list gives each layer its own",
        ),
        (
            "adaptation_decay = [0.5, 1.5]",
            "network.adaptation_decay.1: 1.5 was given; accepted: share of what spikes added to a threshold that is "
            "left after a step, 0 to 1; a list as above",
        ),
        ("[core]\nlanes = 0", f"core.lanes: 0 was given; accepted: {LANES}"),
        ("[core]\nlanes = -3", f"core.lanes: -3 was given; accepted: {LANES}"),
        ("[core]\nlanes = 1.5", f"core.lanes: 1.5 was given; accepted: {LANES}"),
        ("[core]\nlanes = true", f"core.lanes: True was given; accepted: {LANES}"),
        ('[core]\nkind = "cimm"', f"core.kind: 'cimm' was given; accepted: {KINDS}; did you mean 'cim'?"),
        ("[core]\nkind = 1", f"core.kind: 1 was given; accepted: {KINDS}"),
        (
            '[core]\nkind = "cim"\nprob = 1',
            "core.prob: unknown key; accepted are kind, weights, parameters, queue_depth, decision, readout, probe, "
            "update, bits, array_rows, array_columns, arrays, banks, ports, lanes; did you mean 'probe'?",
        ),
        ('[core]\nlanes = "ful"', f"core.lanes: 'ful' was given; accepted: {LANES}; did you mean 'full'?"),
        ('[core]\nlanes = [1, "ful"]', f"core.lanes.1: 'ful' was given; accepted: {LANES}; did you mean 'full'?"),
        ("[core]\nlanes = [0, 2]", f"core.lanes.0: 0 was given; accepted: {LANES}"),
        ("[core]\nlanes = [2, [3]]", f"core.lanes.1: [3] was given; accepted: {LANES}"),
        ("[core.lanes]\nfc1 = 2", f"core.lanes: {{'fc1': 2}} was given; accepted: {LANES}"),
        (
            "[core]\nprobe = 1",
            "core.probe: 1 was given; accepted: true: a stream per layer shows every membrane potential "
            "(for verification) | false",
        ),
        (
            "[core]\nqueue_depth = 1",
            "core.queue_depth: 1 was given; accepted: events that the queue in front of each layer holds, 2 to 64, or "
            '"auto": 2, none where lanes are shared (their look-ahead holds two events already)',
        ),
        (
            "[quantise]\nweight_bits = 17",
            f"quantise.weight_bits: 17 was given; accepted: {WEIGHT}",
        ),
        (
            '[quantise]\nweight_bits = "8"',
            f"quantise.weight_bits: '8' was given; accepted: {WEIGHT}",
        ),
        (
            "[quantise]\nweight_bits = 8.0",
            f"quantise.weight_bits: 8.0 was given; accepted: {WEIGHT}",
        ),
        ("[quantise]\npotential_bits = 33", f"quantise.potential_bits: 33 was given; accepted: {POTENTIAL}"),
        (
            '[quantise]\npotential_bits = "aut"',
            f"quantise.potential_bits: 'aut' was given; accepted: {POTENTIAL}; did you mean 'auto'?",
        ),
        ('[input]\ncoding = "rates"', f"input.coding: 'rates' was given; accepted: {CODING}; did you mean 'rate'?"),
        ("[input]\nsteps = 0", "input.steps: 0 was given; accepted: time steps of one input, 1 to 100000"),
        (
            "[input]\nmax_rate = 1.01",
            "input.max_rate: 1.01 was given; accepted: spikes per step of the largest value, above 0 to 1",
        ),
        (
            "[input]\nseed = -1",
            "input.seed: -1 was given; accepted: seed of the bernoulli coding, an integer of at least 0",
        ),
        (
            '[synth]\nfpga = ["ice40", "ice41"]',
            "synth.fpga.1: 'ice41' was given; accepted: FPGA families whose resources are counted: ice40, ecp5, xc7; "
            "did you mean 'ice40'?",
        ),
        (
            "[synth]\nclock_mhz = nan",
            "synth.clock_mhz: nan was given; accepted: clock that synthesis aims at and power is reported for, "
            "above 0 to 10000 MHz",
        ),
        (
            "[data]\npath = 1979-05-27",
            "data.path: datetime.date(1979, 5, 27) was given; accepted: folder of the mnist / nmnist / dvs128 files, "
            "or the .npz file; relative to this file",
        ),
    ],
)
def test_refused_keys_and_values(lines, message):
    with pytest.raises(InputError) as caught:
        parse_config(SMALLEST + lines, origin="f.toml")
    assert str(caught.value) == f"f.toml: {message}"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.001", "0", f"network.dt: 0 was given; accepted: {DT}"),
        ("0.001", "-1e-3", f"network.dt: -0.001 was given; accepted: {DT}"),
        ("0.001", "inf", f"network.dt: inf was given; accepted: {DT}"),
        ("0.001", '"1 ms"', f"network.dt: '1 ms' was given; accepted: {DT}"),
        ("dt = 0.001", "", f"network.dt: missing; accepted: {DT}"),
        (
            SMALLEST,
            'name = "a"',
            "network: missing; accepted: a section [network] with file, dt, reset, synapse, integration, refractory, "
            "adaptation, adaptation_decay, seed, state",
        ),
        ('"a"', '"A"', f"name: 'A' was given; accepted: {NAME}"),
        ('"a"', '"a-b"', f"name: 'a-b' was given; accepted: {NAME}"),
        ('"a"', '"a\\n"', f"name: 'a\\n' was given; accepted: {NAME}"),
        ('"a"', f'"{"a" * 42}"', f"name: '{'a' * 42}' was given; accepted: {NAME}"),
        ('"a"', "3", f"name: 3 was given; accepted: {NAME}"),
        ('name = "a"', "", f"name: missing; accepted: {NAME}"),
        (
            'name = "a"',
            'name = "a"\nschema = 2',
            "schema: 2 was given; accepted is 1: this version reads no other",
        ),
        (
            'name = "a"',
            'name = "a"\nschema = "1"',
            "schema: '1' was given; accepted is 1: this version reads no other",
        ),
        ('"a"', "", "not TOML: Invalid value (at line 1, column 8)"),
    ],
)
def test_refused_heads(old, new, message):
    assert old in SMALLEST
    with pytest.raises(InputError) as caught:
        parse_config(SMALLEST.replace(old, new), origin="f.toml")
    assert str(caught.value) == f"f.toml: {message}"


def test_all_mistakes_at_once():
    with pytest.raises(InputError) as caught:
        parse_config('name = "A"\n[network]\nfile = "x"\n[core]\nlanes = [0, "ful", 3]\nprob = true', origin="f.toml")
    keys = [re.match(r"f\.toml: ([\w.]+): ", line)[1] for line in str(caught.value).splitlines()]  # type: ignore[index]
    assert sorted(keys) == ["core.lanes.0", "core.lanes.1", "core.prob", "name", "network.dt"]


def test_refused_files(tmp_path):
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "none.toml")
    assert str(caught.value) == f"{tmp_path}/none.toml: no such file; `spikeloom new NET.nir` writes a configuration"
    with pytest.raises(InputError) as caught:
        load_config(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: cannot be read as text: ")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "binary.toml")
    assert str(caught.value).startswith(f"{tmp_path}/binary.toml: cannot be read as text: ")
    (tmp_path / "bad.toml").write_text(SMALLEST + "x = 1\n")
    with pytest.raises(InputError) as caught:
        load_config(tmp_path / "bad.toml")
    assert str(caught.value).startswith(f"{tmp_path}/bad.toml: network.x: unknown key")


TYPES = {"object": dict, "array": list, "string": str, "boolean": bool}


def violations(value: Any, rule: dict[str, Any], defs: dict[str, Any], at: str = "") -> list[str]:
    """Where `value` breaks a JSON schema; knows the keywords that ours may use, and raises KeyError for any other."""
    found: list[str] = []

    def check(good: bool, keyword: str):
        if not good:
            found.append(f"{at}: {keyword}")

    for keyword, given_ in rule.items():
        if keyword in ("title", "description", "default", "$defs", "$schema", "discriminator"):
            continue
        elif keyword == "$ref":
            found += violations(value, defs[given_.removeprefix("#/$defs/")], defs, at)
        elif keyword == "oneOf":  # told apart by a word
            told = rule["discriminator"]
            chosen = told["mapping"].get(value.get(told["propertyName"], "digital"))
            check(chosen is not None, keyword)
            if chosen is not None:
                found += violations(value, {"$ref": chosen}, defs, at)
        elif keyword == "anyOf":
            check(any(not violations(value, one, defs) for one in given_), keyword)
        elif keyword == "type" and given_ in TYPES:
            check(isinstance(value, TYPES[given_]), keyword)
        elif keyword == "type":
            kinds = {"integer": int, "number": (int, float)}[given_]
            check(isinstance(value, kinds) and not isinstance(value, bool), keyword)
        elif keyword == "enum":
            check(value in given_, keyword)
        elif keyword == "const":
            check(value == given_, keyword)
        elif keyword == "pattern":
            check(isinstance(value, str) and re.search(given_, value) is not None, keyword)
        elif keyword in ("minimum", "maximum", "exclusiveMinimum"):
            holds = {
                "minimum": lambda limit: value >= limit,
                "maximum": lambda limit: value <= limit,
                "exclusiveMinimum": lambda limit: value > limit,
            }[keyword]
            check(isinstance(value, int | float) and holds(given_), keyword)
        elif keyword == "items":
            for n, item in enumerate(value if isinstance(value, list) else ()):
                found += violations(item, given_, defs, f"{at}.{n}")
        elif keyword == "required":
            check(isinstance(value, dict) and all(key in value for key in given_), keyword)
        elif keyword == "properties":
            inside = value if isinstance(value, dict) else {}
            for key in inside.keys() & given_.keys():
                found += violations(inside[key], given_[key], defs, f"{at}.{key}")
        elif keyword == "additionalProperties" and given_ is False:
            check(isinstance(value, dict) and value.keys() <= rule["properties"].keys(), keyword)
        else:
            raise KeyError(f"{at}: {keyword}")
    return found


def schema_says(toml: str) -> list[str]:
    schema: dict[str, Any] = json_schema()
    return violations(tomllib.loads(toml), schema, schema["$defs"])


@settings(deadline=None, max_examples=50)
@given(configs)
def test_schema_accepts_what_is_accepted(config):
    assert schema_says(render_config(config)) == []


@pytest.mark.parametrize(
    ("toml", "where"),
    [
        (SMALLEST, []),
        (SMALLEST + "x = 1", [".network: additionalProperties"]),
        (SMALLEST.replace("0.001", "0"), [".network.dt: exclusiveMinimum"]),
        (SMALLEST.replace('"a"', '"A"'), [".name: pattern"]),
        (SMALLEST.replace("dt = 0.001", ""), [".network: required"]),
        (SMALLEST + '[input]\ncoding = "rates"', [".input.coding: enum"]),
        (SMALLEST + "[core]\nlanes = 0", [".core.lanes: anyOf"]),
        (SMALLEST + "[core]\nprobe = 1", [".core.probe: type"]),
        (SMALLEST + '[core]\nkind = "cim"', []),
        (SMALLEST + '[core]\nkind = "cim"\nsparse = "on"', [".core: additionalProperties"]),
        (SMALLEST + '[core]\nkind = "cimm"', [".core: oneOf"]),
        (SMALLEST + "[quantise]\nweight_bits = 17", [".quantise.weight_bits: maximum"]),
    ],
)
def test_schema_and_reader_agree(toml, where):
    assert schema_says(toml) == where
    if where:
        with pytest.raises(InputError):
            parse_config(toml)
    else:
        parse_config(toml)


def test_schema_describes_every_key():
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(schema)) == schema
    for name, rule in schema["$defs"].items():
        assert rule["description"], name
        for key, entry in rule["properties"].items():
            assert entry["description"], f"{name}.{key}"


def test_importing_the_configuration_imports_no_hdl():
    code = "import sys, spikeloom.config; print([name for name in sys.modules if name.startswith('amaranth')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
