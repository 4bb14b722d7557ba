"""The host script: plays a data set to a board over a line and checks every word that comes back."""

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..network.reference import simulate
from ..project import Project
from ..tools import require_tool
from ..vectors import expected_streams, stimulus_words
from .protocol import MAX_PAYLOAD, LinkError, LinkFormat, Session

__all__ = ["SerialLine", "Transport", "play"]

READ_BYTES = 4096
RETRY_S = 0.25


class Transport(Protocol):
    """A line to a board."""

    def write(self, data: bytes) -> None:
        """Send all of `data`."""

    def read(self) -> bytes:
        """What has come in; waits a little (some milliseconds) where nothing has."""
        ...


class SerialLine:
    """A serial port, by pyserial."""

    def __init__(self, port: str, baud: int):
        require_tool("serial")
        import serial  # pyright: ignore[reportMissingModuleSource, reportMissingImports]

        self._failed = (serial.SerialException, OSError)
        try:
            self._port = serial.Serial(port, baud, timeout=0.005, write_timeout=10)
        except (ValueError, *self._failed) as error:
            raise InputError(f"--port: {port!r} was given: {error}; accepted is the serial port of a board") from error

    def __enter__(self) -> "SerialLine":
        return self

    def __exit__(self, *_: object) -> None:
        self._port.close()

    def write(self, data: bytes) -> None:
        """Send all of `data`."""
        try:
            self._port.write(data)
        except self._failed as error:
            raise LinkError(f"the serial port failed: {error}; is the board still there?") from error

    def read(self) -> bytes:
        """What has come in; waits for at most 5 ms."""
        try:
            return self._port.read(max(1, min(READ_BYTES, self._port.in_waiting)))
        except self._failed as error:
            raise LinkError(f"the serial port failed: {error}; is the board still there?") from error


def play(
    project: Project,
    line: Transport,
    *,
    inputs: int | None = None,
    baud: int = 1_000_000,
    progress: Callable[[str, float | None], None] = lambda text, share: None,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Any]:
    """Play test inputs of `project` over `line`; returns counts, mismatches and accuracy.

    Raises
    ------
    InputError
        If the board runs another core, or there are no such inputs.
    LinkError
        If the board does not answer.
    """
    plan = project.plan
    link = LinkFormat.of(plan)
    progress("reference", None)
    given = project.inputs(inputs)
    trace = simulate(project.network, given.spikes, current=given.current)
    expected = expected_streams(plan, trace)
    words = stimulus_words(plan, given.spikes, given.current)
    frame_s = 10 * MAX_PAYLOAD / baud
    session = Session(
        link, words, {name: len(stream) for name, stream in expected.items()},
        retry_s=max(RETRY_S, 8 * frame_s), nonce=os.urandom(1)[0],
        progress=lambda share: progress("playing", share),
    )  # fmt: skip
    started = clock()
    while not session.done:
        data = session.poll(clock())
        if data:
            line.write(data)
        session.feed(line.read())
    seconds = clock() - started
    report = session.report
    assert report is not None
    mismatches = {name: _differing(session.outputs[name], stream) for name, stream in expected.items()}
    return {
        "name": project.config.name,
        "core": plan.hash,
        "inputs": len(given.spikes),
        "seconds": round(seconds, 3),
        "inputs_per_s": round(len(given.spikes) / seconds, 2) if seconds else None,
        "words": {name: len(stream) for name, stream in session.outputs.items()},
        "mismatches": mismatches,
        "accuracy": _accuracy(plan, session.outputs, given.labels),
        "line": {
            "resent": session.resent,
            "corrupt_from_board": session.corrupt,
            "corrupt_to_board": report.corrupt,
            "without_stop_bit": report.line_errors,
        },
        "dropped_events": report.dropped,
        "image_refused": report.load_refused,
    }


def _differing(found: list[int], expected: list[int]) -> int:
    """Words that are not as expected; missing and surplus ones count."""
    same = sum(a == b for a, b in zip(found, expected, strict=False))
    return max(len(found), len(expected)) - same


def _accuracy(plan: Any, outputs: dict[str, list[int]], labels: np.ndarray | None) -> float | None:
    """Share of the decisions that equal the labels."""
    if labels is None or "decision" not in outputs:
        return None
    from ..items import address_bits

    index = np.array(outputs["decision"]) & ((1 << address_bits(plan.network.outputs)) - 1)
    if len(index) != len(labels):
        return None
    return float((index == labels).mean())
