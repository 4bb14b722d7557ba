"""An artificial network as a spiking one, of integrate-and-fire or of stochastic neurons, and how well the two agree.

An artificial layer computes x_l = f(z), z = W x_(l-1) + b, from inputs of 0 to 1; a spiking one should spike with a
rate that follows x_l.

- relu to integrate-and-fire: a rate cannot pass 1, so each layer is scaled by lambda_l, a percentile of its activations
  on some data: W <- W lambda_(l-1) / lambda_l, b <- b / lambda_l, threshold 1, reset by subtraction. (Diehl et al.,
  IJCNN 2015; Rueckauer et al., Front. Neurosci. 11:682, 2017.) Outputs that are not rectified are taken as if they
  were.
- cloglog to stochastic neurons: x_l is the probability of a spike, f(z) = 1 - exp(-exp(z)), so nothing is scaled; a
  threshold of 1 and a width of 1 make the bias b + 1 - ln ln 2. A rate is right where its inputs are: spikes of a step
  are 0 or 1, so the mean of f over them is not f of their mean, the more so the deeper the layer.

Pools stay what they are, sums of windows whose weights have been divided by their size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..errors import InputError
from .connections import FloatConnection
from .float_network import HALF, FloatLayer, FloatNetwork, simulate_float
from .stochastic import cloglog

__all__ = ["ArtificialLayer", "ConversionReport", "activations", "compare", "convert"]

Activation = Literal["relu", "cloglog"]


@dataclass(frozen=True, kw_only=True, eq=False)
class ArtificialLayer:
    """One layer: `connection` from the layer before, `bias` [neurons]."""

    name: str
    connection: FloatConnection
    bias: np.ndarray


@dataclass(frozen=True, kw_only=True)
class ConversionReport:
    """How a spiking network follows its artificial one.

    Attributes
    ----------
    correlation : dict
        By layer: Pearson's, between activations and spike rates, over all neurons and inputs.
    artificial_accuracy : float
    accuracy : dict
        By number of steps.
    """

    correlation: dict[str, float]
    artificial_accuracy: float
    accuracy: dict[int, float]


def activations(layers: Sequence[ArtificialLayer], x: np.ndarray, activation: Activation) -> list[np.ndarray]:
    """x_l float64 [B, neurons] of every layer, of inputs [B, inputs]."""
    _check(layers, activation)
    found = []
    for layer in layers:
        z = (layer.connection.matrix @ np.asarray(x, np.float64).T).T + layer.bias
        x = np.maximum(z, 0.0) if activation == "relu" else cloglog(z)
        found.append(x)
    return found


def convert(
    layers: Sequence[ArtificialLayer],
    activation: Activation,
    *,
    data: np.ndarray | None = None,
    percentile: float = 99.9,
    seed: int = 0,
    name: str = "converted",
) -> FloatNetwork:
    """The spiking network: integrate-and-fire for relu, stochastic neurons for cloglog.

    Parameters
    ----------
    data : [B, inputs], for relu
        Inputs that the scales of the layers are measured on.
    percentile : float
        Of the activations of a layer that become a rate of 1.
    seed : int
        Of the random words.

    Raises
    ------
    InputError
        For relu without data, a layer that is silent on them, and values outside what is accepted.
    """
    _check(layers, activation)
    if activation == "cloglog":
        made = [
            FloatLayer(
                name=layer.name,
                connections=(layer.connection,),
                bias=np.asarray(layer.bias) + 1.0 - HALF,
                threshold=1.0,
                cloglog=1.0,
            )
            for layer in layers
        ]
        return FloatNetwork(name=name, layers=tuple(made), dt=1.0, seed=seed)
    if data is None or not len(data):
        raise InputError("data: none were given; accepted for relu: inputs that the scales of its layers come from")
    if not 0 < percentile <= 100:
        raise InputError(f"percentile: {percentile!r} was given; accepted is above 0 to 100")
    before, made = 1.0, []
    for layer, x in zip(layers, activations(layers, data, activation), strict=True):
        scale = float(np.percentile(x, percentile))
        if scale <= 0:
            raise InputError(f"layer {layer.name!r}: silent on all data; accepted is a layer whose neurons are active")
        given = layer.connection
        connection = FloatConnection(
            weights=given.weights * (before / scale), source=given.source, source_shape=given.source_shape,
            pool=given.pool, stride=given.stride, padding=given.padding, groups=given.groups,
        )  # fmt: skip
        made.append(
            FloatLayer(
                name=layer.name,
                connections=(connection,),
                bias=np.asarray(layer.bias) / scale,
                threshold=1.0,
                reset="subtract",
                fires_above=False,
            )
        )
        before = scale
    return FloatNetwork(name=name, layers=tuple(made), dt=1.0, seed=seed)


def compare(
    layers: Sequence[ArtificialLayer],
    activation: Activation,
    network: FloatNetwork,
    values: np.ndarray,
    spikes: np.ndarray,
    labels: np.ndarray,
    *,
    shown: Sequence[int] = (1, 2, 5, 10, 20, 50, 100),
) -> ConversionReport:
    """Both networks on the same inputs: `values` [B, inputs], and coded as `spikes` [B, T, inputs].

    Decisions are the most spikes; ties go to the lowest index.
    """
    wanted = activations(layers, values, activation)
    trace = simulate_float(network, spikes)
    correlation = {}
    for layer, x, fired in zip(layers, wanted, trace.spikes, strict=True):
        rates = fired.mean(axis=1)
        constant = np.ptp(x) == 0 or np.ptp(rates) == 0
        correlation[layer.name] = 0.0 if constant else float(np.corrcoef(x.ravel(), rates.ravel())[0, 1])
    counts = trace.spikes[-1].cumsum(axis=1, dtype=np.int64)
    return ConversionReport(
        correlation=correlation,
        artificial_accuracy=float((wanted[-1].argmax(axis=1) == labels).mean()),
        accuracy={
            steps: float((counts[:, steps - 1].argmax(axis=1) == labels).mean())
            for steps in shown
            if steps <= spikes.shape[1]
        },
    )


def _check(layers: Sequence[ArtificialLayer], activation: str) -> None:
    if activation not in ("relu", "cloglog"):
        raise InputError(f"activation: {activation!r} was given; accepted: relu, cloglog")
    if not layers:
        raise InputError("layers: none was given; accepted: at least one")
