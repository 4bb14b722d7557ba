"""The batch runner: exported Verilog, compiled by Verilator, fed whole data sets with no Python in the clock loop.

A compiled design is kept in the user's cache under the hash of everything that went into it. A run costs about one
evaluation of the design per cycle, O(lanes) each; its cycles are what the cost model says.
"""

import contextlib
import fcntl
import hashlib
import os
import platform as host
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from spikeloom.chip import UNREAD, array_files
from spikeloom.errors import InputError, SpikeloomError
from spikeloom.items import AddressMap, EventSlots, address_bits, decode_events, encode_events
from spikeloom.project import Project
from spikeloom.tools import cache_folder, require_tool, tool_environment

__all__ = ["BatchResult", "CompiledDesign", "compile_chip", "compile_design", "simulated"]

WORD = 32
OPTIMISE = ["-O3", "--x-assign", "fast", "--x-initial", "fast", "--noassert", "-CFLAGS", "-O3 -march=native"]


@dataclass(frozen=True, kw_only=True, eq=False)
class BatchResult:
    """What the design did with a batch of B inputs of T steps.

    Attributes
    ----------
    spikes : uint8 [B, T, outputs]
        Output spikes, as they came.
    decisions : int64 [B, 2] or None
        Index and second field of each decision.
    readouts : int64 [B, steps reported, outputs] or None
    potentials : dict of int64 [B, T, neurons], by layer; empty without probes
    first, last, taken : int64 [B]
        Cycles of the first event taken, of the last word given and of the last event taken.
    cycles : int
        Cycles of the whole run.
    dropped : int
        Events with an address that no neuron listens to.
    """

    spikes: np.ndarray
    decisions: np.ndarray | None
    readouts: np.ndarray | None
    potentials: dict[str, np.ndarray]
    first: np.ndarray
    last: np.ndarray
    taken: np.ndarray
    cycles: int
    dropped: int

    @property
    def latency(self) -> np.ndarray:
        """Cycles from the first event of an input to its last output, both included."""
        return self.last - self.first + 1


@dataclass(frozen=True, kw_only=True)
class CompiledDesign:
    """A design as a program; `manifest` is that of its export."""

    program: Path
    folder: Path
    manifest: dict

    def run(
        self,
        spikes: np.ndarray,
        *,
        load: list[int] | None = None,
        stream: list[int] | None = None,
        load_each: list[list[int]] | None = None,
        isolated: bool = False,
        stall: int = 0,
        seed: int = 0,
        waveform: Path | None = None,
        processes: int | None = None,
        readout_ticks: bool = False,
    ) -> BatchResult:
        """Play inputs through the design.

        Parameters
        ----------
        spikes : uint8 [B, T, inputs]
        load : words for the load port before the first input of each process
        stream : words that follow it again and again, to a core that streams its weights
        load_each : words before each input (direct current)
        isolated : bool
            Start an input only when the one before has ended; else inputs follow back to back.
        stall, seed : int
            Pause each stream with this probability in percent, from this seed.
        waveform : Path
            Write a VCD waveform there (the design must be compiled with waveforms).
        processes : int
            Share the batch out to this many processes; by default one per processor for large batches.

        Raises
        ------
        SpikeloomError
            If the design stops moving, or its streams do not have the shape of the network.
        """
        batch = len(spikes)
        if processes is None:
            processes = min(os.cpu_count() or 1, max(1, batch // 64))
        if waveform is not None or load_each is not None or self.manifest["stateful"]:
            processes = 1
        parts = [p for p in np.array_split(np.arange(batch), processes) if len(p)]
        running = _Running()
        with ThreadPoolExecutor(len(parts)) as pool:
            jobs = [
                pool.submit(
                    self._run, running, spikes[p], load or [], stream or [],
                    None if load_each is None else [load_each[b] for b in p], isolated, stall, seed + n, waveform,
                    readout_ticks,
                )
                for n, p in enumerate(parts)
            ]  # fmt: skip
            try:
                results = [job.result() for job in jobs]
            except BaseException:  # a signal reaches this thread only
                running.stop()
                raise
        return _joined(results)

    def _run(
        self, running, spikes, load, stream, load_each, isolated, stall, seed, waveform, readout_ticks
    ) -> BatchResult:
        addressing = AddressMap(tuple(self.manifest["input_shape"]))
        slots = EventSlots(
            addressing.addresses, self.manifest.get("events_per_cycle", 1), self.manifest.get("weight_ports", 1)
        )
        words, counts = encode_events(spikes, addressing, slots=slots)
        size = self.manifest.get("load_bits", WORD) // 8
        fed = b"".join(word.to_bytes(size, "little") for word in load + stream) if stream else b""
        head = [len(spikes), len(load) if stream else 0, len(stream)]
        chunks, start = [np.array(head, np.uint32), np.frombuffer(fed, "<u4")], 0
        if stream:
            load = []
        for b, count in enumerate(counts):
            extra = (load if b == 0 else []) + (load_each[b] if load_each is not None else [])
            chunks += [
                np.array([len(extra), *extra, count], np.uint32),
                words[start : start + count].astype(f"<u{words.itemsize}").view("<u4"),
            ]
            start += count
        with tempfile.TemporaryDirectory(prefix="spikeloom-") as scratch:
            source, target = Path(scratch, "in"), Path(scratch, "out")
            np.concatenate(chunks).tofile(source)
            command = [str(self.program), str(source), str(target), str(int(isolated)), str(stall), str(seed)]
            if waveform is not None:
                command.append(str(waveform.absolute()))
            process = subprocess.Popen(
                command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
            running.add(process)
            text, _ = process.communicate()
            if process.returncode:
                reason = text.decode(errors="replace").strip() or f"exit {process.returncode}"
                raise SpikeloomError(f"{self.manifest['name']}: the simulation failed: {reason}")
            words = np.fromfile(target, np.uint32)
        try:
            return self._parse(words, len(spikes), spikes.shape[1], readout_ticks)
        except InputError as error:  # what is wrong is the design, not what the user gave
            raise SpikeloomError(f"{self.manifest['name']}: events_out: {error}") from error

    def _parse(self, words: np.ndarray, batch: int, steps: int, readout_ticks: bool) -> BatchResult:
        manifest = self.manifest
        cycles = int(words[0]) | int(words[1]) << WORD
        stamps = words[2 : 2 + 6 * batch].astype(np.int64).reshape(batch, 3, 2)
        stamps = stamps[:, :, 0] | stamps[:, :, 1] << WORD
        position, payloads = 2 + 6 * batch, {}
        for stream in _streams(manifest):
            size = int(words[position]) | int(words[position + 1]) << WORD
            position += 3
            payloads[stream.name] = words[position : position + size].reshape(-1, stream.words)
            position += size
        outputs = manifest["outputs"]
        index_bits = address_bits(outputs)
        spikes = decode_events(
            payloads["events_out"][:, 0],
            batch=batch,
            steps=steps,
            addressing=AddressMap(tuple(manifest["output_shape"])),
        )
        decisions = readouts = None
        last_bits = manifest["layers"][-1]["potential_bits"]
        if "decision" in payloads:
            raw = _wide(payloads["decision"])
            value = raw >> index_bits
            if manifest["decision"] == "value":
                value = _signed(value, last_bits)
            decisions = np.stack([raw & ((1 << index_bits) - 1), value], axis=1)
            if len(decisions) != batch:
                raise SpikeloomError(f"{manifest['name']}: {len(decisions)} decisions for {batch} inputs")
        if "readout" in payloads:
            raw = _wide(payloads["readout"])
            values = _signed(raw >> index_bits & ((1 << last_bits) - 1), last_bits)
            if len(values) != batch * (steps if readout_ticks else 1) * outputs:
                raise SpikeloomError(f"{manifest['name']}: {len(values)} read-out words for {batch} inputs")
            readouts = values.reshape(batch, steps if readout_ticks else 1, outputs)
        potentials = {}
        for layer in manifest["layers"]:
            name = f"probe_{layer['name']}"
            if name in payloads:
                given, wanted = len(payloads[name]), batch * steps * layer["rows"]
                if given != wanted:
                    raise SpikeloomError(f"{manifest['name']}: {given} words of {name}, {wanted} expected")
                potentials[layer["name"]] = _potentials(payloads[name], layer, batch, steps)
        return BatchResult(
            spikes=spikes,
            decisions=decisions,
            readouts=readouts,
            potentials=potentials,
            first=stamps[:, 0],
            last=stamps[:, 1],
            taken=stamps[:, 2],
            cycles=cycles,
            dropped=int(words[-1]),
        )


class _Running:
    """The processes of one run, which end together."""

    def __init__(self):
        self._lock, self._processes, self._stopped = threading.Lock(), [], False

    def add(self, process: subprocess.Popen) -> None:
        """Take care of `process`; it ends at once when the run was stopped meanwhile."""
        with self._lock:
            self._processes.append(process)
            if self._stopped:
                process.kill()

    def stop(self) -> None:
        """End every process, now and later."""
        with self._lock:
            self._stopped = True
            for process in self._processes:
                process.kill()


@dataclass(frozen=True)
class _Stream:
    name: str
    bits: int

    @property
    def words(self) -> int:
        return -(-self.bits // WORD)


def _streams(manifest: dict) -> list[_Stream]:
    """Output streams of a design, in the order of the harness."""
    return [
        _Stream(port["name"].removesuffix("__payload"), port["bits"])
        for port in manifest["ports"]
        if port["name"].endswith("__payload") and port["direction"] == "output"
    ]


def _wide(words: np.ndarray) -> np.ndarray:
    """Payloads of up to 64 bits as int64."""
    values = words[:, 0].astype(np.int64)
    return values if words.shape[1] == 1 else values | words[:, 1].astype(np.int64) << WORD


def _signed(values: np.ndarray, bits: int) -> np.ndarray:
    values = values & ((1 << bits) - 1)
    return values - ((values >> (bits - 1)) << bits)


def _potentials(words: np.ndarray, layer: dict, batch: int, steps: int) -> np.ndarray:
    """Probe payloads {row, values[lanes]} as int64 [batch, steps, neurons]."""
    rows, lanes, bits = layer["rows"], layer["lanes"], layer["potential_bits"]
    row_bits = address_bits(rows)
    unpacked = np.unpackbits(np.ascontiguousarray(words).view(np.uint8), axis=1, bitorder="little")
    fields = unpacked[:, row_bits : row_bits + lanes * bits].reshape(-1, lanes, bits).astype(np.int64)
    values = _signed((fields << np.arange(bits)).sum(axis=2), bits)
    if len(layer["shape"]) == 1 and layer.get("tiles"):  # of a folded layer: [chunk][tile][step][row]
        values = values.reshape(batch, -1, lanes)
        placed = np.empty((batch, steps, rows, lanes), np.int64)
        seen, chunk = 0, layer["chunk_steps"]
        for begin in range(0, steps, chunk):
            size = min(chunk, steps - begin)
            for first, groups in layer["tiles"]:
                part = values[:, seen : seen + size * groups].reshape(batch, size, groups, lanes)
                placed[:, begin : begin + size, first : first + groups] = part
                seen += size * groups
        return placed.reshape(batch, steps, rows * lanes)[:, :, : layer["neurons"]]
    if len(layer["shape"]) == 1:
        return values.reshape(batch, steps, rows * lanes)[:, :, : layer["neurons"]]
    channels, height, width = layer["shape"]  # rows go position by position
    placed = values.reshape(batch, steps, height, width, -1)[..., :channels]
    return np.moveaxis(placed, -1, 2).reshape(batch, steps, layer["neurons"])


def _joined(results: list[BatchResult]) -> BatchResult:
    """Results of several processes in the order of the inputs; cycles and drops add up."""
    if len(results) == 1:
        return results[0]

    def cat(name: str) -> Any:
        parts = [getattr(result, name) for result in results]
        return None if parts[0] is None else np.concatenate(parts)

    return BatchResult(
        spikes=cat("spikes"),
        decisions=cat("decisions"),
        readouts=cat("readouts"),
        potentials={
            name: np.concatenate([result.potentials[name] for result in results]) for name in results[0].potentials
        },
        first=cat("first"),
        last=cat("last"),
        taken=cat("taken"),
        cycles=sum(result.cycles for result in results),
        dropped=sum(result.dropped for result in results),
    )


def compile_design(
    folder: Path, manifest: dict, *, waveforms: bool = False, progress: Callable[[str], None] = lambda text: None
) -> CompiledDesign:
    """Compile the export in build folder `folder`; a design that was compiled before is taken from the cache.

    Raises
    ------
    ToolMissing
        If Verilator, make or a C++ compiler is missing.
    SpikeloomError
        If the compilation fails.
    """
    for tool in ("verilator", "make", "g++"):
        require_tool(tool)
    manifest, sources, data = simulated(folder, manifest)
    harness = files("spikeloom_sim").joinpath("harness.cpp").read_bytes()
    ports = _ports_header(manifest).encode()
    found = require_tool("verilator")
    digest = hashlib.sha256()
    for part in (
        *(path.read_bytes() for path in sources),
        harness,
        ports,
        repr((found.version, host.machine(), _processor(), OPTIMISE)).encode(),
        bytes([waveforms]),
    ):
        digest.update(hashlib.sha256(part).digest())
    place = cache_folder() / "verilated" / digest.hexdigest()[:32]
    program = place / "design"
    # Of a chip, the noise of an input depends on how many came before it.
    manifest = {**manifest, "stateful": manifest.get("state") == "keep" or "chip" in manifest}
    with _lock(place):
        if not program.is_file():
            progress("compiling")
            _compile(place, sources, manifest["top"], harness, ports, waveforms)
    return CompiledDesign(program=program, folder=data, manifest=manifest)


def compile_chip(
    project: Project,
    folder: Path,
    manifest: dict,
    place: Path,
    *,
    windows: int,
    waveforms: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> CompiledDesign:
    """Compile the chip of the export in `folder`, with noise samples of so many windows.

    The export has those of a few windows only; `place`, an empty folder, gets others, and the program reads them there.
    """
    top = f"{manifest['chip']['top']}.v"
    (place / "chip").mkdir()
    (place / "rtl").symlink_to((folder / "rtl").resolve())
    for name, text in array_files(project, windows=windows).items():
        (place / "chip" / name).write_text(text)
    (place / "chip" / top).write_bytes((folder / "chip" / top).read_bytes())
    return compile_design(place, manifest, waveforms=waveforms, progress=progress)


def simulated(folder: Path, manifest: dict) -> tuple[dict, list[Path], Path]:
    """What is simulated of an export: its manifest, sources, and the folder of the memory images.

    Of a core with analog ports it is the chip, with the arrays that stand behind these.
    """
    sources = sorted(path.resolve() for path in (folder / "rtl").glob("*.v"))
    chip = manifest.get("chip")
    if chip is None:
        return manifest, sources, folder / "rtl"
    sources += sorted(path.resolve() for path in (folder / "chip").glob("*.v"))
    return {**manifest, "top": chip["top"], "ports": chip["ports"]}, sources, folder / "chip"


def _processor() -> str:
    """What `-march=native` depends on: programs of one processor may not run on another that shares the cache."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")


@contextlib.contextmanager
def _lock(place: Path) -> Iterator[None]:
    """One process compiles, the others wait for its result."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with open(place.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(place: Path, sources: list[Path], top: str, harness: bytes, ports: bytes, waveforms: bool) -> None:
    work = Path(tempfile.mkdtemp(prefix="building.", dir=place.parent))
    try:
        (work / "harness.cpp").write_bytes(harness)
        (work / "ports.h").write_bytes(ports)
        command = [
            str(require_tool("verilator").path), "--cc", "--exe", "--build", "-j", "2", "--top-module", top,
            "--prefix", "Vdesign", "-o", str(work / "design"), "--Mdir", str(work / "obj"), "-Wno-fatal",
            "-CFLAGS", f"-I{work}", *OPTIMISE, *(["--trace"] if waveforms else []),
            str(work / "harness.cpp"), *map(str, sources),
        ]  # fmt: skip
        environment = tool_environment("verilator") | {"TMPDIR": str(work)}  # a compiler that is killed cleans nothing
        process = subprocess.Popen(
            command, cwd=work, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            text, _ = process.communicate()
        finally:
            if process.poll() is None:
                os.killpg(process.pid, 9)
                process.wait()
        if process.returncode:
            tail = "\n".join(text.strip().splitlines()[-12:])
            raise SpikeloomError(f"{top}: the Verilog could not be compiled (exit {process.returncode}):\n{tail}")
        shutil.rmtree(work / "obj", ignore_errors=True)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(work, place)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _ports_header(manifest: dict) -> str:
    """C++ accessors of the streams of a design, for the harness."""
    streams = _streams(manifest)
    names = [stream.name.replace("__", "___05F") for stream in streams]
    loads = any(port["name"] == "load__payload" for port in manifest["ports"])
    event_bits = next(port["bits"] for port in manifest["ports"] if port["name"] == "events_in__payload")

    def switch(body: Callable[[int], str], default: str) -> str:
        return (
            "  switch (s) {\n"
            + "".join(f"    case {n}: {body(n)}\n" for n in range(len(streams)))
            + f"  }}\n  {default}\n"
        )

    def closing(n: int) -> str:
        """Whether a payload ends an input: `last` is the highest bit of events and read-outs; each decision does."""
        if streams[n].name in ("events_out", "readout"):
            bit = streams[n].bits - 1
            return f"word(model.{names[n]}___05Fpayload, {bit // WORD}) >> {bit % WORD} & 1"
        return "true" if streams[n].name == "decision" else "false"

    def probed(n: int) -> int:
        """Words that a probe gives for each input: a payload for each row of each step."""
        name = streams[n].name
        rows = {f"probe_{layer['name']}": layer["rows"] for layer in manifest["layers"]}
        return rows[name] * manifest["steps"] * streams[n].words if name in rows else 0

    ends = " || ".join(
        f"s == {n}" for n, stream in enumerate(streams) if not stream.name.startswith(("probe_", *UNREAD))
    )
    words = manifest.get("load_bits", WORD) // WORD
    payload = {
        1: "model.load___05Fpayload = words[0];",
        2: "model.load___05Fpayload = words[0] | uint64_t{words[1]} << 32;",
    }.get(words, f"for (int n = 0; n < {words}; ++n) model.load___05Fpayload[n] = words[n];")
    load = (
        f"  model.load___05Fvalid = valid;\n  if (valid) {{ {payload} }}\n"
        if loads
        else "  (void)model, (void)valid, (void)words;\n"
    )
    return (
        '#include "Vdesign.h"\nusing Model = Vdesign;\n'
        f"constexpr int STREAMS = {len(streams)};\n"
        f"constexpr int EVENT_WORDS = {1 if event_bits <= WORD else 2};\n"
        f"constexpr uint32_t LOAD_WORDS = {words};\n"
        f"constexpr uint32_t SETTLE = {manifest['settle']};\n"
        "template <typename T> uint32_t word(const T& value, int n) {\n"
        "  return static_cast<uint32_t>(uint64_t{value} >> (32 * n));\n}\n"
        "template <std::size_t W> uint32_t word(const VlWide<W>& value, int n) { return value[n]; }\n"
        "inline void set_ready(Model& model, int s, bool ready) {\n"
        + switch(lambda n: f"model.{names[n]}___05Fready = ready; break;", "")
        + "}\ninline bool transfers(const Model& model, int s) {\n"
        + switch(lambda n: f"return model.{names[n]}___05Fvalid && model.{names[n]}___05Fready;", "return false;")
        + "}\ninline void append(const Model& model, int s, std::vector<uint32_t>& into) {\n"
        + switch(
            lambda n: (
                f"for (int w = 0; w < {streams[n].words}; ++w) "
                f"into.push_back(word(model.{names[n]}___05Fpayload, w)); break;"
            ),
            "",
        )
        + "}\ninline bool closes(const Model& model, int s) {\n"
        + switch(lambda n: f"return {closing(n)};", "return false;")
        + f"}}\ninline bool counts_as_end(int s) {{ return {ends}; }}\n"
        + "inline uint64_t probe_words(int s) {\n"
        + switch(lambda n: f"return {probed(n)};", "return 0;")
        + "}\ninline void set_load(Model& model, bool valid, const uint32_t* words) {\n"
        + load
        + "}\n"
        + "inline bool load_ready(const Model& model) {\n"
        + f"  return {'model.load___05Fready' if loads else '(void)model, false'};\n}}\n"
    )
