"""The cocotb bench of a digital core: plays vectors with random stalls and checks every word that comes out.

What to play and what to expect is in the JSON file named by SPIKELOOM_VECTORS: `stimulus`, `load_flag` (the bit of a
stimulus word for the load port), `stream` (words that the load port gets at first, and again and again, where weights
are streamed), `streams` {name: words}, `inputs`, `stall` (percent), `seed`, `settle` (cycles), `widths` {port: bits},
`idle` (inputs held at 0), `commands` and `outcomes` {layer: words}, played before all else, `report` (file for the
cycles).
"""

import itertools
import json
import os
import random
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge


@cocotb.test()
async def matches_reference(dut):
    """Every word of every output stream equals the reference, and a stalled payload holds still."""
    await play(dut)


async def play(dut):
    """What the module says."""
    vectors = json.loads(Path(os.environ["SPIKELOOM_VECTORS"]).read_text())
    rng = random.Random(vectors["seed"])
    stall = vectors["stall"] / 100
    stimulus, streams = vectors["stimulus"], vectors["streams"]
    outputs = {name: [getattr(dut, f"{name}__{part}") for part in ("payload", "valid", "ready")] for name in streams}
    flag = vectors["load_flag"]
    first_words, again = vectors["stream"]
    fed = itertools.chain(first_words, itertools.cycle(again)) if again else None
    feeding = False
    loads = fed is not None or any(word & flag for word in stimulus)

    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    dut.events_in__valid.value = 0
    dut.events_in__payload.value = 0
    if loads:
        dut.load__valid.value = 0
        dut.load__payload.value = 0
    for _, _, ready in outputs.values():
        ready.value = 0
    for name in vectors["idle"]:
        getattr(dut, name).value = 0
    for name in vectors["probes"]:
        getattr(dut, f"{name}__ready").value = 1
    await ClockCycles(dut.clk, 3)
    dut.rst.value = 0
    await ClockCycles(dut.clk, vectors["settle"])
    for layer, words in vectors["commands"].items():
        await _command(dut, layer, words, vectors["outcomes"][layer], rng, stall)

    cycle = 0
    seen = dict.fromkeys(streams, 0)
    held: dict[str, int] = {}
    position, offered = 0, False
    first, last = None, None
    edge = RisingEdge(dut.clk)
    idle = 0
    fed_last = 0
    while position < len(stimulus) or any(seen[name] < len(words) for name, words in streams.items()):
        # Values for the coming edge; a word that is offered stays until it is taken.
        # The first event comes behind the first image; without stalls, it finds the buffers of weights filled.
        filled = fed is None or first is not None or (fed_last and (stall > 0 or cycle - fed_last >= 16))
        if not offered and filled and position < len(stimulus) and rng.random() >= stall:
            word, offered = stimulus[position], True
            if word & flag:
                dut.load__payload.value = word & (flag - 1)
                dut.load__valid.value = 1
            else:
                dut.events_in__payload.value = word
                dut.events_in__valid.value = 1
        if fed is not None and not feeding and rng.random() >= stall:
            dut.load__payload.value, dut.load__valid.value, feeding = next(fed), 1, True
        for _, _, ready in outputs.values():
            ready.value = int(rng.random() >= stall)
        await edge  # reads the values that the flip-flops are sampling
        idle += 1
        if feeding and bool(dut.load__ready.value):
            dut.load__valid.value, feeding, idle, fed_last = 0, False, 0, cycle
        if offered:
            loading = bool(stimulus[position] & flag)
            if bool((dut.load__ready if loading else dut.events_in__ready).value):
                if not loading and first is None:
                    first = cycle
                (dut.load__valid if loading else dut.events_in__valid).value = 0
                position, offered, idle = position + 1, False, 0
        for name, (payload, valid, ready) in outputs.items():
            if not bool(valid.value):  # bool(X) raises: wanted
                assert name not in held, f"{name}: valid fell before the payload was taken"
                continue
            word = payload.value.to_unsigned()
            assert held.get(name, word) == word, f"{name}: payload changed while it waited"
            held[name] = word
            if bool(ready.value):
                del held[name]
                expected = streams[name]
                assert seen[name] < len(expected), f"{name}: word {word:#x} after the last expected one"
                assert word == expected[seen[name]], (
                    f"{name} word {seen[name]}: {word:#x}, the reference has {expected[seen[name]]:#x}"
                )
                seen[name] += 1
                last, idle = cycle, 0
        cycle += 1
        assert idle < 100_000, f"nothing moved for {idle} cycles: {seen}, {position} of {len(stimulus)} words taken"
    for _ in range(50):  # nothing may follow
        for _, _, ready in outputs.values():
            ready.value = 1
        await edge
        for name, (_, valid, _) in outputs.items():
            assert not bool(valid.value), f"{name}: a word after the last expected one"
    assert dut.dropped.value.to_unsigned() == 0
    assert first is not None, "no event was taken"
    assert last is not None, "no word came out"
    Path(vectors["report"]).write_text(json.dumps({"cycles": last - first + 1, "words": seen}))


async def _command(dut, layer: str, words: list[int], expected: list[int], rng: random.Random, stall: float) -> None:
    """Give the array of a layer its commands, one after the other, and check what comes of each."""
    valid, ready, payload = (getattr(dut, f"command_{layer}__{part}") for part in ("valid", "ready", "payload"))
    shown, taken, outcome = (getattr(dut, f"outcome_{layer}__{part}") for part in ("valid", "ready", "payload"))
    edge, seen = RisingEdge(dut.clk), []
    for word in words:
        payload.value, valid.value = word, 1
        sent = False
        for _ in range(1_000_000):
            taken.value = int(rng.random() >= stall)
            await edge
            if not sent and bool(ready.value):
                valid.value, sent = 0, True
            elif bool(shown.value) and bool(taken.value):
                seen.append(outcome.value.to_unsigned())
                break
        else:
            raise AssertionError(f"no outcome of command {len(seen)} to {layer}")
    assert seen == expected, f"{layer}: outcomes {seen}, expected {expected}"
    taken.value = 1
