"""The command line as people and programs meet it: answers, exit codes, messages, and what a stop leaves behind."""

import dataclasses
import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import h5py
import nir
import numpy as np
import pytest

import projects
from pdk_files import KIT, kit_folder
from spikeloom import cli, export, tools
from spikeloom.config import DigitalConfig, core_kinds, json_schema, load_config
from spikeloom.mapping.image import build_image
from spikeloom.network import zoo
from spikeloom.network.nir_import import SUPPORTED
from spikeloom.network.recipes import RECIPES
from spikeloom.output import MARKER
from spikeloom_synth.pdks import all_pdks

SPIKELOOM = (sys.executable, "-m", "spikeloom.cli")
LOADED = {"weights": "loaded", "parameters": "loaded"}


@dataclass
class Answer:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def object(self) -> dict:
        """The only line on standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)


@pytest.fixture
def say(tmp_path, monkeypatch, capsys) -> Callable[..., Answer]:
    """Run a command in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    kept = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]

    def run(*words) -> Answer:
        monkeypatch.setattr(sys, "argv", ["spikeloom", *map(str, words)])
        capsys.readouterr()
        try:
            with pytest.raises(SystemExit) as stop:
                cli.main()
        finally:
            for number, handler in kept:
                signal.signal(number, handler)
        said = capsys.readouterr()
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, said.out, said.err)

    return run


def refused(answer: Answer, message: str) -> None:
    """One message on standard error, nothing else anywhere, exit code 2."""
    assert (answer.code, answer.out, answer.err) == (2, "", f"error: {message}\n")


@pytest.fixture
def bare(tmp_path, monkeypatch):
    """A machine without any program: PATH, cache and system places are empty folders."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("SPIKELOOM_CACHE", str(tmp_path / "nothing"))
    monkeypatch.setattr(tools, "SYSTEM_PROGRAMS", str(tmp_path / "nothing"))
    monkeypatch.setattr(tools, "SYSTEM_ROOT", tmp_path / "nothing")
    tools.forget_versions()
    yield
    tools.forget_versions()


# ---------------------------------------------------------------------------------------------------------------------
# Without a network


def test_version_and_help(say):
    assert say("--version") == Answer(0, "spikeloom 0.1.0\n", "")
    text = say("--help").out
    for command in ("new", "inspect", "elaborate", "image", "simulate", "synth", "report", "train", "demo", "doctor"):
        assert f"\n  {command} " in text
        helped = say(command, "--help")
        assert helped.code == 0
        for option in ("--json", "-v, --verbose"):
            assert option in helped.out
    nothing = say()
    assert nothing.code == 2
    assert "Commands:" in nothing.err
    assert "error" not in nothing.err


def test_installed_command():
    program = Path(sys.executable).with_name("spikeloom")
    if not program.exists():
        pytest.skip("not installed, only on the path")
    done = subprocess.run([program, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "spikeloom 0.1.0\n")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["simulate", "--help"], ["synth", "--help"]])
def test_help_imports_nothing_slow(words):
    script = (
        "import sys, typer\nbefore = set(sys.modules)\nfrom spikeloom import cli\n"  # old versions of typer import rich
        "try:\n    cli.main()\nexcept SystemExit as stop:\n    code = stop.code\n"
        "slow = {'numpy', 'amaranth', 'rich', 'matplotlib', 'nir', 'h5py', 'pyosys', 'cocotb', 'torch',"
        " 'jinja2', 'sklearn'} & (set(sys.modules) - before)\n"
        "slow -= {'rich'} if len(sys.argv) > 2 else set()\n"  # with which old versions of typer draw this help
        "print(code, sorted(slow), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True)
    assert done.stderr == "0 []\n"
    assert done.stdout


def test_mistyped_words(say):
    answer = say("elaborat", "x.toml")
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("error: No such command 'elaborat'.")
    answer = say("elaborate", "--laned")
    assert answer.code == 2
    assert re.match(r"error: No such option:? '?--laned", answer.err)
    assert "Usage: spikeloom elaborate" in answer.err
    answer = say("elaborate")
    assert answer.code == 2
    assert answer.err.startswith("error: Missing argument 'CONFIG'.")


def test_schema(say, tmp_path):
    assert json.loads(say("schema").out) == json_schema()
    assert say("schema", "--json").object == json_schema()
    assert say("schema", "-o", "s.json", "--json").object == {"schema": "s.json"}
    assert json.loads((tmp_path / "s.json").read_text()) == json_schema()


def test_doctor(say, bare):
    rows = {row["name"]: row for row in say("doctor", "--json").object["tools"]}
    assert {"verilator", "iverilog", "yosys", "sta", "osu018", "chromium", "torch", "snntorch"} <= set(rows)
    assert not rows["iverilog"]["found"]
    assert rows["iverilog"]["how_to_get"]
    shown = say("doctor")
    assert shown.code == 0
    assert "iverilog" in shown.out


def test_train_without_torch(say, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    answer = say("train", "digits", "--json")
    assert (answer.code, answer.out) == (3, "")
    assert answer.err == "error: torch is missing; needed by: train; how to get it: `pip install 'spikeloom[train]'`\n"
    assert not list(tmp_path.iterdir())
    refused(
        say("train", "digit"),
        f"network 'digit': `train` knows {', '.join(sorted(RECIPES))}; did you mean 'digits'?",
    )


def test_full_disk_under_the_output():
    """And a reader that has gone is no traceback either."""
    with open("/dev/full", "w") as full:
        done = subprocess.run([*SPIKELOOM, "schema"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (2, "error: No space left on device\n")
    end, start = os.pipe()
    os.close(end)
    done = subprocess.run([*SPIKELOOM, "schema"], stdout=start, stderr=subprocess.PIPE, text=True)
    os.close(start)
    assert (done.returncode, done.stderr) == (1, "")


# ---------------------------------------------------------------------------------------------------------------------
# new, inspect


def test_new_and_inspect(say, tmp_path):
    projects.write_network(tmp_path / "My net-2.nir")
    asked = "--dt (time step in seconds) and --reset (zero, subtract, delayed_zero, delayed_subtract)"
    refused(say("new", "My net-2.nir"), f"My net-2.nir: {asked} must be given: NIR stores neither")
    options = ("--dt", "1e-3", "--reset", "subtract")
    made = say("new", "My net-2.nir", *options, "--json")
    assert made.object == {"config": "my_net_2.toml", "name": "my_net_2"}
    config = load_config(tmp_path / "my_net_2.toml")
    assert (config.network.file, config.network.dt, config.network.reset) == ("My net-2.nir", 1e-3, "subtract")
    refused(
        say("new", "My net-2.nir", *options), "my_net_2.toml: exists; give another --output, or --force to replace it"
    )
    assert say("new", "My net-2.nir", *options, "--force").out == (
        "wrote my_net_2.toml; next: spikeloom elaborate my_net_2.toml\n"
    )
    # A configuration elsewhere names the network from there.
    assert say("new", "My net-2.nir", *options, "-o", "deep/er/c.toml").code == 0
    assert load_config(tmp_path / "deep" / "er" / "c.toml").network.file == "../../My net-2.nir"
    shown = say("inspect", "deep/er/c.toml", "--json").object
    assert [(layer["name"], layer["fan_in"], layer["neurons"]) for layer in shown["layers"]] == [
        ("w1", 6, 5),
        ("w2", 5, 3),
    ]
    assert shown["layers"][0]["reset"] == "subtract"
    # Without settings, inspect says what it assumed, on standard error.
    guessed = say("inspect", "My net-2.nir", "--json")
    assert guessed.object["layers"][0]["decay"] == pytest.approx(0.75)
    assert guessed.err.startswith("assumed --dt 1e-3 --reset zero where not given: NIR stores neither\n")
    assert "w2" in say("inspect", "My net-2.nir", *options).out
    # How a framework steps goes into the configuration too.
    further = ("--synapse", "jump", "--integration", "exponential")
    assert say("new", "My net-2.nir", *options, *further, "-o", "e.toml").code == 0
    config = load_config(tmp_path / "e.toml")
    assert (config.network.synapse, config.network.integration) == ("jump", "exponential")
    shown = say("inspect", "My net-2.nir", *options, *further, "--json").object
    assert shown["layers"][0]["decay"] == pytest.approx(np.exp(-0.25))
    accepted = "accepted: same_step, next_step, jump"
    refused(say("new", "My net-2.nir", *options, "--synapse", "now"), f"--synapse: 'now' was given; {accepted}")


def test_zoo(say, tmp_path):
    assert say("new", "zoo:digits", "--json").object == {"config": "digits.toml", "name": "digits"}
    assert load_config(tmp_path / "digits.toml").data.set == "digits"
    assert say("new", "zoo:digits", "--core", "cim", "-o", "arrays.toml").code == 0
    config = load_config(tmp_path / "arrays.toml")
    assert (config.core.kind, config.quantise.leak) == ("cim", "linear")
    told = say("inspect", "arrays.toml").out
    assert "395x32" in told
    assert "passes of a" in told
    refused(say("new", "zoo:digits", "--core", "sim"), f"--core: 'sim' was given; accepted: {', '.join(core_kinds())}")
    refused(
        say("new", "zoo:digit"),
        f"zoo network 'digit': accepted are {', '.join(zoo.names())}; did you mean 'digits'?",
    )
    for command in "new", "inspect":
        refused(
            say(command, "zoo:digits", "--dt", "1"),
            "--dt: 1.0 was given; zoo:digits comes with its own: leave the option out",
        )
        accepted = "accepted: zero, subtract, delayed_zero, delayed_subtract"
        refused(say(command, "zoo:digits", "--reset", "zer"), f"--reset: 'zer' was given; {accepted}")
        refused(say(command, "zoo:digits", "--dt", "0"), "--dt: 0.0 was given; accepted: a number above 0, in seconds")
        refused(
            say(command, "zoo:digits", "--dt", "nan"), "--dt: nan was given; accepted: a number above 0, in seconds"
        )


# ---------------------------------------------------------------------------------------------------------------------
# Bad networks and configurations: `elaborate` says so, and writes nothing


def test_what_a_host_cannot_take(say, tmp_path):
    config = projects.make_project(tmp_path, core={"events_per_cycle": 2}, host={"bus": "axi4-lite"})
    expected = f"{config}: host: core.events_per_cycle: 2 was given; accepted is 1: a register hands over one event"
    refused(say("elaborate", str(config)), expected)


def graph_with(sizes=projects.SIZES, *, nodes: dict | None = None, edges: list | None = None) -> nir.NIRGraph:
    graph = projects.graph(sizes)
    return nir.NIRGraph(nodes=graph.nodes | (nodes or {}), edges=[*graph.edges, *(edges or [])])


def damaged(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:1000])


def with_nan(path: Path) -> None:
    graph = projects.graph()
    graph.nodes["w1"].weight[0, 1] = np.nan
    nir.write(str(path), graph)


def of_no_kind(path: Path) -> None:
    with h5py.File(path, "a") as file:
        del file["node/nodes/fc1/type"]
        file["node/nodes/fc1/type"] = "Izhikevich"


NETWORKS = {
    "missing": (Path.unlink, "no such file; accepted is a NIR file (.nir)"),
    "corrupt": (damaged, None),
    "unknown node": (
        of_no_kind,
        f"node 'fc1': Izhikevich is not supported; accepted are {', '.join(SUPPORTED)}",
    ),
    "nan": (with_nan, "node 'w1': weight[0][1] is nan; accepted are finite numbers"),
    "cycle": (
        lambda path: nir.write(str(path), graph_with((3, 3, 3), edges=[("w2", "w2")])),
        "a loop without a delay: w2 -> w2; accepted are loops through neurons, which take one step or that of a Delay "
        "in them",
    ),
}


@pytest.mark.parametrize("case", NETWORKS)
def test_bad_networks(case, say, tmp_path):
    spoil, message = NETWORKS[case]
    config = projects.make_project(tmp_path, name="bad")
    path = tmp_path / "bad.nir"
    spoil(path)
    for words in (["elaborate", config], ["inspect", config], ["new", path, "--dt", "1e-3", "--reset", "zero"]):
        answer = say(*words)
        if message is None:
            assert answer.code == 2
            assert answer.err.startswith(f"error: {path}: not a readable NIR file (")
            assert answer.err.endswith("); accepted is one that nir.write wrote\n")
        else:
            refused(answer, f"{path}: {message}")
    assert not (tmp_path / "build").exists()


LANES = (
    'neurons updated per cycle: 1 to the layer width, or "full", one lane per neuron; a list gives each layer its own'
)
CONFIGS = [
    ({"core": {"lanes": 0}}, f"core.lanes: 0 was given; accepted: {LANES}"),
    ({"core": {"lanes": [2, 0]}}, f"core.lanes.1: 0 was given; accepted: {LANES}"),
    (
        {"core": {"lanes": 6}},
        "core.lanes: 6 was given; accepted is 1 to 5, the width of the widest layer 'w1', or \"full\"",
    ),
    ({"core": {"lanes": [5, 4]}}, "core.lanes: 4 was given for layer 'w2'; accepted is 1 to 3 or \"full\""),
    ({"core": {"lanes": [1]}}, "core.lanes: 1 numbers were given; accepted is one, or one for each of w1, w2"),
    (
        {"core": {"lane": 2}},
        f"core.lane: unknown key; accepted are {', '.join(f.name for f in dataclasses.fields(DigitalConfig))}; "
        "did you mean 'lanes'?",
    ),
    (
        {"core": {"decision": "value"}},
        "core.decision: 'value' was given, but the last layer fires; accepted: count, first, none, auto",
    ),
    (
        {"quantise": {"potential_bits": 3}},
        "quantise: layer 'w1': potential_bits = 3 cannot hold its threshold 9; accepted is 5 or more, or \"auto\"",
    ),
    (
        {"network": {"scale": 64}, "quantise": {"weight_bits": 17}},
        "quantise.weight_bits: 17 was given; accepted: bits of a stored weight, 2 to 16",
    ),
    (
        {"network": {"sizes": (7, 3)}, "data": {"inputs": 6}},
        "data: inputs of 6 values; accepted are 7, the network's inputs",
    ),
    (
        {"data": {"values": 0}},
        "quantise: layer 'w1' is silent already before quantisation: none of its 5 neurons fires on the calibration "
        "data; check dt, reset and the input coding",
    ),
]


@pytest.mark.parametrize(("options", "message"), CONFIGS)
def test_bad_configurations(options, message, say, tmp_path):
    """The message names the file and the key, what was given and what is accepted."""
    options = dict(options)
    data = options.pop("data", None)
    config = projects.make_project(tmp_path, name="bad", data=None if data is None else {}, **options)
    if data is not None:
        x = np.zeros((4, data.get("inputs", 6)))
        np.savez(tmp_path / "values.npz", x=x, y=np.zeros(4, int))
    refused(say("elaborate", "bad.toml"), f"bad.toml: {message}")
    answer = say("elaborate", config, "--json")
    refused(answer, f"{config}: {message}")
    assert not (tmp_path / "build").exists()


def test_bad_data_files(say, tmp_path):
    config = projects.make_project(tmp_path, name="bad", data={})
    path = tmp_path / "values.npz"
    np.savez(path, x=np.zeros((0, 6)), y=np.zeros(0, int))
    refused(say("elaborate", config), f"{path}: x holds no sample; accepted is at least one")
    path.unlink()
    answer = say("elaborate", config)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {path}: ")


def test_missing_and_unreadable_configuration(say, tmp_path):
    for command in "elaborate", "simulate", "synth", "report", "inspect":
        missing = "no.toml: no such file; `spikeloom new NET.nir` writes a configuration"
        refused(say(command, "no.toml"), missing)
    (tmp_path / "bad.toml").write_text("name = [")
    answer = say("elaborate", "bad.toml")
    assert answer.code == 2
    assert answer.err.startswith("error: bad.toml: not TOML: ")


# ---------------------------------------------------------------------------------------------------------------------
# elaborate


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A configuration with its build folder; tests do not change them."""
    root = tmp_path_factory.mktemp("built")
    config = projects.make_project(root, name="tiny", data={})
    export.elaborate(projects.load(config), root / "build" / "tiny")
    return config


def test_elaborate(say, tmp_path):
    config = projects.make_project(tmp_path, name="tiny")
    answer = say("elaborate", config, "--json").object
    assert answer["folder"] == "build/tiny"
    manifest = json.loads((tmp_path / "build" / "tiny" / "manifest.json").read_text())
    assert answer["hash"] == manifest["hash"]
    assert answer["files"] == len(manifest["content"])
    assert answer["memory_bits"] == sum(memory["bits"] for memory in manifest["memories"])
    # Again, elsewhere, for people: what was in the folder goes with it.
    (tmp_path / "build" / "tiny" / "old").write_text("")
    shown = say("elaborate", config, "-v")
    assert shown.code == 0
    assert "elaborate: gateware\n" in shown.out
    assert shown.out.endswith("next: spikeloom simulate " + str(config) + "\n")
    assert not (tmp_path / "build" / "tiny" / "old").exists()
    assert say("elaborate", config, "--out", "there", "--json").object["folder"] == "there/tiny"
    assert (tmp_path / "there" / "tiny" / MARKER).exists()


def test_a_folder_that_is_not_ours_is_refused_at_once(say, tmp_path, monkeypatch):
    config = projects.make_project(tmp_path, name="tiny")
    mine = tmp_path / "build" / "tiny" / "thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("years of work")
    monkeypatch.setattr(export, "verilog", lambda *_: pytest.fail("worked before it looked"))
    refused(
        say("elaborate", config),
        "build/tiny: exists and was not made by Spikeloom (no .spikeloom inside); "
        "choose another folder, or move this one away",
    )
    assert mine.read_text() == "years of work"


def full_disk(monkeypatch, after: int) -> None:
    """Writing fails from the `after`-th file on."""
    write, count = Path.write_bytes, itertools.count()

    def fails(self, data):
        if next(count) >= after:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self))
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", fails)


@pytest.mark.parametrize("before", [False, True])
@pytest.mark.parametrize("after", [0, 5])
def test_full_disk(before, after, say, tmp_path, monkeypatch):
    config = projects.make_project(tmp_path, name="tiny")
    if before:
        assert say("elaborate", config).code == 0
    kept = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    full_disk(monkeypatch, after)
    refused(say("elaborate", config), "build/tiny: cannot be written: No space left on device; nothing was changed")
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == kept
    assert [path.name for path in (tmp_path / "build").iterdir()] == ["tiny"] * before
    refused(
        say("new", "zoo:digits", "-o", "d.toml") if after == 0 else say("elaborate", config),
        f"{'d.toml' if after == 0 else 'build/tiny'}: cannot be written: No space left on device; nothing was changed",
    )


def test_stale_and_missing_builds(built, say, tmp_path):
    """`simulate` and `synth` do not run what another configuration made."""
    config = projects.make_project(tmp_path, name="tiny", data={}, core={"lanes": 2})
    for command in "simulate", "synth":
        missing = "build/tiny/manifest.json: no such file; `spikeloom elaborate CONFIG` writes it"
        refused(say(command, config), missing)
        old, new = (projects.load(path).plan.hash for path in (built, config))
        build = built.parent / "build"
        refused(
            say(command, config, "--out", build),
            f"{build}/tiny: elaborated from another configuration or network (core {old}, now {new}); "
            "run `spikeloom elaborate` again",
        )
    answer = say("report", config)
    assert answer.code == 2
    assert answer.err.startswith("error: build/tiny/manifest.json: ")


# ---------------------------------------------------------------------------------------------------------------------
# image


def test_image(say, tmp_path):
    config = projects.make_project(tmp_path, name="core", core={"lanes": 2, **LOADED}, network={"bias": True})
    other = projects.make_project(tmp_path, name="other", network={"bias": True, "seed": 3, "scale": 8})
    core = projects.load(config).plan
    made = say("image", config, other, "-o", "other.image", "--json").object
    data = (tmp_path / "other.image").read_bytes()
    assert made == {"image": "other.image", "bytes": len(data), "hash": core.hash}
    assert data == build_image(core, projects.load(other).network)
    assert say("image", config, "--check", "other.image", "--json").object == made
    # For another core.
    wide = projects.make_project(tmp_path, name="wide", core={"lanes": 3, **LOADED}, network={"bias": True})
    refused(
        say("image", wide, "--check", "other.image"),
        f"other.image: made for core {core.hash}; accepted here is core {projects.load(wide).plan.hash}: "
        "build the image for this core",
    )
    (tmp_path / "cut.image").write_bytes(data[:-4])
    words = len(data) // 4 - 4
    refused(
        say("image", config, "--check", "cut.image"),
        f"cut.image: holds {words - 1} words where its head says {words}; it is damaged",
    )
    refused(
        say("image", config, "--check", "no.image"),
        "no.image: cannot be read: No such file or directory; accepted is an image",
    )
    # A network that the core does not hold; a core that loads nothing; words that make no sense.
    large = projects.make_project(tmp_path, name="large", network={"bias": True, "sizes": (6, 4, 3)})
    refused(
        say("image", config, "large.toml", "-o", "large.image"),
        "large.toml: layer 'w1': shape [4, 6] does not fit the core; accepted: [5, 6] [neurons, fan_in]",
    )
    refused(
        say("image", large, other, "-o", "large.image"),
        f"{large}: this core loads nothing: weights and parameters are fixed; "
        "set core.weights or core.parameters to 'loaded'",
    )
    for words in ([config], [config, other], [config, "-o", "x"], [config, other, "-o", "x", "--check", "y"]):
        refused(say("image", *words), "accepted are OTHER.toml with --output FILE, or --check FILE")
    assert not list(tmp_path.glob("large.image")) + list(tmp_path.glob("x"))


# ---------------------------------------------------------------------------------------------------------------------
# simulate, synth, demo: options and missing tools


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--engine", "modelsim"], "engine 'modelsim': accepted are batch, icarus, verilator"),
        (["--stall", "91"], "stall of 91 percent: accepted is 0 to 90"),
        (["--inputs", "0"], "0 inputs: accepted is at least 1"),
    ],
)
def test_bad_options_of_simulate(words, message, say, built):
    refused(say("simulate", built, *words), message)


@pytest.mark.parametrize(
    ("words", "tool"),
    [
        (["simulate"], "verilator"),
        (["simulate", "--engine", "icarus"], "iverilog"),
        (["simulate", "--engine", "verilator"], "verilator"),
        (["synth"], "osu018"),
    ],
)
def test_missing_tools(words, tool, say, built, bare, monkeypatch, tmp_path):
    """Told before any work, with what needs the tool and how to get it; nothing is written."""
    monkeypatch.setattr(tools.sys, "executable", str(tmp_path / "nothing" / "python"))
    monkeypatch.setitem(sys.modules, "verilator", None)  # also the one of the Python package
    tools.forget_versions()
    folder = built.parent / "build"
    kept = sorted(folder.rglob("*"))
    command, *options = words
    answer = say(command, built, "--out", folder, "--json", *options)
    assert (answer.code, answer.out) == (3, "")
    assert answer.err.startswith(f"error: {tool} is missing; needed by: ")
    assert "; how to get it: " in answer.err
    assert sorted(folder.rglob("*")) == kept


@pytest.mark.synth
def test_a_library_without_flip_flops(say, built, tmp_path, need_tool):
    need_tool("yosys"), need_tool("sta"), need_tool("g++")
    (tmp_path / "inv.lib").write_text(
        "library(x) { cell(INV) { area: 1; pin(A) { direction: input; } "
        'pin(Y) { direction: output; function: "!A"; } } }'
    )
    folder = built.parent / "build"
    kept = sorted(folder.rglob("*"))
    refused(
        say("synth", built, "--out", folder, "--liberty", "inv.lib"),
        "inv.lib: no flip-flop (no usable cell with an `ff` group), so registers cannot be mapped; "
        "give a standard-cell library with flip-flops, such as osu018",
    )
    assert sorted(folder.rglob("*")) == kept


def test_demo_says_what_is_skipped_and_goes_on(say, bare, monkeypatch, tmp_path):
    """Without simulator and library there is still a build and a report; only the JSON object is on standard output."""
    monkeypatch.setattr(tools.sys, "executable", sys.executable)
    monkeypatch.setattr(tools, "_verilator", lambda: iter(()))
    for name in ("verilator", "sta", "osu018"):
        tool = next(tool for tool in tools.TOOLS if tool.name == name)
        monkeypatch.setitem(tool.__dict__, "candidates", lambda: iter(()))
    answer = say("demo", "--json")
    assert answer.code == 0, answer.err
    assert answer.object["report"] == "build/digits/report.html"
    assert set(answer.object["skipped"]) == {"simulate", "synth"}
    assert "verilator is missing" in answer.object["skipped"]["simulate"]
    assert "skipped: verilator is missing" in answer.err
    assert (tmp_path / "build" / "digits" / "report.html").stat().st_size > 10_000


# ---------------------------------------------------------------------------------------------------------------------
# Stopped half way


class Stopped:
    """A command in a process of its own, stopped when it has said something."""

    def __init__(self, folder: Path):
        self.mark = uuid.uuid4().hex
        self.folder, self.scratch = folder, folder / "scratch"
        self.scratch.mkdir(parents=True)
        self.environment = os.environ | {
            "TMPDIR": str(self.scratch),
            "SPIKELOOM_CACHE": os.environ.get("SPIKELOOM_CACHE", str(tools.cache_folder())),
            "SPIKELOOM_TEST_MARK": self.mark,
        }

    def run(self, number: int, when: str, *words, pause: float = 0.0) -> tuple[int, str]:
        command = [*SPIKELOOM, *map(str, words), "-v"]
        with subprocess.Popen(
            command, cwd=self.folder, env=self.environment, text=True, bufsize=1, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:  # fmt: skip
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                if when in line:
                    break
            else:
                pytest.fail(f"never said {when!r}: {process.stderr.read()}")
            time.sleep(pause)
            process.send_signal(number)
            process.stdout.read()
            return process.wait(120), process.stderr.read()

    def children(self) -> list[str]:
        """Command lines of processes that the command left behind."""
        for _ in range(50):
            found = []
            for place in Path("/proc").glob("[0-9]*"):
                try:
                    if self.mark.encode() in (place / "environ").read_bytes():
                        found.append((place / "cmdline").read_text().replace("\0", " "))
                except OSError:
                    continue
            if not found:
                break
            time.sleep(0.1)
        return found


@pytest.fixture
def stopped(tmp_path):
    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc on this system")
    return Stopped(tmp_path / "stopped")


SAYS = "stopped: nothing half-written was left\n"
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.mark.parametrize(("number", "code"), SIGNALS)
def test_stopped_elaborate(number, code, stopped):
    config = projects.make_project(stopped.folder, name="tiny", network={"sizes": (40, 120, 60)})
    given = stopped.run(number, "elaborate: gateware", "elaborate", config)
    assert given == (code, SAYS)
    assert not list(stopped.folder.glob("build/*"))
    assert not list(stopped.scratch.iterdir())
    assert stopped.children() == []


def test_stopped_while_the_old_build_stays(stopped, built):
    """What was there before is still there, whole."""
    config = projects.make_project(stopped.folder, name="tiny", network={"sizes": (40, 120, 60)})
    folder = stopped.folder / "build" / "tiny"
    export.elaborate(projects.load(built), folder)
    kept = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert stopped.run(signal.SIGINT, "elaborate: gateware", "elaborate", config) == (130, SAYS)
    assert {path: path.read_bytes() for path in (stopped.folder / "build").rglob("*") if path.is_file()} == kept


def test_stopped_between_files(say, tmp_path, monkeypatch):
    config = projects.make_project(tmp_path, name="tiny")
    write, count = Path.write_bytes, itertools.count()

    def stops(self, data):
        if next(count) == 4:
            raise KeyboardInterrupt
        return write(self, data)

    monkeypatch.setattr(Path, "write_bytes", stops)
    assert say("elaborate", config) == Answer(130, "", SAYS)
    assert not list((tmp_path / "build").iterdir())


def test_stopped_demo_does_not_go_on(say, monkeypatch):
    def stops(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(export, "elaborate", stops)
    answer = say("demo")
    assert answer.code == 130
    assert answer.err.endswith(SAYS)
    assert "simulate" not in answer.out.split("$ spikeloom elaborate")[1]


@pytest.mark.cosim
@pytest.mark.parametrize(("number", "code"), SIGNALS[:2])
@pytest.mark.parametrize("engine", ["batch", "icarus"])
def test_stopped_simulate(number, code, engine, stopped, built, need_tool):
    need_tool("verilator"), need_tool("iverilog")
    stopped.environment["SPIKELOOM_CACHE"] = str(stopped.folder / "cache")  # so that it has to compile
    for tool in tools.TOOLS:
        found = tool.find()
        if found is not None and found.origin == "cache":
            pytest.skip(f"{tool.name} is in the cache that this test empties")
    folder = stopped.folder / "build"
    export.elaborate(projects.load(built), folder / "tiny")
    kept = sorted(folder.rglob("*"))
    when = "simulate: compiling" if engine == "batch" else "simulate: cocotb"
    words = ("simulate", built, "--out", folder, "--engine", engine)
    assert stopped.run(number, when, *words, pause=1.0) == (code, SAYS)
    assert sorted(folder.rglob("*")) == kept
    assert not list(stopped.scratch.iterdir())
    assert not list(stopped.folder.glob("cache/verilated/*/"))
    assert stopped.children() == []


@pytest.mark.synth
@pytest.mark.parametrize(("number", "code"), SIGNALS[:2])
def test_stopped_synth(number, code, stopped, built, need_tool):
    for tool in ("yosys", "sta", "osu018", "g++"):
        need_tool(tool)
    folder = stopped.folder / "build"
    export.elaborate(projects.load(built), folder / "tiny")
    kept = sorted(folder.rglob("*"))
    words = ("synth", built, "--out", folder)
    assert stopped.run(number, "synth: mapping", *words, pause=0.5) == (code, SAYS)
    assert sorted(folder.rglob("*")) == kept
    assert not list(stopped.scratch.iterdir())
    assert stopped.children() == []


def test_pdks(say, tmp_path):
    """`pdk list` has every kit, found or not; `pdk check` fails where Liberty and LEF disagree, and says where."""
    kit_folder(tmp_path)
    listed = say("pdk", "list", "--pdk-root", tmp_path, "--json").object["pdks"]
    assert [each["name"] for each in listed] == sorted(all_pdks())
    assert all(each["folder"] is None and "--pdk-root" in each["reason"] for each in listed)
    (tmp_path / "mine.toml").write_text(KIT.replace('site = "unit"', 'site = "none"'))
    answer = say("pdk", "check", "mine.toml", "--pdk-root", tmp_path, "--json")
    failed = [each["what"] for each in answer.object["checks"] if not each["good"]]
    assert (answer.code, failed) == (1, ["site none"])
    assert "checks failed: site none" in answer.err
    answer = say("pdk", "check", "sky130")
    assert (answer.code, "did you mean 'sky130hd'" in answer.err) == (2, True)
    assert say("pdk", "check", "gf180", "--pdk-root", tmp_path).code == 3


def test_map_where_neurons_dealt_in_turn_do_not_fit(say):
    """What one of the methods cannot do is no reason to refuse the others."""
    assert say("new", "zoo:digits", "--core", "virtual", "-o", "virtual.toml").code == 0
    path = Path("virtual.toml")
    path.write_text(path.read_text().replace('weight_depth = "auto"', "weight_depth = 100"))
    answer = say("map", "virtual.toml", "--method", "greedy", "--inputs", "5", "--json")
    assert answer.code == 0, answer.err
    layer = json.loads(answer.out)["layers"]["fc1"]
    assert (layer["passes"], layer["round_robin"]) == (2, None)
    refused = say("map", "virtual.toml", "--method", "round_robin")
    assert refused.code == 2
    assert "layer 'fc1': round_robin needs 122 rows and 121 words of weights per engine; there are" in refused.err
