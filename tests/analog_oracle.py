"""Slow second implementations of the analog models, written from the circuit: node by node, and by numeric integration.

They know Kirchhoff's law and nothing of the package that they judge.
"""

import itertools

import numpy as np
from scipy.integrate import solve_ivp
from scipy.sparse import csc_matrix
from scipy.sparse.linalg import spsolve


class Circuit:
    """Resistors between named nodes and fixed potentials, solved at once."""

    def __init__(self):
        self.names, self.rows, self.columns, self.values, self.right = {}, [], [], [], {}

    def node(self, name):
        return self.names.setdefault(name, len(self.names))

    def resistor(self, p, q, siemens):
        """Between nodes; a number instead of a name is a fixed potential."""
        ends = [p, q]
        for this, other in (ends, ends[::-1]):
            if isinstance(this, (int, float)):
                continue
            k = self.node(this)
            self.rows.append(k), self.columns.append(k), self.values.append(siemens)
            if isinstance(other, (int, float)):
                self.right[k] = self.right.get(k, 0.0) + siemens * other
            else:
                self.rows.append(k), self.columns.append(self.node(other)), self.values.append(-siemens)

    def solve(self):
        size = len(self.names)
        right = np.zeros(size)
        for k, value in self.right.items():
            right[k] = value
        solution = spsolve(
            csc_matrix((self.values, (self.rows, self.columns)), shape=(size, size)), right, permc_spec="MMD_AT_PLUS_A"
        )
        return {name: solution[k] for name, k in self.names.items()}


def row_driven(g, v, r_wl, r_bl):
    """Column currents of an array with rows driven from the left and virtual grounds below."""
    rows, columns = g.shape
    circuit = Circuit()
    for i in range(rows):
        for j in range(columns):
            circuit.resistor(float(v[i]) if j == 0 else ("w", i, j - 1), ("w", i, j), 1 / r_wl)
            circuit.resistor(("w", i, j), ("b", i, j), g[i, j])
            circuit.resistor(("b", i, j), 0.0 if i == rows - 1 else ("b", i + 1, j), 1 / r_bl)
    nodes = circuit.solve()
    return np.array([nodes["b", rows - 1, j] / r_bl for j in range(columns)])


def gated(g, v, active, r_bl):
    """Column currents of an array whose cells conduct where their row is active; ideal source lines."""
    rows, columns = g.shape
    circuit = Circuit()
    for j in range(columns):
        for i in range(rows):
            if active[i] and g[i, j] > 0:
                circuit.resistor(float(v[i]), ("b", i, j), g[i, j])
            circuit.resistor(("b", i, j), 0.0 if i == rows - 1 else ("b", i + 1, j), 1 / r_bl)
    nodes = circuit.solve()
    return np.array([nodes["b", rows - 1, j] / r_bl for j in range(columns)])


def passive(g, r_wl, r_bl, row_voltage, column_voltage):
    """Currents out of the columns of an array; None in a list of voltages is a floating line."""
    rows, columns = g.shape
    circuit = Circuit()
    for i in range(rows):
        for j in range(columns):
            if j:
                circuit.resistor(("w", i, j - 1), ("w", i, j), 1 / r_wl)
            elif row_voltage[i] is not None:
                circuit.resistor(float(row_voltage[i]), ("w", i, 0), 1 / r_wl)
            circuit.resistor(("w", i, j), ("b", i, j), g[i, j])
            if i < rows - 1:
                circuit.resistor(("b", i, j), ("b", i + 1, j), 1 / r_bl)
            elif column_voltage[j] is not None:
                circuit.resistor(("b", i, j), float(column_voltage[j]), 1 / r_bl)
    nodes = circuit.solve()
    return {
        j: (nodes["b", rows - 1, j] - column_voltage[j]) / r_bl for j in range(columns) if column_voltage[j] is not None
    }


def neuron_spikes(neuron, pulses, window, threshold=None):
    """Spike times of one neuron by numeric integration of du/dt = I(t) / C - u / RC.

    `pulses` is a list of (start, stop, ampere). Works from corner to corner of I(t), with the threshold as an event.
    """
    theta = neuron.threshold if threshold is None else threshold
    corners = sorted({0.0, window} | {t for start, stop, _ in pulses for t in (start, stop) if t < window})
    leak = neuron.leak_resistance
    u, mode, until, spikes = 0.0, "on", 0.0, []  # mode: on, held (nothing happens until `until`), closed (reset switch)
    for begin, end in itertools.pairwise(corners):
        middle = (begin + end) / 2
        current = neuron.bias_current + sum(i for start, stop, i in pulses if start <= middle < stop)
        t = begin
        while t < end:
            if mode == "held":
                if until >= end:
                    break
                t, mode = until, "on"
            resistance = neuron.switch_resistance if mode == "closed" else np.inf

            def slope(_, u, current=current, resistance=resistance):
                lost = u / resistance + (u / leak if leak else 0.0)
                return (current - lost) / neuron.capacitance

            goal = theta if mode == "on" else neuron.release

            def crossing(_, u, goal=goal):
                return u[0] - goal

            crossing.terminal, crossing.direction = True, 1 if mode == "on" else -1
            scale = end - t if mode == "on" else min(end - t, resistance * neuron.capacitance / 4)
            found = solve_ivp(slope, (t, end), [u], events=crossing, rtol=1e-10, atol=1e-14, max_step=scale)
            t, u = found.t[-1], found.y[0, -1]
            if found.status != 1:
                continue
            if mode == "on":
                spikes.append(t)
                if neuron.reset == "timed":
                    u, mode, until = 0.0, "held", t + neuron.reset_time + neuron.dead_time
                else:
                    mode, u = "closed", theta
            else:
                u, mode, until = neuron.release, "held", t + neuron.dead_time
    return np.array(spikes)
