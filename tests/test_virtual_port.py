"""What can stand behind the analog port of a virtual core: the same requests, the same flags."""

import subprocess

import numpy as np
import pytest

from spikeloom.tools import tool_environment
from spikeloom_analog.virtual import EngineParameters, program_engines
from spikeloom_analog.virtual.port import EnginePort, PortBits, Request
from spikeloom_analog.virtual.verilog import black_box_engines, model_engines, replay_engines

SLOTS, ENGINES, LAYERS = (3, 2), 3, 2
"""Slots of each layer."""


def engines(*, subtract=False, noise=True, weight_bits=6, core=1):
    threshold = np.full((sum(SLOTS), ENGINES), 60)
    p = EngineParameters(comparator_noise=5e-3, noise_limit=4.0, gain=80.0)
    tables, _ = program_engines(
        p, threshold=threshold, beta=0.8, subtract=threshold // 2 if subtract else None, weight_bits=weight_bits,
        potential_bits=9, seeds=[21], core=core,
    )  # fmt: skip
    return tables if noise else tables.quiet()


def traffic(tables, *, seed=0, inputs=3, steps=6):
    """Requests as a core makes them: a sweep that clears all, then layers that take turns in any way."""
    rng, bits = np.random.default_rng(seed), PortBits.of(tables, LAYERS)
    every = (1 << ENGINES) - 1

    def spread(slots):
        return sum(int(k) << m * bits.slot for m, k in enumerate(slots))

    queues = []
    for layer in range(LAYERS):
        own, queue = range(sum(SLOTS[:layer]), sum(SLOTS[: layer + 1])), []
        for step in range(inputs * steps):
            common = {"layer": layer, "step": step}
            for _ in range(rng.integers(0, 13)):
                takes = rng.random(ENGINES) < 0.7
                slots = np.where(takes, rng.choice(own, ENGINES), 0)
                codes = np.where(takes, rng.integers(-8, 32, ENGINES) & ((1 << bits.code) - 1), 0)
                code = sum(int(c) << m * bits.code for m, c in enumerate(codes))
                takes = sum(1 << int(m) for m in np.flatnonzero(takes))
                queue.append(Request(**common, fires=0, clears=0, takes=takes, slot=spread(slots), code=code))
            last = int(step % steps == steps - 1)
            for k in own:
                queue.append(Request(**common, fires=1, clears=last, takes=every, slot=spread([k] * ENGINES), code=0))
        queues.append(queue)
    start = [
        Request(layer=0, step=(1 << 32) - 1, fires=1, clears=1, takes=every, slot=spread([k] * ENGINES), code=0)
        for k in range(sum(SLOTS))
    ]
    rest, turns = [list(queue) for queue in queues], []
    while any(rest):
        turns.append(rest[rng.choice([n for n, queue in enumerate(rest) if queue])].pop(0))
    queues[0] = start + queues[0]
    return start + turns, queues


BENCH = """
module bench;
  reg clk = 0, go = 0;
  reg [{width}-1:0] words [0:{count}-1];
  reg [{width}-1:0] word = 0;
  wire fires, clears;
  wire [{layer}-1:0] layer;
  wire [31:0] step;
  wire [{takes}-1:0] takes, fired;
  wire [{slot}-1:0] slot;
  wire [{code}-1:0] code;
  integer n;
  assign {{layer, fires, clears, step, takes, slot, code}} = word;
  tiny_core_engines dut (.clk(clk), .go(go), .fires(fires), .clears(clears), .layer(layer), .step(step), .takes(takes),
    .slot(slot), .code(code), .fired(fired));
  initial begin
    $readmemh("words.mem", words);
    for (n = 0; n < {count}; n = n + 1) begin
      word = words[n];
      go = 1;
      #5 clk = 1;
      #5 clk = 0;
      go = 0;
      if (n % 3 == 1) begin  // what stands on the port without go means nothing
        word = ~word;
        #5 clk = 1;
        #5 clk = 0;
      end
      $display("fired %0d", fired);
    end
    $finish;
  end
endmodule
"""


def played(folder, files, requests, bits, simulator):
    """`fired` after each request, by a simulator; and what it wrote."""
    folder.mkdir(exist_ok=True)
    word = 2 + 32 + bits.engines * (1 + bits.slot + bits.code)
    words = [r.layer << word | r.word(bits) for r in requests]
    width = bits.layer + word
    for name, text in files.items():
        (folder / name).write_text(text)
    (folder / "words.mem").write_text("".join(f"{w:x}\n" for w in words))
    bench = BENCH.format(
        width=width, count=len(words), layer=bits.layer, takes=bits.engines, slot=bits.engines * bits.slot,
        code=bits.engines * bits.code,
    )  # fmt: skip
    (folder / "bench.v").write_text(bench)
    sources = ["bench.v", *(name for name in files if name.endswith(".v"))]
    environment = tool_environment(simulator)
    if simulator == "iverilog":
        build, run = ["iverilog", "-g2012", "-o", "sim", *sources], ["vvp", "-n", "sim"]
    else:
        build = [
            "verilator",
            "--binary",
            "--timing",
            "-CFLAGS",
            "-fcoroutines",
            "-Wno-fatal",
            "-Wno-STMTDLY",
            "--top-module",
            "bench",
            *sources,
        ]
        run = ["obj_dir/Vbench"]
    made = subprocess.run(build, cwd=folder, env=environment, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    done = subprocess.run(run, cwd=folder, env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("fired")]
    return [int(line.split()[1]) for line in lines], done.stdout + done.stderr


@pytest.mark.cosim
@pytest.mark.parametrize("simulator", ["iverilog", "verilator"])
@pytest.mark.parametrize("subtract", [False, True], ids=["zero", "subtract"])
def test_model_and_recording_in_verilog_are_the_python_model(tmp_path, subtract, simulator, need_tool):
    need_tool(simulator)
    tables = engines(subtract=subtract)
    requests, queues = traffic(tables, seed=4)
    port = EnginePort(tables, layers=LAYERS)
    expected = [port.clock(go=1, request=request) for request in requests]
    assert len(set(expected)) >= 7  # of 8 combinations of three engines
    bits = PortBits.of(tables, LAYERS)
    model = model_engines("tiny", "core", tables, layers=LAYERS)
    assert played(tmp_path / "model", model, requests, bits, simulator)[0] == expected
    # A recording of each layer in its order serves any way in which they take turns; the model shows what was last.
    answered = list(zip(requests, expected, strict=True))
    recording = [[(r, f) for r, f in answered if r.layer == n] for n in range(LAYERS)]
    replay = replay_engines("tiny", "core", tables, recording)
    assert played(tmp_path / "replay", replay, requests, bits, simulator)[0] == expected
    if simulator == "verilator":
        return  # each of the others would be compiled anew
    swapped = queues[1] + queues[0]
    found = played(tmp_path / "swapped", replay, swapped, bits, simulator)[0]
    again = EnginePort(tables, layers=LAYERS)
    assert found == [again.clock(go=1, request=request) for request in swapped]
    # A request that was not recorded, and a file that was changed, end the simulation.
    wrong = [*queues[1][:5], queues[0][9]]
    assert "not what was recorded" in played(tmp_path / "wrong", replay, wrong, bits, simulator)[1]
    changed = dict(replay)
    rows = changed["tiny_core_rows.mem"].split("\n")
    rows[7] = rows[8]
    changed["tiny_core_rows.mem"] = "\n".join(rows)
    assert "this module was made for" in played(tmp_path / "changed", changed, requests, bits, simulator)[1]


def test_noise_of_another_chip_core_or_none_is_another_answer():
    quiet, noisy, other = engines(noise=False), engines(), engines(core=2)
    requests, _ = traffic(noisy)

    def answers(tables):
        port = EnginePort(tables, layers=LAYERS)
        return [port.clock(go=1, request=request) for request in requests]

    found = [answers(tables) for tables in (quiet, noisy, other)]
    assert found[0] != found[1]
    assert found[1] != found[2]
    assert answers(noisy) == found[1]


def test_ports_are_the_same_whatever_stands_behind():
    tables = engines()
    port = EnginePort(tables, layers=LAYERS)
    _, layers = traffic(tables)
    recording = [[(request, port.clock(go=1, request=request)) for request in rows] for rows in layers]
    texts = [
        made["tiny_core_engines.v"]
        for made in (
            model_engines("tiny", "core", tables, layers=LAYERS),
            replay_engines("tiny", "core", tables, recording),
            black_box_engines("tiny", "core", tables, layers=LAYERS),
        )
    ]
    assert len({text[text.index("module") : text.index(");")] for text in texts}) == 1
