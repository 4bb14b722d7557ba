"""The cocotb bench of a hosted core: drives its bus and its AXI4-Streams as a system does, and checks every answer.

What to play and what to expect is in the JSON file named by SPIKELOOM_HOST: `bus`, `driver` (file of the generated
driver), `registers` (the description), `image` (hex digits, or null), `inputs` [{steps, expected}], `stall` (percent),
`seed`, `parallel` (whether the core takes an event in every cycle), `prime` (cycles that the core needs before an
input), `changed` (other parameters and what they give, or null), `parameters`.
"""

import importlib.util
import json
import os
import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.task import bridge, resume
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiStreamBus, AxiStreamFrame, AxiStreamSink, AxiStreamSource
from cocotbext.axi.axil_channels import AxiLiteAWTransaction, AxiLiteWTransaction

SLVERR = 2


class RefusedError(OSError):
    """The bus answered an access with an error."""


class AxiLite:
    """Single accesses over cocotbext-axi, with pauses on each channel."""

    def __init__(self, dut, rng: random.Random, stall: float):
        self._master: Any = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi"), dut.clk, dut.rst)
        for each in (self._master.write_if, self._master.read_if):
            each.log.setLevel("WARNING")  # it tells every access
        if stall:
            write, read = self._master.write_if, self._master.read_if
            for channel in (write.aw_channel, write.w_channel, write.b_channel, read.ar_channel, read.r_channel):
                channel.set_pause_generator(_pauses(random.Random(rng.random()), stall))

    async def read(self, address: int) -> tuple[int, bool]:
        """Data, and whether it is an error."""
        answer = await self._master.read(address, 4)
        return int.from_bytes(answer.data, "little"), int(answer.resp) == SLVERR

    async def write(self, address: int, value: int, strobe: int = 0xF) -> bool:
        """Whether it is an error."""
        if strobe == 0xF and address % 4 == 0:
            return int((await self._master.write(address, value.to_bytes(4, "little"))).resp) == SLVERR
        # The master would put the number of the first byte into the address: here the strobes alone say it.
        channels = self._master.write_if
        await channels.aw_channel.send(AxiLiteAWTransaction(awaddr=address, awprot=0))
        await channels.w_channel.send(AxiLiteWTransaction(wdata=value, wstrb=strobe))
        return int((await channels.b_channel.recv()).bresp) == SLVERR


class Wishbone:
    """Classic cycles, with pauses before and within."""

    def __init__(self, dut, rng: random.Random, stall: float):
        self._dut, self._rng, self._stall = dut, random.Random(rng.random()), stall
        self._edge = RisingEdge(dut.clk)
        for name in ("cyc", "stb", "we", "adr", "sel", "dat_w"):
            getattr(dut, f"wb_{name}").value = 0

    async def _cycle(self, address: int, we: int, data: int, strobe: int) -> tuple[int, bool]:
        dut = self._dut
        while self._rng.random() < self._stall:
            await self._edge
        dut.wb_cyc.value = 1
        while self._rng.random() < self._stall:
            await self._edge
        dut.wb_stb.value, dut.wb_we.value = 1, we
        dut.wb_adr.value, dut.wb_dat_w.value, dut.wb_sel.value = address >> 2, data, strobe
        for _ in range(16):
            await self._edge
            ack, err = bool(dut.wb_ack.value), bool(dut.wb_err.value)
            if ack or err:
                assert ack != err, "both answers at once"
                word = 0 if we else dut.wb_dat_r.value.to_unsigned()
                dut.wb_stb.value = 0
                dut.wb_cyc.value = 0
                return word, err
        raise AssertionError(f"no answer from address {address:#x}")

    async def read(self, address: int) -> tuple[int, bool]:
        """Data, and whether it is an error."""
        return await self._cycle(address, 0, 0, 0xF)

    async def write(self, address: int, value: int, strobe: int = 0xF) -> bool:
        """Whether it is an error."""
        return (await self._cycle(address, 1, value, strobe))[1]


class Blocking:
    """The bus as the generated driver wants it: calls that return when the access is done."""

    def __init__(self, bus):
        self._bus = bus

    def read32(self, address: int) -> int:
        """One read."""
        word, error = resume(self._bus.read)(address)
        if error:
            raise RefusedError(f"read of {address:#x}")
        return word

    def write32(self, address: int, value: int) -> None:
        """One write."""
        if resume(self._bus.write)(address, value):
            raise RefusedError(f"write of {address:#x}")


def _pauses(rng: random.Random, stall: float):
    while True:
        yield rng.random() < stall


async def start(dut) -> SimpleNamespace:
    """Clock, reset, the bus and the streams."""
    play = SimpleNamespace(**json.loads(Path(os.environ["SPIKELOOM_HOST"]).read_text()))
    play.rng, stall = random.Random(play.seed), play.stall / 100
    Clock(dut.clk, 10, unit="ns").start()
    dut.rst.value = 1
    play.bus = (AxiLite if play.bus == "axi4-lite" else Wishbone)(dut, play.rng, stall)
    play.source = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_events"), dut.clk, dut.rst)
    play.sinks = {}
    for short in ("events", "answers", "values"):
        if hasattr(dut, f"m_axis_{short}_tvalid"):
            sink = AxiStreamSink(AxiStreamBus.from_prefix(dut, f"m_axis_{short}"), dut.clk, dut.rst)
            play.sinks[short] = sink
    if hasattr(dut, "s_axis_load_tvalid"):
        play.load = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_load"), dut.clk, dut.rst)
    if stall:
        for each in (play.source, *play.sinks.values()):
            each.set_pause_generator(_pauses(random.Random(play.rng.random()), stall))
    spec = importlib.util.spec_from_file_location("driver", play.driver)
    assert spec is not None
    assert spec.loader is not None
    play.module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(play.module)
    name = next(name for name in vars(play.module) if name.lower() == Path(play.driver).stem.replace("_", ""))
    play.device = lambda: getattr(play.module, name)(Blocking(play.bus), polls=300)
    play.at = {register["name"]: register["address"] for register in play.registers}
    play.word_bytes = len(dut.s_axis_events_tdata) // 8
    play.image = bytes.fromhex(play.image) if play.image is not None else None
    await ClockCycles(dut.clk, 4)
    dut.rst.value = 0
    await ClockCycles(dut.clk, 2)
    return play


def check(result, expected: dict, *, collected: bool = True) -> None:
    """A result of the driver is what the reference has."""
    for name in ("counts", "values", "best"):
        assert getattr(result, name) == expected[name], (name, getattr(result, name), expected[name])
    assert (list(result.first) if result.first else None) == expected["first"], (result.first, expected["first"])
    if collected:
        assert [list(spike) for spike in result.spikes] == expected["spikes"]
        assert [list(item) for item in result.readout] == expected["readout"]
        answer = list(result.answer) if result.answer else None
        assert answer == expected["answer"], (answer, expected["answer"])


def words_of(play, steps: list[list[int]], *, marked: bool = True) -> list[int]:
    """Event words of an input; without `marked` its last tick relies on TLAST."""
    tick = play.module.REGISTERS["event_in"][2]["tick"][0]
    words = []
    for n, neurons in enumerate(steps):
        words += [play.module.address_of(neuron) for neuron in neurons]
        words.append(1 << tick | (marked and n == len(steps) - 1) << tick + 1)
    return words


def packed(play, words: list[int]) -> bytes:
    """TDATA of words, one after the other."""
    return b"".join(word.to_bytes(play.word_bytes, "little") for word in words)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def runs_inputs_through_registers(dut):
    """Load, push, read: results equal the reference; counters count; with and without collecting."""
    play = await start(dut)

    @bridge
    def program():
        device = play.device()
        if play.image is not None:
            device.start()
            try:
                device.load(play.image[:8] + bytes(4) + play.image[12:])
                raise AssertionError("an image for another core was sent")
            except ValueError:
                pass
            device.load(play.image)
            assert device.get("flags")["load_complete"] == 1
        for collect in (True, False):
            device.start(collect=collect)
            for entry in play.inputs:
                check(device.run(entry["steps"]), entry["expected"], collected=collect)
        assert device.counter("inputs_done") == 2 * len(play.inputs)
        assert device.counter("spikes_in") == 2 * sum(len(step) for entry in play.inputs for step in entry["steps"])
        assert device.counter("ticks_in") == 2 * sum(len(entry["steps"]) for entry in play.inputs)
        assert device.counter("spikes_out") == 2 * sum(len(entry["expected"]["spikes"]) for entry in play.inputs)
        assert device.counter("cycles_busy") > 0
        assert device.get("flags")["input_done"] == 1
        device.set("interrupts", input_done=1)
        assert device.get("status") | {"load_complete": 0} == {
            name: 0 for name in play.module.REGISTERS["status"][2]
        } | {"load_complete": 0}
        device.clear_counters()
        assert [device.counter(name) for name in ("inputs_done", "spikes_in", "cycles_busy")] == [0, 0, 0]
        device.stop()
        device.write("event_in", 0)
        assert device.counter("spikes_in") == 0, "stopped: nothing enters"

    await program()
    await ClockCycles(dut.clk, 3)
    assert bool(dut.irq.value)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def refuses_wrong_accesses(dut):
    """An error for each, and no register, no queue and no counter changes."""
    play = await start(dut)
    bus, at = play.bus, play.at
    known = {register["address"]: register for register in play.registers}
    quiet = [r for r in play.registers if r["access"] != "push" and not r["effect"]]

    async def contents():
        return {register["name"]: await bus.read(register["address"]) for register in quiet}

    assert not await bus.write(at["result_index"], 1)
    before = await contents()
    assert not any(error for _, error in before.values())
    size = 4 << len(dut.wb_adr) if hasattr(dut, "wb_adr") else 1 << len(dut.s_axi_awaddr)
    others = [a for a in range(0, size, 4) if a not in known]
    for address in [*others[:40], *play.rng.sample(others, 60), others[-1]]:
        assert await bus.read(address) == (0, True), hex(address)
        assert await bus.write(address, 0xFFFF_FFFF), hex(address)
    for address, register in known.items():
        if register["access"] == "ro":
            assert await bus.write(address, 0xFFFF_FFFF), register["name"]
        if register["access"] == "push":
            assert await bus.read(address) == (0, True), register["name"]
            for strobe in (0b0001, 0b0111, 0b1000):
                assert await bus.write(address, 0xFFFF_FFFF, strobe), register["name"]
    for offset in (1, 2, 3) if hasattr(dut, "s_axi_awaddr") else ():
        assert await bus.write(at["interrupts"] + offset, 0xFFFF_FFFF), "not aligned"
        assert await bus.write(at["interrupts"] + offset, 0xFFFF_FFFF, 1 << offset), "not aligned"
    assert await contents() == before
    # More than fits: refused once the queue is full, and the rest is there.
    for n in range(play.module.QUEUE_DEPTH):
        assert not await bus.write(at["event_in"], n % 2)
    assert await bus.read(at["event_room"]) == (0, False)
    assert await bus.write(at["event_in"], 0)
    assert await bus.read(at["event_room"]) == (0, False)
    # A window beyond the outputs shows 0, an empty queue nothing.
    assert await bus.read(at["event_out"]) == (0, False)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def writes_single_bytes(dut):
    """Only the bytes that the strobes name change."""
    play = await start(dut)
    bus = play.bus
    for register in play.registers:
        if register["access"] != "rw" or register["name"] == "control":
            continue
        address = register["address"]
        mask = sum(((1 << field["bits"]) - 1) << field["offset"] for field in register["fields"])
        value, _ = await bus.read(address)
        for strobe in (0b0001, 0b0010, 0b0100, 0b1000, 0b0101, 0b1100, 0b0110, 0b1111, 0):
            data = play.rng.getrandbits(32)
            chosen = sum(0xFF << 8 * n for n in range(4) if strobe >> n & 1)
            value = (value & ~chosen | data & chosen) & mask
            assert not await bus.write(address, data, strobe)
            assert await bus.read(address) == (value, False), (register["name"], strobe)


async def _receive(play, inputs: int) -> dict[str, list]:
    """Frames of the streams: the words of each input, and every answer."""
    got: dict[str, list] = {name: [] for name in play.sinks}
    for _ in range(inputs):
        for name, sink in play.sinks.items():
            # A read-out has no spikes; its values come with one TLAST an input, as events do.
            frame = await sink.recv()
            size = len(sink.bus.tdata) // 8
            data = bytes(frame.tdata)
            got[name].append([int.from_bytes(data[n : n + size], "little") for n in range(0, len(data), size)])
    return got


def _expect_streams(play, got: dict[str, list], inputs: list[dict]) -> None:
    for n, entry in enumerate(inputs):
        for name, words in entry["expected"]["streams"].items():
            assert got[name][n] == words, (name, n, got[name][n], words)


async def _load(play) -> None:
    if play.image is not None:
        await play.load.send(AxiStreamFrame(play.image))
        await play.load.wait()
        while not (await play.bus.read(play.at["status"]))[0] & _mask(play, "status", "load_complete"):
            pass


def _mask(play, register: str, field: str) -> int:
    offset, bits, _ = play.module.REGISTERS[register][2][field]
    return ((1 << bits) - 1) << offset


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def runs_inputs_through_streams(dut):
    """Events in and out over AXI4-Stream, back to back; TLAST ends an input on both sides."""
    play = await start(dut)
    await _load(play)
    assert not await play.bus.write(play.at["control"], 1)  # run, and all from and to streams
    for n, entry in enumerate(play.inputs):
        await play.source.send(AxiStreamFrame(packed(play, words_of(play, entry["steps"], marked=n % 2 == 0))))
    _expect_streams(play, await _receive(play, len(play.inputs)), play.inputs)
    await ClockCycles(dut.clk, 50)
    assert all(sink.empty() for sink in play.sinks.values()), "nothing follows"
    assert await play.bus.read(play.at["inputs_done"]) == (len(play.inputs), False)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def takes_an_event_in_every_cycle(dut):
    """A core with a lane per neuron: no cycle is lost while an input goes in, but that of its first bias."""
    play = await start(dut)
    if not play.parallel or play.stall:
        return
    await _load(play)
    assert not await play.bus.write(play.at["control"], 1)
    # One step: every input neuron fires, many times over (the core takes what comes), then the tick.
    inputs, rounds = play.module.INPUTS, 200 // play.module.INPUTS + 1
    words = words_of(play, [list(range(inputs)) * rounds])
    edge, stalls, taken = RisingEdge(dut.clk), 0, 0
    send = cocotb.start_soon(play.source.send(AxiStreamFrame(packed(play, words))))
    while taken < len(words):
        await edge
        if bool(dut.s_axis_events_tvalid.value):
            ready = bool(dut.s_axis_events_tready.value)
            taken, stalls = taken + ready, stalls + (not ready)
    await send
    assert stalls == play.prime, f"{stalls} cycles lost in {len(words)} words"
    await _receive(play, 1)


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def starts_anew_after_a_soft_reset(dut):
    """Soft reset within a step: as after power-up, and no word that was offered is withdrawn."""
    play = await start(dut)
    sink, edge = play.sinks["events"], RisingEdge(dut.clk)
    offered: list = []

    async def watch():
        held = None
        while True:
            await edge
            valid, ready = bool(dut.m_axis_events_tvalid.value), bool(dut.m_axis_events_tready.value)
            word = dut.m_axis_events_tdata.value.to_unsigned() if valid else None
            assert held is None or word == held, "an offered word was withdrawn"
            held = word if valid and not ready else None
            if held is not None:
                offered.append(held)

    cocotb.start_soon(watch())
    for attempt in range(12):
        if attempt >= 2 and offered:  # a short piece of an input need not make the last layer spike
            break
        await _load(play)
        sink.pause = True
        sink.clear_pause_generator()
        assert not await play.bus.write(play.at["control"], 1)
        # Break off: a few words of an input that never ends, until the core is in the middle of it.
        steps = play.inputs[0]["steps"]
        words = words_of(play, [*steps, *steps], marked=False)[: play.rng.randrange(8, 40)]
        await play.source.send(AxiStreamFrame(packed(play, [*words[:-1], 0])))
        await ClockCycles(dut.clk, play.rng.randrange(60, 120))
        play.source.clear()
        assert not await play.bus.write(play.at["control"], 0)
        assert not await play.bus.write(play.at["command"], 1)
        assert (await play.bus.read(play.at["status"]))[0] == 0
        assert (await play.bus.read(play.at["best_value"]))[0] == 0
        await ClockCycles(dut.clk, 20)
        sink.pause = False
        await ClockCycles(dut.clk, 20)  # what had left the core before
        assert not bool(dut.m_axis_events_tvalid.value)
        for each in play.sinks.values():
            each.clear()
        # Words of the broken input that the stream still brings after the reset are discarded.
        assert not await play.bus.write(play.at["control"], 2 << 1)
        await play.source.wait()
        await ClockCycles(dut.clk, 5)
        assert not await play.bus.write(play.at["control"], 0)

        @bridge
        def program():
            device = play.device()
            device.start()
            if play.image is not None:
                device.load(play.image)
            for entry in play.inputs:
                check(device.run(entry["steps"]), entry["expected"])
            device.stop()
            device.soft_reset()
            for name in play.module.REGISTERS["control"][2]:
                device.set("control", **{name: 0})

        await program()
    assert offered, "the stimulus made a word wait"


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def changes_parameters(dut):
    """A parameter register shows what an image brought; a write reaches the core once no input is under way."""
    play = await start(dut)
    if not play.changed:
        return

    @bridge
    def program():
        device = play.device()
        device.start()
        device.load(play.image)
        for name, value in play.parameters.items():
            assert device.parameter(name) == value, name
        for name, value in play.changed["parameters"].items():
            assert device.parameter(name, value) == value
        for entry in play.changed["inputs"]:
            check(device.run(entry["steps"]), entry["expected"])
        device.load(play.image)  # the image is the news
        for name, value in play.parameters.items():
            assert device.parameter(name) == value, name
        for entry in play.inputs:
            check(device.run(entry["steps"]), entry["expected"])
        # Written while an input is under way: waits, and the input is not disturbed.
        name, value = next(iter(play.changed["parameters"].items()))
        tick = play.module.REGISTERS["event_in"][2]["tick"][0]
        device.start(collect=False)
        device.write("event_in", 0)
        device.write(name, value)
        assert device.get("status")["parameters_pending"] == 1
        assert device.get("status")["in_flight"] == 1
        device.write("event_in", 3 << tick)
        assert device.parameter(name, value) == value
        assert device.get("status")["parameters_pending"] == 0

    await program()
