"""The vectors that every bench plays: stimulus words of a core, and the words that the reference says must come out."""

import numpy as np

from .items import AddressMap, address_bits, encode_events
from .mapping.image import image_words, stream_words
from .mapping.plan import CorePlan
from .network.reference import Trace

__all__ = ["LOAD", "expected_streams", "load_flag", "load_stream", "stimulus_words"]

LOAD = 1 << 32
"""Set in a stimulus word that goes to the load port instead of `events_in`; see `load_flag`."""


def load_flag(event_bits: int) -> int:
    """`LOAD`, or the bit above 64 where an event word of `event_bits` bits is longer than 32."""
    return LOAD if event_bits <= 32 else 1 << 64


def stimulus_words(plan: CorePlan, spikes: np.ndarray, current: np.ndarray | None = None) -> list[int]:
    """What a bench plays for the inputs `spikes` [B, T, inputs]: images and events, in order.

    A core that loads gets its network first, but one that streams its weights, whose load port is fed beside the
    events (`load_stream`); with `current` [B, neurons of the first layer] each input is preceded by
    its biases.
    """
    load = load_flag(plan.input_slots.bits)
    words = [load | word for word in image_words(plan)] if plan.loads and not plan.streams else []
    addressing = AddressMap(plan.network.input_shape)
    for b in range(len(spikes)):
        if current is not None:
            words += [load | word for word in image_words(plan, current=current[b])]
        words += encode_events(spikes[b : b + 1], addressing, slots=plan.input_slots)[0].tolist()
    return words


def load_stream(plan: CorePlan) -> tuple[list[int], list[int]]:
    """What the load port of a core that streams its weights gets: words at first, and words again and again.

    Both are empty for every other core.
    """
    return (image_words(plan), stream_words(plan)) if plan.streams else ([], [])


def expected_streams(plan: CorePlan, trace: Trace) -> dict[str, list[int]]:
    """Payload words of every output stream (but the probes), in order, as the reference has them."""
    addressing = AddressMap(plan.network.layers[-1].shape)
    streams = {"events_out": encode_events(trace.spikes[-1], addressing, leaving=True)[0].tolist()}
    index_bits = address_bits(plan.network.outputs)
    if plan.decision != "none":
        streams["decision"] = [
            int(index) | _decision_value(plan, trace, b, int(index)) << index_bits
            for b, index in enumerate(trace.decision(plan.decision))
        ]
    if trace.readout is not None:
        shown = trace.readout if plan.core.readout == "tick" else trace.readout[:, -1:]
        bits = plan.network.layers[-1].potential_bits
        _, steps, neurons = shown.shape
        mask = (1 << bits) - 1
        streams["readout"] = [
            n | (int(value) & mask) << index_bits | int(t == steps - 1 and n == neurons - 1) << (index_bits + bits)
            for sample in shown
            for t, values in enumerate(sample)
            for n, value in enumerate(values)
        ]
    return streams


def _decision_value(plan: CorePlan, trace: Trace, b: int, index: int) -> int:
    """Second field of the decision of input b, as unsigned bits."""
    if plan.decision == "value":
        assert trace.readout is not None
        return int(trace.readout[b, -1, index]) & ((1 << plan.network.layers[-1].potential_bits) - 1)
    if plan.decision == "count":
        return min(int(trace.counts[b, index]), (1 << plan.steps.bit_length()) - 1)
    fired = np.flatnonzero(trace.spikes[-1][b].any(axis=1))
    none = (1 << (plan.steps.bit_length() + 1)) - 1
    return int(fired[0]) if len(fired) else none
