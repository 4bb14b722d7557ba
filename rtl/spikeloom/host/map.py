"""The registers of a hosted core: what there is follows from the plan. Pure Python."""

import re

from ..errors import InputError
from ..items import AddressMap, address_bits
from ..mapping.plan import CorePlan
from .registers import REGISTER_BITS, Field, Register, RegisterMap, layout

__all__ = [
    "COUNTERS",
    "COUNTER_BITS",
    "HOST_MAGIC",
    "MAP_VERSION",
    "QUEUE_DEPTH",
    "host_registers",
    "index_bits",
    "parameter_registers",
]

HOST_MAGIC = 0x48_4B_50_53  # "SPKH" as four little-endian bytes
MAP_VERSION = (1, 0)
"""Version of the register map: a change of meaning raises the first number, an addition the second."""
QUEUE_DEPTH = 8
"""Items that the queue behind each register port holds."""
COUNTER_BITS = 48

RESULTS_BASE, COUNTERS_BASE, PARAMETERS_BASE = 0x080, 0x100, 0x200
"""Where these groups of registers begin."""

DECISIONS = ("none", "count", "first", "value")
SOURCES = (("stream", 0), ("registers", 1), ("discard", 2))
SINKS = SOURCES


COUNTERS = {
    "inputs_done": "inputs that were answered: their last tick, or the last value of their read-out, has left",
    "spikes_in": "spikes that the core took, also those with an address that no neuron listens to",
    "ticks_in": "ticks that the core took: time steps",
    "spikes_out": "spikes of the last layer",
    "cycles_busy": "cycles with an input under way",
    "stalls_in": "cycles in which an event was offered to the running core and not taken",
    "stalls_out": "cycles in which the core offered an event, an answer or a value that was not taken",
}
"""Names and meanings of the counters."""


def index_bits(plan: CorePlan) -> int:
    """Bits of what tells outputs apart in results: an event address, of a read-out the number of a neuron."""
    last = plan.network.layers[-1]
    return address_bits(plan.network.outputs) if last.threshold is None else AddressMap(last.shape).bits


def parameter_registers(plan: CorePlan) -> dict[tuple[str, str], tuple[int, int]]:
    """The loaded parameter registers that have an address: (layer, parameter) -> (bits, value), in order.

    Those of a core that streams its weights are written by images only.
    """
    if plan.folded is not None and plan.folded.half is not None:
        return {}
    return {
        (entry.name, name): (bits, int(value))
        for entry in plan.layers
        for name, (bits, value) in entry.registers.items()
    }


def host_registers(plan: CorePlan, name: str) -> RegisterMap:
    """The register map of the core of `plan`.

    Raises
    ------
    InputError
        Where an event, index or value of the core does not fit a register.
    """
    entrance, exit_ = AddressMap(plan.network.input_shape), AddressMap(plan.network.layers[-1].shape)
    fires = plan.network.layers[-1].threshold is not None
    decision = plan.decision
    loads = plan.loads and plan.load_bits == REGISTER_BITS
    value_bits, number_bits = plan.network.layers[-1].potential_bits, index_bits(plan)
    if plan.input_slots.events > 1:
        raise InputError(
            f"core.events_per_cycle: {plan.input_slots.events} was given; accepted is 1: "
            "a register hands over one event"
        )
    for what, bits in (("an input event", entrance.bits + 2), ("an output event", exit_.bits + 2)):
        if bits > REGISTER_BITS - 1:
            raise InputError(f"{what} has {bits} bits; accepted are {REGISTER_BITS - 1}, what a register holds")
    if not fires and value_bits > REGISTER_BITS:
        raise InputError(f"values of {value_bits} bits were given; accepted are up to {REGISTER_BITS}")
    registers: list[Register] = []

    def add(name: str, address: int, access, doc: str, *fields: Field, **options) -> None:
        placed = fields if any(field.offset for field in fields) else layout(fields)
        registers.append(Register(name=name, address=address, access=access, doc=doc, fields=tuple(placed), **options))

    def constant(name: str, address: int, doc: str, *fields: Field) -> None:
        add(name, address, "ro", doc, *fields, constant=True)

    core = int(plan.hash, 16)
    constant("magic", 0x00, "What this is.", _word("magic", HOST_MAGIC, '"SPKH", lowest byte first'))
    constant(
        "version",
        0x04,
        "Version of this register map.",
        Field(name="minor", bits=16, reset=MAP_VERSION[1], doc="rises with each addition"),
        Field(name="major", bits=16, reset=MAP_VERSION[0], doc="rises where a meaning changes"),
    )
    constant("hash_low", 0x08, "The core, low half.", _word("hash", core & 0xFFFF_FFFF, "what images are made for"))
    constant("hash_high", 0x0C, "The core, high half.", _word("hash", core >> 32, "what images are made for"))
    constant(
        "capabilities",
        0x10,
        "What the core has.",
        Field(name="fires", bits=1, reset=int(fires), doc="the last layer fires; 0: it is a read-out"),
        Field(
            name="decision",
            bits=2,
            reset=DECISIONS.index(decision),
            doc="what the decision unit looks at",
            values=tuple((kind, n) for n, kind in enumerate(DECISIONS)),
        ),
        Field(name="loads", bits=1, reset=int(plan.loads), doc="there is something to load"),
        Field(name="load_register", bits=1, reset=int(loads), doc="images can be loaded through load_data"),
        Field(name="input_bits", bits=6, reset=entrance.bits, doc="address bits of an input event"),
        Field(name="output_bits", bits=6, reset=exit_.bits, doc="address bits of an output event"),
    )
    constant("inputs", 0x14, "Input neurons.", _word("inputs", plan.network.inputs, "number of input neurons"))
    constant("outputs", 0x18, "Output neurons.", _word("outputs", plan.network.outputs, "number of output neurons"))
    constant("steps", 0x1C, "Time steps.", _word("steps", plan.steps, "steps of one input that the core was built for"))

    sinks = [Field(name="events_sink", bits=2, doc="where output events go", values=SINKS)]
    if decision != "none":
        sinks.append(Field(name="answers_sink", bits=2, doc="where answers of the decision unit go", values=SINKS))
    if not fires:
        sinks.append(Field(name="values_sink", bits=2, doc="where values of the read-out go", values=SINKS))
    if loads:
        sinks.append(
            Field(name="load_source", bits=1, doc="where image words come from", values=SOURCES[:2]),
        )
    add(
        "control",
        0x20,
        "rw",
        "How the core runs. Change a source or sink while nothing is under way.",
        Field(name="run", bits=1, doc="1: input events enter the core; 0: they wait in front of it"),
        Field(
            name="events_source", bits=2, doc="where input events come from; discard: they are dropped", values=SOURCES
        ),
        *sinks,
    )
    add(
        "command",
        0x24,
        "pulse",
        "Acts once.",
        Field(name="soft_reset", bits=1, doc="core, queues and results as after power-up"),
        Field(name="clear_counters", bits=1, doc="all counters to 0"),
    )
    status = [
        Field(name="inside", bits=1, doc="an input has begun and its last tick has not been taken"),
        Field(name="in_flight", bits=8, doc="inputs that have begun and are not answered"),
        Field(
            name="dropped", bits=8, doc="input events whose address no neuron listens to, up to 255, since soft reset"
        ),
    ]
    if plan.loads:
        status += [
            Field(name="load_refused", bits=1, doc="the latest image was for another core, or damaged"),
            Field(name="load_complete", bits=1, doc="the latest image was taken whole"),
        ]
    if parameter_registers(plan):
        status.append(Field(name="parameters_pending", bits=1, doc="a parameter was written and waits to be loaded"))
    add("status", 0x28, "ro", "What goes on.", *status)
    flags = [
        Field(name="input_done", bits=1, doc="an input was answered"),
        Field(name="address_dropped", bits=1, doc="an input event had an address that no neuron listens to"),
    ]
    if plan.loads:
        flags += [
            Field(name="load_refused", bits=1, doc="an image was refused"),
            Field(name="load_complete", bits=1, doc="an image was taken whole"),
        ]
    add("flags", 0x2C, "w1c", "What happened; write 1 to clear.", *flags)
    add(
        "interrupts",
        0x30,
        "rw",
        "Which flags raise the interrupt.",
        *[Field(name=flag.name, bits=1, doc=f"interrupt while flags.{flag.name} is 1") for flag in flags],
    )

    event = _event_fields(entrance.bits)
    add("event_in", 0x40, "push", "Hands an event to the core: a spike, or a tick.", *event)
    add(
        "event_room",
        0x44,
        "ro",
        "Room behind event_in.",
        _level("room", "events that event_in takes before it refuses"),
    )
    add(
        "event_out",
        0x48,
        "ro",
        "The oldest output event that was not read.",
        *_event_fields(exit_.bits),
        _valid(),
        effect="takes the event",
    )
    if decision != "none":
        add(
            "answer",
            0x4C,
            "ro",
            "The oldest answer of the decision unit that was not read.",
            Field(name="index", bits=number_bits, doc="address of the answering output"),
            _valid(),
            effect="takes the answer and shows its value in answer_value",
        )
        add(
            "answer_value",
            0x50,
            "ro",
            "What came with the answer.",
            _word("step", 0, f"step of the first spike; {_silent(plan):#x}: no spike")
            if decision == "first"
            else _value(signed=decision == "value"),
        )
    if not fires:
        add(
            "readout",
            0x54,
            "ro",
            "The oldest value of the read-out that was not read.",
            Field(name="index", bits=number_bits, doc="output neuron"),
            Field(name="last", bits=1, offset=30, doc="the last value of an input"),
            _valid(),
            effect="takes the value and shows it in readout_value",
        )
        add("readout_value", 0x58, "ro", "The value.", _value(signed=True))
    if loads:
        add("load_data", 0x60, "push", "Hands an image word to the load port.", _word("word", 0, "the word"))
        add(
            "load_room",
            0x64,
            "ro",
            "Room behind load_data.",
            _level("room", "words that load_data takes before it refuses"),
        )

    what = "spike count" if fires else "value"
    index = Field(name="index", bits=number_bits, doc=f"address of the output whose {what} result_value shows")
    add("result_index", RESULTS_BASE, "rw", "Window on the results of the latest answered input.", index, stored=False)
    add(
        "result_value",
        RESULTS_BASE + 4,
        "ro",
        f"The {what} of output result_index in the latest answered input.",
        _value(signed=not fires),
        effect="steps result_index",
    )
    add(
        "best",
        RESULTS_BASE + 8,
        "ro",
        f"The output with the largest {what} in the latest answered input; of equals the lowest address.",
        Field(name="index", bits=number_bits, doc="its address"),
    )
    add("best_value", RESULTS_BASE + 12, "ro", f"Its {what}.", _value(signed=not fires))
    if fires:
        add(
            "first",
            RESULTS_BASE + 16,
            "ro",
            "The first spike of the latest answered input.",
            Field(name="index", bits=exit_.bits, doc="address of the output that fired first"),
            Field(name="valid", bits=1, offset=31, doc="there was a spike"),
        )
        add("first_step", RESULTS_BASE + 20, "ro", "When it came.", _word("step", 0, "its time step, from 0"))

    for n, (counter, doc) in enumerate(COUNTERS.items()):
        add(
            counter,
            COUNTERS_BASE + 4 * n,
            "ro",
            f"Counts {doc}.",
            _word("low", 0, f"lowest 32 of {COUNTER_BITS} bits"),
            effect="shows the other bits in counter_high",
        )
    add(
        "counter_high",
        COUNTERS_BASE + 4 * len(COUNTERS),
        "ro",
        "Of the counter that was read last, as it was then.",
        Field(name="high", bits=COUNTER_BITS - REGISTER_BITS, doc="the other bits"),
    )
    for n, ((layer, parameter), (bits, value)) in enumerate(parameter_registers(plan).items()):
        add(
            _identifier(f"{layer}_{parameter}"),
            PARAMETERS_BASE + 4 * n,
            "rw",
            f"The {parameter.replace('_', ' ')} of layer {layer}: what the core has, also after an image. A write is "
            "loaded into the core as an image would be, once no input is under way, and clears its potentials.",
            Field(name=parameter, bits=bits, reset=value, doc="the parameter"),
            stored=False,
        )
    names = [register.name for register in registers]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"host: two registers would be called {twice!r}; accepted are other names of layers")
    return RegisterMap(name=name, registers=tuple(registers))


def _identifier(name: str) -> str:
    """`name` as C and Python accept it."""
    name = re.sub(r"[^A-Za-z0-9_]", "_", name)
    return f"layer_{name}" if name[0].isdigit() else name


def _word(name: str, reset: int, doc: str) -> Field:
    return Field(name=name, bits=REGISTER_BITS, reset=reset, doc=doc)


def _value(*, signed: bool) -> Field:
    return Field(name="value", bits=REGISTER_BITS, signed=signed, doc="in two's complement" if signed else "a number")


def _level(name: str, doc: str) -> Field:
    return Field(name=name, bits=QUEUE_DEPTH.bit_length(), doc=doc)


def _valid() -> Field:
    return Field(name="valid", bits=1, offset=31, doc="1: the other fields count; 0: there was none")


def _event_fields(bits: int) -> tuple[Field, ...]:
    return (
        Field(name="address", bits=bits, doc="of the spike; 0 in a tick"),
        Field(name="tick", bits=1, offset=bits, doc="ends a time step"),
        Field(name="last", bits=1, offset=bits + 1, doc="with tick: ends the input"),
    )


def _silent(plan: CorePlan) -> int:
    """What a first-spike decision says where there was none."""
    return (1 << (plan.steps.bit_length() + 1)) - 1
