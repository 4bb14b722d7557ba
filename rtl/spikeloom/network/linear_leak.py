"""Exponential leaks replaced by linear ones: what a step takes off is fitted to the activity of the trained network.

A linear leak takes the same d off every potential, u = v - sign(v) min(abs(v), d), an exponential one a share of it, so
no d does the same; the one that serves depends on the potentials that occur. Over calibration inputs b, neurons j and
steps t::

    layer that fires   d = argmin sum_bj (n_bj(d) - n'_bj)**2           n spikes of an input
    read-out           d = argmin sum_bjt (v_bjt(d) - v'_bjt / scale)**2

The dash is the trained network, in real numbers; n and v are those of the integer layer. Its integers, the d of every
neuron and the rounding of the weights are all part of the fit. Neurons whose decays differ get a d for each decay. Of
equal candidates the smallest is taken.

Layers are fitted in their order, each on the spikes of the converted layers before it, so that it makes up for what
those changed. What comes back over a delay, from the layer itself or a later one, is what the trained network sends.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .calibration import Calibration
from .float_network import FloatLayer, FloatNetwork
from .integer import IntegerLayer, IntegerNetwork, Leak
from .reference import LayerRun, arriving

__all__ = ["LinearFit", "fit_linear_leaks", "search"]

FIT_ELEMENTS = 1 << 21
"""Potentials of the widest layer that a fit looks at: the first calibration inputs, as many as that allows."""
EXHAUSTIVE = 64
"""Up to so many candidates are all tried."""
COARSE, FINE = 32, 12
"""Candidates on a geometric scale, then evenly spaced between the neighbours of the best, until those are adjacent."""


@dataclass(frozen=True, kw_only=True)
class LinearFit:
    """How well a fitted linear leak keeps the activity of a layer.

    Attributes
    ----------
    inputs : int
        Calibration inputs of the fit.
    before, after : float
        Spikes of a neuron in an input, on average, in the trained and in the converted network. Of a read-out: size of
        its potentials, in weight steps.
    difference : float
        Root mean square of what one neuron has more or less in one input (read-out: in one step).
    """

    inputs: int
    before: float
    after: float
    difference: float

    def text(self) -> str:
        """Activity before / after."""
        return f"{self.before:.4g} / {self.after:.4g}"


def fit_linear_leaks(
    network: FloatNetwork,
    layers: Sequence[IntegerLayer],
    scales: Sequence[float],
    chosen: Sequence[str],
    calibration: Calibration,
    state: Literal["clear", "keep"],
) -> tuple[list[IntegerLayer], dict[str, LinearFit]]:
    """The integer layers, those named in `chosen` with a linear leak, and how well each of these does.

    Parameters
    ----------
    network : FloatNetwork
        As it was trained.
    layers : sequence of IntegerLayer
        The same layers in integers, `scales[i]` the real value of the integer 1; leaks of chosen ones are not used.
    chosen : sequence of str
        Names of layers; their decays are below 1.
    calibration : Calibration
    state : str
        `clear` or `keep`.
    """
    steps = calibration.spikes.shape[1]
    widest = max(layer.neurons for layer in layers)
    inputs = min(len(calibration.spikes), max(1, FIT_ELEMENTS // (steps * widest)))
    part = slice(0, inputs)
    trained = calibration.run_float(part, network, state)
    assert trained.potentials is not None
    spikes, done, fits = list(trained.spikes), list(layers), {}
    for index, (real, layer, scale) in enumerate(zip(network.layers, layers, scales, strict=True)):
        draft = IntegerNetwork(name=network.name, layers=tuple(done), state=state)
        run = LayerRun(
            layer,
            arriving(draft, calibration.spikes[part], spikes)[index],
            current=calibration.direct(part, layer) if index == 0 else None,
            state=state,
        )
        leak = layer.leak
        if layer.name in chosen:
            wanted = spikes[index].sum(axis=1, dtype=np.int64) if real.threshold is not None else None
            potentials = trained.potentials[index] / scale
            leak, fit = _fit(run, real, wanted, potentials)
            fits[layer.name] = fit
        done[index] = replace(layer, leak=leak)
        spikes[index] = run.run(leak)[0]
    return done, fits


def _fit(run: LayerRun, real: FloatLayer, wanted: np.ndarray | None, potentials: np.ndarray) -> tuple[Leak, LinearFit]:
    """The leak of one layer from spikes per input [B, neurons] (None: a read-out) and potentials [B, T, neurons]."""
    decays, groups = np.unique(np.broadcast_to(real.decay, (real.neurons,)), return_inverse=True)
    target = potentials if wanted is None else wanted
    theta = 0 if run.layer.threshold is None else int(np.max(run.layer.threshold))

    def leak(amounts: np.ndarray) -> Leak:
        same = (amounts == amounts[0]).all()
        return Leak(kind="linear", amount=int(amounts[0]) if same else tuple(amounts.tolist()))

    def activity(amounts: np.ndarray) -> np.ndarray:
        fired, stored = run.run(leak(amounts))
        return stored if wanted is None else fired.sum(axis=1, dtype=np.int64)

    def error(amounts: np.ndarray) -> np.ndarray:
        missed = (activity(amounts) - target).astype(np.float64) ** 2
        return missed.sum(axis=tuple(range(missed.ndim - 1)))

    top = max(1, theta, int(np.ceil(np.abs(potentials).max())))
    amounts = search(error, groups, len(decays), top)
    got = activity(amounts)
    return leak(amounts), LinearFit(
        inputs=len(target),
        before=float(np.abs(target).mean()),
        after=float(np.abs(got).mean()),
        difference=float(np.sqrt(((got - target).astype(np.float64) ** 2).mean())),
    )


def search(error: Callable[[np.ndarray], np.ndarray], groups: np.ndarray, count: int, top: int) -> np.ndarray:
    """Amounts int64 [neurons] from 1 to `top`, one for each of `count` groups of neurons, with the least error.

    `error(amounts)` gives the error of each neuron, float [neurons], that depends on its own amount alone; `groups` int
    [neurons] are the groups. All amounts are tried where there are at most EXHAUSTIVE; beyond, the search is for an
    error without narrow valleys: COARSE amounts, then FINE between the neighbours of the best.
    """

    def summed(amounts: np.ndarray) -> np.ndarray:  # int [groups] -> float [groups]
        return np.bincount(groups, weights=error(amounts[groups]), minlength=count)

    if top <= EXHAUSTIVE:
        line = np.arange(1, top + 1)
    else:
        line = np.unique(np.rint(np.geomspace(1, top, COARSE)).astype(np.int64))
    tried = np.repeat(line[:, None], count, axis=1)
    while True:
        errors = np.array([summed(amounts) for amounts in tried])
        best, group = errors.argmin(axis=0), np.arange(count)
        low, high = tried[np.maximum(best - 1, 0), group], tried[np.minimum(best + 1, len(tried) - 1), group]
        middle = tried[best, group]
        if np.maximum(high - middle, middle - low).max() <= 1:
            return middle[groups]
        share = np.arange(FINE + 2)[:, None] / (FINE + 1)
        tried = np.rint(low + (high - low) * share).astype(np.int64)
