"""An independent oracle of the integer network: one neuron, one event at a time, in Python integers.

Written from the equations of the design's section "The integer network is the definition of correct" and nothing
else: this file imports nothing of the project, and nothing that could compute for it. A layer is a dict::

    weights    list of lists, [neuron][source]          theta           int, or None for a read-out
    bias       list, [neuron]                           r               int, what a subtracting reset takes off
    leak       ("none",) ("linear", d)                  reset           "zero" "subtract" "delayed_zero"
               ("shift", k) ("shift", k1, k2)                           "delayed_subtract" "none"
               ("multiply", m, f)                       potential_bits  int
    stochastic (table, shift, seed, stream), only of neurons that spike at random; their potential is z8

and, where the layer has it::

    current     (bits, leak, whether the bias enters the current)      refractory  steps of rest behind a spike
    adaptation  (bits, leak, increment)

It checks nothing that it is given.
"""

from dataclasses import dataclass, field


@dataclass
class Answer:
    """What happened: spikes and potentials [layer][input][step][neuron]; extremes of each accumulator on the way.

    `lowest[layer][neuron]` and `highest[layer][neuron]` cover the accumulator after the leak and after every single
    term that was added to it, and the stored potential.
    """

    spikes: list = field(default_factory=list)
    potentials: list = field(default_factory=list)
    lowest: list = field(default_factory=list)
    highest: list = field(default_factory=list)


def leaked(v, leak):
    """u = leak(v)."""
    kind, *numbers = leak
    if kind == "linear":
        sign = (v > 0) - (v < 0)
        return v - sign * min(abs(v), numbers[0])
    if kind == "shift":
        return v - sum(v // 2**k for k in numbers)  # // floors
    if kind == "multiply":
        m, f = numbers
        return v * m // 2**f
    return v


def extremes(lowest, highest, n):
    """A function that widens lowest[n] .. highest[n] to every value it is told."""

    def note(value):
        lowest[n], highest[n] = min(lowest[n], value), max(highest[n], value)

    return note


def random_word(seed, stream, neuron, step):
    """Eight rounds of Speck32/64 on (step mod 2^16, neuron), with step div 2^16 added after four of them."""

    def rotated(word, places):
        return (word << places) % 2**16 + (word % 2**16 >> (16 - places))

    key, others = seed % 2**16, [seed // 2**16, stream, 0x736C]
    x, y = step % 2**16, neuron
    for number in range(8):
        if number == 4:
            x = x ^ (step // 2**16)
        x = (rotated(x, 9) + y) % 2**16 ^ key  # to the right by 7 is to the left by 9
        y = rotated(y, 2) ^ x
        others.append((rotated(others[number], 9) + key) % 2**16 ^ number)
        key = rotated(key, 2) ^ others[-1]
    return x


def step_of_neuron(layer, neuron, state, events, current, order, note):
    """One step of one neuron: its spike. `state` holds its "v", "i", "b", "rest" and "step", and is changed.

    `events` lists the sources in any order, one entry per spike; `order` rearranges the terms of the sum (the bias is
    one of them); `note` is told every value of the accumulator.
    """
    theta, r = layer["theta"], layer["r"]
    low, high = -(2 ** (layer["potential_bits"] - 1)), 2 ** (layer["potential_bits"] - 1) - 1
    v = state["v"]

    u = 0 if "stochastic" in layer else leaked(v, layer["leak"])
    if layer["reset"] == "delayed_zero" and v >= theta:
        u = 0
    if layer["reset"] == "delayed_subtract" and v >= theta:
        u = u - r
    note(u)

    beside, terms = [layer["bias"][neuron], current], [layer["weights"][neuron][source] for source in events]
    if "current" in layer:
        bits, leak, takes_bias = layer["current"]
        i = leaked(state["i"], leak) + sum(order(terms + beside * takes_bias))
        state["i"] = min(max(i, -(2 ** (bits - 1))), 2 ** (bits - 1) - 1)
        terms = [state["i"]]
        beside = [] if takes_bias else beside
    for term in order(beside + terms):
        u = u + term
        note(u)

    if "stochastic" in layer:
        table, shift, seed, stream = layer["stochastic"]
        z8 = min(max(u // 2**shift, -128), 127)
        state["v"], step = z8, state["step"]
        state["step"] = step + 1
        return 1 if table[z8 + 128] > random_word(seed, stream, neuron, step) else 0

    u = min(max(u, low), high)
    if theta is None:
        note(u)
        state["v"] = u
        return 0
    spike = 1 if u >= theta + state["b"] else 0
    if state["rest"] > 0:
        spike = 0
    if spike and layer["reset"] == "zero":
        u = 0
    if spike and layer["reset"] == "subtract":
        u = u - r
    if state["rest"] > 0:
        u = 0
    note(u)
    state["v"] = u
    state["rest"] = max(state["rest"] - 1, 0)
    if spike:
        state["rest"] = layer.get("refractory", 0)
    if "adaptation" in layer:
        bits, leak, increment = layer["adaptation"]
        state["b"] = min(max(leaked(state["b"], leak) + increment * spike, 0), 2**bits - 1)
    return spike


def at_rest():
    """The state of a neuron at the start."""
    return {"v": 0, "i": 0, "b": 0, "rest": 0, "step": 0}


def simulate(layers, inputs, *, state="clear", currents=None, order=list):
    """Run a chain of layers on `inputs`, [input][step][source] spike counts; `currents` is [input][neuron].

    The step of a later layer uses the spikes of the same step of the layer before it. `order(terms)` returns the
    terms of a sum in the order in which they shall be added.
    """
    answer = Answer()
    arriving = inputs
    for depth, layer in enumerate(layers):
        neurons = range(len(layer["weights"]))
        lowest, highest = [0 for _ in neurons], [0 for _ in neurons]
        all_spikes, all_potentials = [], []
        states = [at_rest() for _ in neurons]
        for number, steps in enumerate(arriving):
            if state == "clear":
                states = [at_rest() for _ in neurons]
            spikes, potentials = [], []
            for counts in steps:
                events = [source for source, count in enumerate(counts) for _ in range(count)]
                fired = []
                for n in neurons:
                    note = extremes(lowest, highest, n)
                    current = currents[number][n] if currents is not None and depth == 0 else 0
                    fired.append(step_of_neuron(layer, n, states[n], events, current, order, note))
                spikes.append(fired)
                potentials.append([each["v"] for each in states])
            all_spikes.append(spikes)
            all_potentials.append(potentials)
        answer.spikes.append(all_spikes)
        answer.potentials.append(all_potentials)
        answer.lowest.append(lowest)
        answer.highest.append(highest)
        arriving = all_spikes
    return answer


def decide(kind, spikes, potentials):
    """The class of one input from its last layer: [step][neuron] spikes and potentials; ties to the lowest index."""
    neurons = len(spikes[0])
    if kind == "count":
        score = [sum(step[n] for step in spikes) for n in range(neurons)]
    elif kind == "first":
        steps = len(spikes)
        score = [max([steps - t for t in range(steps) if spikes[t][n]], default=0) for n in range(neurons)]
    else:
        score = potentials[-1]
    return min(range(neurons), key=lambda n: (-score[n], n))
