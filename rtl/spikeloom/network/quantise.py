"""From real numbers to integers: one weight step per layer, and everything else of the layer in that unit.

A layer with weight step d (its "scale") gets::

    w_int = clip(rint(w / d))        bias_int = rint(bias / d)          r_int = rint(theta / d), at least 1
    theta_int = floor(theta / d) + 1 where the layer fires at u > theta, else ceil(theta / d), at least 1

A stochastic layer has no threshold: z8 = (w_int s + bias_int) >> shift stands for z = z_zero + z_step z8, with

    z_step = d 2**shift / width, the largest up to 1/12       z_zero = z_top - 127 z_step, where 1 - P(z_top) = 2**-16
    bias_int = rint((bias - theta) / d + (ln ln 2 - z_zero) width / d) + 2**shift / 2

so an integer potential stands for v / d and the integer network fires exactly where an integer u, times d, passes the
real threshold. Where weights, biases and thresholds are already multiples of one step, as after quantisation-aware
training, nothing is rounded at all. Ratios closer than 1e-6 to an integer count as that integer: files often hold
single precision.
"""

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from ..errors import InputError
from .calibration import Calibration, calibrate
from .connections import Connection
from .float_network import HALF, FloatLayer, FloatNetwork
from .integer import MAX_ADAPTATION_BITS, Adaptation, IntegerLayer, IntegerNetwork, Leak, signed_bits
from .linear_leak import LinearFit, fit_linear_leaks
from .sharing import MOST_LEVELS, share_weights
from .stochastic import LARGEST_STEP, Z_BITS, Z_TOP, Stochastic, cloglog_table

if TYPE_CHECKING:
    from rich.table import Table

__all__ = [
    "Calibration",
    "LayerReport",
    "LeakChoice",
    "QuantisationReport",
    "QuantiseOptions",
    "calibrate",
    "fit_leak",
    "quantise",
]

LeakChoice = Literal["auto", "none", "linear", "shift", "shift2", "multiply"]
LEAK_CHOICES = ("auto", "none", "linear", "shift", "shift2", "multiply")
SCALES = ("max", "mse")
SNAP = 1e-6  # relative; single precision has 6e-8 per operation
GRID_TOLERANCE = 5e-7  # relative, of a weight that is tested for lying on a grid: single precision and one product
RATE_TOLERANCE = 0.1
"""Largest relative error of 1 - decay that leak = "auto" accepts, on top of that of the decay itself."""
MAX_SHIFT = 24
MAX_FRACTION = 24
MAX_CURRENT_BITS = 32
GEOMETRY = ("source", "delay", "source_shape", "pool", "stride", "padding", "groups")
WIDE_BITS = 38
"""Potential width of the run that looks for the smallest lossless one: v * factor of a multiply leak fits 64 bits."""
SATURATED_RATE = 0.95
"""A layer counts as saturated where its neurons fire in at least this share of all steps, taken together."""
PINNED_SHARE = 0.5
"""... or where at least this share of its stored potentials lies at a limit of its width."""
ACTIVITY_WARNING = 0.1  # of the activity before
DEAD_ZONE_WARNING = 0.1  # of the threshold
ADAPTATION_WARNING = 0.05  # of what a spike adds to the threshold
BLOCK_ELEMENTS = 1 << 23  # of recorded potentials at a time

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class QuantiseOptions:
    """Number formats. The first five may also be a mapping from layer name to value; other layers take the default.

    Parameters
    ----------
    weight_bits : int
        2 to 16. Weights lie in -2**(bits - 1) .. 2**(bits - 1) - 1.
    potential_bits : int or "auto"
        2 to 32. "auto": the smallest width that loses nothing on the calibration data after its extremes are
        widened by `margin`, and that holds the threshold. Without calibration data: the smallest that holds the
        threshold and one step in which every excitatory, or every inhibitory, input fires, and one bit more.
    current_bits : int or "auto"
        2 to 32, of a synaptic current. "auto": the smallest that no activity can ever pass: the sum of the weights of
        one sign, summed up over the steps that the current's leak leaves of it; at most 32.
    leak : str or Leak
        "auto": the cheapest of one shift, two shifts and multiply whose decay is within `decay_tolerance` of the
        wanted one, relative, and whose loss per step, 1 - decay, is within 10 %. "shift", "shift2", "multiply": the
        nearest of that kind (multiply: with the fewest fraction bits that are within the same tolerances).
        "linear": what keeps the activity on the calibration data, which it needs, see `linear_leak`. "none". A `Leak`
        is taken as it is. Without a leak to begin with (decay 1) every name gives none, but where no layer that is to
        have a linear leak has one to fit, that is refused. A layer trained with a linear leak keeps it: "auto",
        "linear" or "none".
    scale : str
        "max": the largest weight becomes 2**(bits - 1) - 1, unless all weights are multiples of one step that the
        width can hold: then that step (or the finest fraction of it that fits), so nothing is rounded. "mse": the
        step with the least squared error, which clips large weights.
    state : str
        `clear` or `keep`: the potentials at the end of an input.
    levels : int or None
        2 to 256: a layer keeps that many distinct weights, by k-means; None: all. See `sharing`.
    levels_of : str
        `layer`: each layer has levels of its own; `network`: all layers share them.
    max_count : int
        Most spikes of one input address in one step.
    decay_tolerance : float
        See `leak`; 0.01 is 1 %.
    margin : float
        See `potential_bits`; 0.25 widens the observed extremes by 25 %.
    check : str
        "refuse": a silent or saturated layer is an InputError; "report": it is a warning of the report.

    Raises
    ------
    InputError
        Where a value is outside what is accepted.
    """

    weight_bits: int | Mapping[str, int] = 8
    potential_bits: int | Literal["auto"] | Mapping[str, int | Literal["auto"]] = "auto"
    current_bits: int | Literal["auto"] | Mapping[str, int | Literal["auto"]] = "auto"
    leak: LeakChoice | Leak | Mapping[str, LeakChoice | Leak] = "auto"
    scale: Literal["max", "mse"] | Mapping[str, Literal["max", "mse"]] = "max"
    state: Literal["clear", "keep"] = "clear"
    levels: int | None = None
    levels_of: Literal["layer", "network"] = "layer"
    max_count: int = 1
    decay_tolerance: float = 0.01
    margin: float = 0.25
    check: Literal["refuse", "report"] = "refuse"

    def __post_init__(self):
        def each(key: str, accepted: str, good: Callable[[Any], bool]):
            option = getattr(self, key)
            for layer, value in option.items() if isinstance(option, Mapping) else [(None, option)]:
                if not good(value):
                    where = key if layer is None else f"{key} of layer {layer!r}"
                    raise InputError(f"{where} = {value!r}: accepted is {accepted}")

        each("weight_bits", "an integer from 2 to 16", lambda v: _is_int(v) and 2 <= v <= 16)
        for key in ("potential_bits", "current_bits"):
            each(
                key,
                '"auto" or an integer from 2 to 32',
                lambda v: (_is_int(v) and 2 <= v <= 32) or (isinstance(v, str) and v == "auto"),
            )
        each("leak", f"one of {', '.join(LEAK_CHOICES)}", lambda v: isinstance(v, Leak) or v in LEAK_CHOICES)
        each("scale", f"one of {', '.join(SCALES)}", lambda v: v in SCALES)
        each("state", "one of clear, keep", lambda v: v in ("clear", "keep"))
        each(
            "levels",
            f"an integer from 2 to {MOST_LEVELS}, or None",
            lambda v: v is None or (_is_int(v) and 2 <= v <= MOST_LEVELS),
        )
        each("levels_of", "one of layer, network", lambda v: v in ("layer", "network"))
        each("max_count", "an integer from 1 to 255", lambda v: _is_int(v) and 1 <= v <= 255)
        each("decay_tolerance", "a number from 0 to 1", lambda v: isinstance(v, (int, float)) and 0 <= v <= 1)
        each("margin", "a number from 0 to 10", lambda v: isinstance(v, (int, float)) and 0 <= v <= 10)
        each("check", "one of refuse, report", lambda v: v in ("refuse", "report"))


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """What quantisation did to one layer. Fields that need calibration data are None without it.

    Attributes
    ----------
    scale : float
        Weight step: the real value of the integer 1.
    on_grid : bool
        All weights were multiples of the step: none was rounded.
    weight_error_rms, weight_error_max : float
        Error of the weights, by the rms of the weights and by the largest weight.
    clipped_weights : int
        Weights beyond the range of the width.
    bias_error_max : float
        Largest error of a bias, by the threshold (by the largest bias for a read-out).
    threshold, reset_amount : int or None
        theta and, where the reset subtracts, r; the largest where neurons have their own.
    threshold_wanted : float or None
        theta / scale, not rounded.
    threshold_error : float or None
        abs(rint(theta / scale) - theta / scale) by theta / scale: what rounding does to r.
    leak : str
        Kind and parameters.
    decay_wanted, decay_got : float
        Share of the potential left after a step (linear: at half the threshold; nan for a read-out, which has none);
        the mean over the neurons.
    decay_error : float
        abs(got - wanted) / wanted; abs(got) where 0 is wanted; the largest of all neurons.
    dead_zone : (int, int)
        First and last potential around 0 that the leak never changes: 0 .. 2**k - 1 for a shift by k.
    dead_zone_share : float or None
        Its longer side, by the threshold.
    current_bits, current_leak : int, str or None
        Of a synaptic current.
    adaptation, adaptation_leak : int, str or None
        What a spike adds to the threshold, in weight steps, and how that decays.
    adaptation_error : float or None
        Share of it that the step after a spike takes off too much: what is lost is rounded up to whole weight steps.
    fit : LinearFit or None
        Activity before and after, where a linear leak was fitted.
    potential_low, potential_high : int or None
        Extremes that the calibration data needs (up to the threshold where more makes no difference).
    pinned_share : float or None
        Share of the stored potentials at a limit of the width.
    rate_before, rate_after : float or None
        Spikes per neuron and step.
    silent_before, silent_after : int or None
        Neurons without any spike.
    """

    name: str
    neurons: int
    fan_in: int
    weight_bits: int
    potential_bits: int
    scale: float
    on_grid: bool
    weight_error_rms: float
    weight_error_max: float
    clipped_weights: int
    bias_error_max: float
    threshold: int | None
    threshold_wanted: float | None
    threshold_error: float | None
    reset_amount: int | None
    leak: str
    decay_wanted: float
    decay_got: float
    decay_error: float
    dead_zone: tuple[int, int]
    dead_zone_share: float | None
    current_bits: int | None = None
    current_leak: str | None = None
    adaptation: int | None = None
    adaptation_leak: str | None = None
    adaptation_error: float | None = None
    fit: LinearFit | None = None
    z_step: float | None = None
    potential_low: int | None = None
    potential_high: int | None = None
    pinned_share: float | None = None
    rate_before: float | None = None
    rate_after: float | None = None
    silent_before: int | None = None
    silent_after: int | None = None


@dataclass(frozen=True, kw_only=True)
class QuantisationReport:
    """What quantisation did to a network.

    `accuracy_before`, `accuracy_after` need labels; `agreement` is the share of inputs on which both networks decide
    alike; `samples` and `steps` are those of the calibration data (0 without). `warnings` are sentences for the user.
    """

    network: str
    layers: tuple[LayerReport, ...]
    samples: int = 0
    steps: int = 0
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    agreement: float | None = None
    warnings: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The report as values that `json` writes."""
        report = dataclasses.asdict(self)
        report["layers"] = [{**layer, "dead_zone": list(layer["dead_zone"])} for layer in report["layers"]]
        report["warnings"] = list(self.warnings)
        return report

    def table(self) -> "Table":
        """The report as a rich table, one column per layer."""
        from rich.table import Table  # not for `--help`

        footer = ""
        if self.samples:
            footer = f"on {self.samples} inputs of {self.steps} steps; same decision on {_percent(self.agreement)}"
            if self.accuracy_after is not None:
                before, after = _percent(self.accuracy_before), _percent(self.accuracy_after)
                footer += f"; accuracy {before} before, {after} after"
        table = Table(title=f"Quantisation of {self.network}", caption=footer or None)
        table.add_column("")
        for layer in self.layers:
            table.add_column(layer.name, justify="right")

        def row(title: str, text: Callable[[LayerReport], str]):
            table.add_row(title, *(text(layer) for layer in self.layers))

        row("fan-in x neurons", lambda x: f"{x.fan_in} x {x.neurons}")
        row("weight bits", lambda x: str(x.weight_bits))
        row("weight step", lambda x: f"{x.scale:.6g}")
        row(
            "weight error, rms / largest",
            lambda x: "exact" if x.on_grid else f"{_percent(x.weight_error_rms)} / {_percent(x.weight_error_max)}",
        )
        row("clipped weights", lambda x: str(x.clipped_weights))
        if any(layer.z_step is not None for layer in self.layers):
            row("step of z (stochastic)", lambda x: "-" if x.z_step is None else f"{x.z_step:.6g}")
        row("bias error, largest", lambda x: _percent(x.bias_error_max))
        row("potential bits", lambda x: str(x.potential_bits))
        row("threshold", lambda x: "read-out" if x.threshold is None else str(x.threshold))
        row("reset subtracts", lambda x: "-" if x.reset_amount is None else str(x.reset_amount))
        row("threshold error", lambda x: _percent(x.threshold_error))
        row("leak", lambda x: x.leak)
        row("decay, wanted / got", lambda x: f"{x.decay_wanted:.5f} / {x.decay_got:.5f}")
        row("decay error", lambda x: _percent(x.decay_error))
        if any(layer.fit is not None for layer in self.layers):
            row("fitted: activity before / after", lambda x: "-" if x.fit is None else x.fit.text())
            row("fitted: difference, rms", lambda x: "-" if x.fit is None else f"{x.fit.difference:.3g}")
        if any(layer.current_bits is not None for layer in self.layers):
            row("current bits", lambda x: "-" if x.current_bits is None else str(x.current_bits))
            row("leak of the current", lambda x: x.current_leak or "-")
        if any(layer.adaptation is not None for layer in self.layers):
            row("a spike adds to the threshold", lambda x: "-" if x.adaptation is None else str(x.adaptation))
            row("leak of that", lambda x: x.adaptation_leak or "-")
        row(
            "never decay",
            lambda x: (
                "-"
                if x.leak == "none" or x.dead_zone == (0, 0)
                else f"{x.dead_zone[0]} .. {x.dead_zone[1]}"
                + ("" if x.dead_zone_share is None else f" ({_percent(x.dead_zone_share)} of threshold)")
            ),
        )
        if self.samples:
            row("potentials needed", lambda x: f"{x.potential_low} .. {x.potential_high}")
            row("potentials at a limit", lambda x: _percent(x.pinned_share))
            row("firing rate, before / after", lambda x: f"{_percent(x.rate_before)} / {_percent(x.rate_after)}")
            row(
                "silent neurons, before / after",
                lambda x: "-" if x.threshold is None else f"{x.silent_before} / {x.silent_after}",
            )
        return table


def quantise(
    network: FloatNetwork,
    options: QuantiseOptions | None = None,
    *,
    calibration: Calibration | None = None,
) -> tuple[IntegerNetwork, QuantisationReport]:
    """Turn a trained network into an integer network, and say what that cost.

    Parameters
    ----------
    network : FloatNetwork
    options : QuantiseOptions, optional
    calibration : Calibration, optional
        Inputs that both networks run on: for the widths, the firing rates, the check for silent and saturated
        layers, and with labels the accuracy.

    Returns
    -------
    IntegerNetwork, QuantisationReport

    Raises
    ------
    InputError
        Where an option names a layer that does not exist, a width cannot hold the network, or a layer is silent or
        saturated on the calibration data; the message names the layer.
    """
    options = options or QuantiseOptions()
    _check_names(network, options)
    if calibration is not None and calibration.spikes.shape[2] != network.inputs:
        raise InputError(
            f"calibration data for {calibration.spikes.shape[2]} inputs; accepted are {network.inputs}, the inputs "
            f"of network {network.name!r}"
        )
    drafts = [
        _draft(layer, options, options.max_count if index == 0 else 1, (network.seed, index))
        for index, layer in enumerate(network.layers)
    ]
    if options.levels is not None:
        clustered = share_weights([layer for layer, _ in drafts], options.levels, across=options.levels_of)
        drafts = [(layer, report) for layer, (_, report) in zip(clustered, drafts, strict=True)]
    fitted = _to_fit(network, options, calibration)
    if fitted:
        assert calibration is not None
        drafts = _fit_linear(network, options, drafts, fitted, calibration)
    needs = [_threshold_bits(layer) for layer, _ in drafts]
    for (layer, _), need in zip(drafts, needs, strict=True):
        bits = _option(options.potential_bits, layer.name, "auto")
        if not isinstance(bits, str) and layer.stochastic is None and bits < need:
            raise InputError(
                f"layer {layer.name!r}: potential_bits = {bits} cannot hold its threshold "
                f'{max(_top_threshold(layer), int(np.max(layer.subtracts)))}; accepted is {need} or more, or "auto"'
            )

    ranges: list[tuple[int, int] | None] = [None] * len(drafts)
    if calibration is not None:
        wide = _build(network, options, [layer for layer, _ in drafts])
        measured = _measure(calibration, wide, None)
        for index, ((layer, _), seen) in enumerate(zip(drafts, measured.layers, strict=True)):
            if layer.stochastic is None and min(seen.low - layer.v_min, layer.v_max - seen.high) <= 0:
                raise InputError(
                    f"layer {layer.name!r}: its potentials pass {WIDE_BITS} bits on the calibration data; accepted "
                    "are networks whose leak, reset or input length keep them smaller"
                )
            ranges[index] = (seen.low, seen.high)
    final = []
    for (layer, _), need, seen in zip(drafts, needs, ranges, strict=True):
        bits = _option(options.potential_bits, layer.name, "auto")
        if layer.stochastic is not None:
            bits = layer.potential_bits
        elif isinstance(bits, str):
            bits = max(need, _auto_bits(layer, seen, options.margin), 2)
        final.append(dataclasses.replace(layer, potential_bits=bits))
    integer = _build(network, options, final)

    reports = [
        dataclasses.replace(report, potential_bits=layer.potential_bits)
        for layer, (_, report) in zip(final, drafts, strict=True)
    ]
    result = QuantisationReport(network=network.name, layers=tuple(reports))
    degenerate: list[str] = []
    if calibration is not None:
        before, after = _measure(calibration, None, network, options.state), _measure(calibration, integer, None)
        reports = [
            dataclasses.replace(
                report,
                potential_low=seen[0] if seen else None,
                potential_high=seen[1] if seen else None,
                pinned_share=b.pinned,
                rate_before=None if report.threshold is None else a.rate,
                rate_after=None if report.threshold is None else b.rate,
                silent_before=None if report.threshold is None else a.silent,
                silent_after=None if report.threshold is None else b.silent,
            )
            for report, seen, a, b in zip(reports, ranges, before.layers, after.layers, strict=True)
        ]
        degenerate = [
            text
            for report, a, b in zip(reports, before.layers, after.layers, strict=True)
            for text in _degenerate(report, a, b)
        ]
        if degenerate and options.check == "refuse":
            raise InputError(degenerate[0])
        labels = calibration.labels
        result = dataclasses.replace(
            result,
            layers=tuple(reports),
            samples=calibration.spikes.shape[0],
            steps=calibration.spikes.shape[1],
            agreement=float(np.mean(before.decisions == after.decisions)),
            accuracy_before=None if labels is None else float(np.mean(before.decisions == labels)),
            accuracy_after=None if labels is None else float(np.mean(after.decisions == labels)),
        )
    warnings = tuple(degenerate + [text for report in reports for text in _warnings(report, options)])
    return integer, dataclasses.replace(result, warnings=warnings)


def fit_leak(
    choice: LeakChoice | Leak,
    decay: float | np.ndarray,
    *,
    tolerance: float = 0.01,
    layer: str = "",
) -> Leak:
    """The integer leak that stands in for a decay per step; the choices are those of `QuantiseOptions.leak`.

    A decay for each neuron takes a factor for each (auto, multiply). A linear leak is not found from a decay alone:
    `linear_leak` fits it.

    Raises
    ------
    InputError
        For "linear" where there is a leak; for a shift where decays differ between neurons.
    """
    if isinstance(choice, Leak):
        return choice
    if choice == "none" or np.all(decay == 1):
        return Leak()
    if choice == "linear":
        raise InputError(f"layer {layer!r}: leak = 'linear' from a decay alone; accepted is a fit on calibration data")
    if isinstance(decay, np.ndarray):
        return _fit_each(choice, decay, tolerance, layer)

    def error(leak: Leak) -> float:
        return float(np.max(np.abs(_decay(leak, None) - decay)))

    # The relative errors of the decay and of the loss per step have the same numerator.
    accepted = min(tolerance * decay, RATE_TOLERANCE * (1 - decay)) + 1e-12
    one = min((Leak(kind="shift", shifts=(k,)) for k in range(1, MAX_SHIFT + 1)), key=error)
    if choice == "shift" or (choice == "auto" and error(one) <= accepted):
        return one
    pairs = ((a, b) for a in range(1, MAX_SHIFT) for b in range(a + 1, MAX_SHIFT + 1))
    two = min((Leak(kind="shift", shifts=pair) for pair in pairs), key=error)
    if choice == "shift2" or (choice == "auto" and error(two) <= accepted):
        return two
    factors = [
        Leak(kind="multiply", factor=round(decay * (1 << bits)), fraction_bits=bits)
        for bits in range(1, MAX_FRACTION + 1)
    ]
    close = next((leak for leak in factors if error(leak) <= accepted), None)
    if close is not None:
        return close
    # so close to 1 or 0 that nothing is within the tolerance
    return min([*factors, Leak()] if choice == "auto" else factors, key=error)


def _fit_each(choice: LeakChoice, decay: np.ndarray, tolerance: float, layer: str) -> Leak:
    """The leak of neurons whose decays differ."""
    if choice in ("shift", "shift2"):
        raise InputError(
            f"layer {layer!r}: leak = {choice!r}, but its decays differ between neurons, {decay.min():g} to "
            f"{decay.max():g}; accepted for it are auto, none, linear, multiply"
        )
    accepted = np.minimum(tolerance * decay, RATE_TOLERANCE * (1 - decay)) + 1e-12
    for bits in range(1, MAX_FRACTION + 1):
        factors = np.rint(decay * (1 << bits)).astype(np.int64)
        if bits == MAX_FRACTION or (np.abs(factors / (1 << bits) - decay) <= accepted).all():
            return Leak(kind="multiply", factor=tuple(factors.tolist()), fraction_bits=bits)
    raise AssertionError("the widest fraction was not taken")


def _draft(
    layer: FloatLayer, options: QuantiseOptions, max_count: int, stream: tuple[int, int]
) -> tuple[IntegerLayer, LayerReport]:
    """A layer in integers, its potentials still wide, and the static part of its report."""
    bits = _option(options.weight_bits, layer.name, 8)
    scale, on_grid = _scale(layer, bits, _option(options.scale, layer.name, "max"))
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    real = _weights(layer)
    ideal = np.rint(real / scale)
    weights = np.clip(ideal, low, high)
    connections = tuple(
        Connection(
            weights=np.clip(np.rint(connection.weights / scale), low, high).astype(np.int64),
            **{name: getattr(connection, name) for name in GEOMETRY},
        )
        for connection in layer.connections
    )
    bias_ratio = layer.bias / scale
    if np.abs(bias_ratio).max() >= 1 << (WIDE_BITS - 2):
        raise InputError(
            f"layer {layer.name!r}: a bias is {np.abs(bias_ratio).max():.3g} weight steps; accepted is below "
            f"2**{WIDE_BITS - 2}: give it more even weights and biases"
        )
    bias = np.rint(bias_ratio).astype(np.int64)

    threshold = reset_amount = wanted = z_step = None
    drawn: dict[str, Any] = {"potential_bits": WIDE_BITS}
    if layer.cloglog is not None:
        threshold = 1
        drawn, bias, z_step = _stochastic(layer, scale, *stream)
    elif layer.threshold is not None:
        wanted = np.array([_snap(theta / scale) for theta in np.atleast_1d(layer.threshold)])
        if wanted.max() >= 1 << (WIDE_BITS - 2):
            raise InputError(
                f"layer {layer.name!r}: its threshold is {wanted.max():.3g} weight steps; accepted is below "
                f"2**{WIDE_BITS - 2}: its weights are too small to reach it"
            )
        threshold = _one_or_each(np.maximum(1, np.floor(wanted) + 1 if layer.fires_above else np.ceil(wanted)))
        if layer.reset.endswith("subtract"):
            reset_amount = _one_or_each(np.maximum(1, np.rint(wanted)))
    choice: LeakChoice | Leak = _option(options.leak, layer.name, "auto")
    if np.any(layer.linear_decay):
        leak = _linear_leak(choice, layer, scale)
    elif choice == "linear":
        leak = Leak()  # until it is fitted
    else:
        leak = fit_leak(choice, layer.decay, tolerance=options.decay_tolerance, layer=layer.name)
    current = {}
    if layer.current_decay is not None:
        current_leak = fit_leak("auto", layer.current_decay, tolerance=options.decay_tolerance, layer=layer.name)
        current_bits = _option(options.current_bits, layer.name, "auto")
        if isinstance(current_bits, str):
            current_bits = _current_bits(
                connections, max_count, current_leak, bias if layer.bias_in_current else np.zeros_like(bias)
            )
        current = {
            "current_bits": current_bits,
            "current_leak": current_leak,
            "bias_in_current": layer.bias_in_current,
        }
    draft = IntegerLayer(
        name=layer.name,
        connections=connections,
        weight_bits=bits,
        bias=bias,
        leak=leak,
        reset=layer.reset,
        threshold=threshold,
        reset_amount=None if np.array_equal(np.array(reset_amount), np.array(threshold)) else reset_amount,
        max_count=max_count,
        refractory=layer.refractory,
        adaptation=_adaptation(layer, scale, options.decay_tolerance),
        **current,
        **drawn,
    )
    error = weights * scale - real
    largest = float(np.abs(real).max())
    bias_unit = float(np.max(layer.threshold)) if layer.threshold is not None else float(np.abs(layer.bias).max())
    top = None if threshold is None else int(np.max(threshold))
    zone = _dead_zone(leak)
    return draft, LayerReport(
        name=layer.name,
        neurons=layer.neurons,
        fan_in=layer.fan_in,
        weight_bits=bits,
        potential_bits=WIDE_BITS,
        scale=scale,
        on_grid=on_grid,
        weight_error_rms=float(np.sqrt(np.mean(error**2) / np.mean(real**2))),
        weight_error_max=float(np.abs(error).max() / largest),
        clipped_weights=int(((ideal < low) | (ideal > high)).sum()),
        bias_error_max=float(np.abs(np.rint(bias_ratio) * scale - layer.bias).max() / bias_unit) if bias_unit else 0.0,
        threshold=top,
        threshold_wanted=None if wanted is None else float(wanted.max()),
        threshold_error=None
        if wanted is None
        else float((np.abs(np.maximum(1, np.rint(wanted)) - wanted) / wanted).max()),
        reset_amount=None if reset_amount is None else int(np.max(reset_amount)),
        **_leak_report(layer, draft),
        dead_zone=zone,
        dead_zone_share=None if top is None else max(-zone[0], zone[1]) / top,
        z_step=z_step,
        current_bits=draft.current_bits,
        current_leak=draft.current_leak.describe() if draft.current_bits is not None else None,
        **_adaptation_report(layer, draft),
    )


def _adaptation(layer: FloatLayer, scale: float, tolerance: float) -> Adaptation | None:
    """What spikes do to the threshold of a layer, in its weight step; b is as wide as it can ever get.

    The decay is a multiplication: it rounds down, so that a threshold comes back to where it was, and
    b = leak(b) + increment stays within increment / (1 - decay). A shift would leave 2**k - 1 of it for ever.
    """
    if not layer.adaptation:
        return None
    assert isinstance(layer.threshold, float)
    increment = max(1, round(layer.adaptation * layer.threshold / scale))
    leak = fit_leak("multiply", layer.adaptation_decay, tolerance=tolerance, layer=layer.name)
    lost = 1.0 - float(_decay(leak, None))
    top = (1 << MAX_ADAPTATION_BITS) - 1
    if increment > top:
        raise InputError(
            f"layer {layer.name!r}: adaptation = {layer.adaptation:g} is {increment} weight steps; accepted is at "
            f"most {top}"
        )
    reach = top if lost * top <= increment else int(np.ceil(increment / lost))
    return Adaptation(bits=reach.bit_length(), leak=leak, increment=increment)


def _adaptation_report(layer: FloatLayer, draft: IntegerLayer) -> dict[str, Any]:
    """What the report says about an adaptive threshold."""
    given = draft.adaptation
    if given is None:
        return {}
    left = int(given.leak.apply(np.array([given.increment]))[0])
    wanted = layer.adaptation_decay * given.increment
    return {
        "adaptation": given.increment,
        "adaptation_leak": given.leak.describe(),
        "adaptation_error": max(0.0, wanted - left) / given.increment,
    }


def _stochastic(layer: FloatLayer, scale: float, seed: int, stream: int) -> tuple[dict[str, Any], np.ndarray, float]:
    """Stochastic neurons in integers by the equations of the module: options of the layer, its biases, z_step."""
    assert layer.cloglog is not None
    unit = scale / layer.cloglog  # z of one weight step
    shift = max(0, math.floor(math.log2(LARGEST_STEP / unit) + 1e-9))
    z_step = unit * 2.0**shift
    z_zero = Z_TOP - 127 * z_step
    half = (1 << shift) >> 1
    bias = np.rint((layer.bias - layer.threshold) / scale + (HALF - z_zero) / unit).astype(np.int64) + half
    drawn = Stochastic(table=cloglog_table(z_zero, z_step), shift=shift, seed=seed, stream=stream)
    return {"potential_bits": Z_BITS, "stochastic": drawn}, bias, z_step


def _to_fit(network: FloatNetwork, options: QuantiseOptions, calibration: Calibration | None) -> list[str]:
    """Names of the layers that get a fitted linear leak; InputError where there is none to fit, or no data."""
    wanted = [layer for layer in network.layers if _option(options.leak, layer.name, "auto") == "linear"]
    leaking = [layer.name for layer in wanted if np.any(layer.decay != 1.0)]
    kept = [layer.name for layer in wanted if np.any(layer.linear_decay)]
    named = options.leak if isinstance(options.leak, Mapping) else {}
    still = [layer.name for layer in wanted if layer.name not in leaking + kept]
    if any(name in named for name in still) or (still and not leaking + kept):
        where = f"layer {still[0]!r}" if named else f"network {network.name!r}"
        raise InputError(
            f"{where}: leak = 'linear', but {'it has' if named else 'its layers have'} no leak to fit; accepted for it "
            "are auto, none"
        )
    if leaking and calibration is None:
        raise InputError(
            f"layer {leaking[0]!r}: leak = 'linear' is fitted on calibration data, and there are none; accepted are "
            "inputs of a data set, or auto, none, shift, shift2, multiply"
        )
    return leaking


def _fit_linear(
    network: FloatNetwork,
    options: QuantiseOptions,
    drafts: list[tuple[IntegerLayer, LayerReport]],
    chosen: list[str],
    calibration: Calibration,
) -> list[tuple[IntegerLayer, LayerReport]]:
    """The drafts with fitted linear leaks; potentials as wide as the user says."""
    widths = [_option(options.potential_bits, layer.name, "auto") for layer, _ in drafts]
    layers, fits = fit_linear_leaks(
        network,
        [
            layer if isinstance(bits, str) else dataclasses.replace(layer, potential_bits=bits)
            for (layer, _), bits in zip(drafts, widths, strict=True)
        ],
        [report.scale for _, report in drafts],
        chosen,
        calibration,
        options.state,
    )
    fitted = []
    for real, (draft, report), layer in zip(network.layers, drafts, layers, strict=True):
        if layer.name in fits:
            draft = dataclasses.replace(draft, leak=layer.leak)
            changes = {**_leak_report(real, draft), "dead_zone": _dead_zone(layer.leak), "fit": fits[layer.name]}
            report = dataclasses.replace(report, **changes)
        fitted.append((draft, report))
    return fitted


def _leak_report(layer: FloatLayer, draft: IntegerLayer) -> dict[str, Any]:
    """What the report says about a leak."""
    decay, got = _half_threshold_decay(layer), np.atleast_1d(_decay(draft.leak, draft.threshold))
    errors = np.abs(got - decay) / np.where(decay == 0, 1.0, decay)
    return {
        "leak": draft.leak.describe(),
        "decay_wanted": float(decay.mean()),
        "decay_got": float(got.mean()),
        "decay_error": float(errors.max()),
    }


def _linear_leak(choice: LeakChoice | Leak, layer: FloatLayer, scale: float) -> Leak:
    """The leak of a layer that was trained with a linear one: d in weight steps."""
    if isinstance(choice, Leak):
        return choice
    if choice == "none":
        return Leak()
    if choice not in ("auto", "linear"):
        raise InputError(
            f"layer {layer.name!r}: leak = {choice!r}, but its leak is linear already; accepted for it are auto, "
            "linear, none"
        )
    amounts = np.maximum(1, np.rint(np.atleast_1d(layer.linear_decay) / scale)).astype(np.int64)
    return Leak(kind="linear", amount=int(amounts[0]) if len(amounts) == 1 else tuple(amounts.tolist()))


def _half_threshold_decay(layer: FloatLayer) -> np.ndarray:
    """Share of half the threshold that a step leaves; of any potential, where the leak is not linear."""
    if not np.any(layer.linear_decay):
        return np.atleast_1d(layer.decay)
    if layer.threshold is None:
        return np.full(1, np.nan)
    return np.atleast_1d(np.maximum(0.0, 1 - np.asarray(layer.linear_decay) / (np.asarray(layer.threshold) / 2)))


def _weights(layer: FloatLayer) -> np.ndarray:
    """All weights of a layer in a row."""
    return np.concatenate([connection.weights.ravel() for connection in layer.connections])


def _one_or_each(values: np.ndarray) -> int | np.ndarray:
    """Integers as one number where they are all the same."""
    numbers = values.astype(np.int64)
    return int(numbers[0]) if (numbers == numbers[0]).all() else numbers


def _current_bits(connections: tuple[Connection, ...], max_count: int, leak: Leak, bias: np.ndarray) -> int:
    """Width that a synaptic current never passes: the fixed point of i = leak(i) + bias + the largest sum of a step."""
    parts = [connection.sums() for connection in connections]
    low = int((sum(low for low, _ in parts) * max_count + bias).min())  # type: ignore[union-attr]
    high = int((sum(high for _, high in parts) * max_count + bias).max())  # type: ignore[union-attr]
    low, high = min(low, 0), max(high, 0)
    lost = 1.0 - float(np.max(_decay(leak, None)))
    if lost <= 0:
        return MAX_CURRENT_BITS
    # A leak that floors leaves up to 1 more than its share, below as above 0.
    reach = [int(np.floor((low - 2) / lost)) - 1, int(np.ceil((high + 2) / lost)) + 1]
    return min(MAX_CURRENT_BITS, max(2, signed_bits(*reach)))


def _scale(layer: FloatLayer, bits: int, kind: str) -> tuple[float, bool]:
    """The weight step of a layer, and whether all its weights are multiples of it."""
    weights = _weights(layer)
    limit = (1 << (bits - 1)) - 1
    largest = float(np.abs(weights).max())
    if largest == 0:
        raise InputError(f"layer {layer.name!r}: all its weights are 0; accepted is a trained layer")
    step = _grid_step(weights, limit)
    if step is not None:
        return step, True
    step = largest / limit
    if kind == "max":
        return step, False
    magnitudes = weights

    def cost(candidate: float) -> float:
        integers = np.clip(np.rint(magnitudes / candidate), -limit - 1, limit)
        return float(((integers * candidate - magnitudes) ** 2).sum())

    # The cost has many small local minima: a fixed scan, then a finer one around its best.
    best = min((step * i / 100 for i in range(5, 101)), key=cost)
    return min((best + step * i / 2000 for i in range(-20, 21)), key=cost), False


def _grid_step(weights: np.ndarray, limit: int) -> float | None:
    """The finest step within the width of which all weights are multiples, or None.

    Tries largest / limit, the grid that uses the whole width, then largest / k from the smallest k up; k = limit + 1 is
    allowed where only negative weights reach it. Single precision cannot always tell two grids of many levels apart,
    hence the order. Cost: O(2**bits) on a few weights, then O(weights) for each candidate.
    """
    largest = float(np.abs(weights).max())
    shares = np.unique(np.abs(weights) / largest)
    only_negative = weights.max() < largest * (1 - 0.5 / (limit + 1))
    ks = np.arange(1, limit + (2 if only_negative else 1), dtype=np.float64)
    probe = shares[:: max(1, len(shares) // 16)]

    def fits(k: np.ndarray, values: np.ndarray) -> np.ndarray:
        multiples = k[:, None] * values
        tolerance = GRID_TOLERANCE * multiples + 1e-10 * k[:, None]  # the second term: what should be 0
        return np.all(np.abs(multiples - np.rint(multiples)) <= tolerance, axis=1)

    for k in [float(limit), *ks[fits(ks, probe)]]:
        if fits(np.array([k]), shares)[0]:
            return largest / (int(k) * max(1, limit // int(k)))
    return None


def _decay(leak: Leak, threshold: int | np.ndarray | None) -> float | np.ndarray:
    """Share of a large potential that a leak leaves per step (linear: of half the threshold), of each neuron."""
    if leak.kind == "shift":
        return 1.0 - sum(2.0**-k for k in leak.shifts)
    if leak.kind == "multiply":
        return np.array(leak.factor) / (1 << leak.fraction_bits)
    if leak.kind == "linear":
        return np.nan if threshold is None else np.maximum(0.0, 1 - np.array(leak.amount) / (np.array(threshold) / 2))
    return 1.0


def _dead_zone(leak: Leak) -> tuple[int, int]:
    """First and last potential of the run around 0 that the leak leaves as they are; (0, 0) for no leak.

    A shift floors, so v >> k is 0 for 0 .. 2**k - 1 and at most -1 below 0. A multiplication floors too:
    v m / 2**f rounds back down to v < 0 where abs(v) (2**f - m) < 2**f. The widest of all neurons.
    """
    if leak.kind == "shift":
        return 0, (1 << min(leak.shifts)) - 1
    whole = 1 << leak.fraction_bits
    factors = [m for m in np.atleast_1d(leak.factor).tolist() if m < whole]
    if leak.kind == "multiply" and factors:
        return -((whole - 1) // (whole - max(factors))), 0
    return 0, 0


def _threshold_bits(layer: IntegerLayer) -> int:
    """Bits that hold the threshold and what a reset subtracts."""
    return signed_bits(0, max(_top_threshold(layer), int(np.max(layer.subtracts))))


def _top_threshold(layer: IntegerLayer) -> int:
    """The largest threshold of a layer; 0 for a read-out."""
    return 0 if layer.threshold is None else int(np.max(layer.threshold))


def _auto_bits(layer: IntegerLayer, seen: tuple[int, int] | None, margin: float) -> int:
    """The width of `potential_bits = "auto"`, without the threshold."""
    if seen is not None:
        low, high = seen
        widened = int(np.ceil(high * (1 + margin)))
        # Where potentials above the threshold make no difference, the range ends there and needs no margin.
        return signed_bits(int(np.floor(low * (1 + margin))), high if _bounded_above(layer) else widened)
    low, high = layer.summed_range()
    negative, positive = int(low.min()), int(high.max())
    if layer.current_bits is not None:
        positive = (1 << (layer.current_bits - 1)) - 1
        negative = ~positive
    return signed_bits(negative + min(0, int(layer.bias.min())), positive + max(0, int(layer.bias.max()))) + 1


def _bounded_above(layer: IntegerLayer) -> bool:
    """Whether every potential from the threshold up means the same: a spike, and a reset to 0."""
    return layer.threshold is not None and layer.adaptation is None and layer.reset in ("zero", "delayed_zero")


@dataclass(frozen=True, kw_only=True)
class _LayerMeasure:
    """Of one layer over the calibration data."""

    rate: float
    silent: int
    low: int
    high: int
    pinned: float
    moved: bool  # any potential that is not 0


@dataclass(frozen=True, kw_only=True)
class _Measure:
    layers: list[_LayerMeasure]
    decisions: np.ndarray


def _measure(
    calibration: Calibration,
    integer: IntegerNetwork | None,
    real: FloatNetwork | None,
    state: Literal["clear", "keep"] = "clear",
) -> _Measure:
    """Run one of the two networks on the calibration data, a block of inputs at a time."""
    layers = (integer or real).layers  # type: ignore[union-attr]
    samples, steps, _ = calibration.spikes.shape
    spikes = [np.zeros(layer.neurons, np.int64) for layer in layers]
    lows, highs, pinned, moved = [0] * len(layers), [0] * len(layers), [0] * len(layers), [False] * len(layers)
    decisions = []
    keep = (integer.state if integer is not None else state) == "keep"
    for part in _blocks(samples, steps * sum(layer.neurons for layer in layers), keep):
        if integer is not None:
            trace = calibration.run(part, integer)
        else:
            assert real is not None
            trace = calibration.run_float(part, real, state)
        decisions.append(trace.decision(calibration.decision))
        assert trace.potentials is not None
        for index, (layer, fired, v) in enumerate(zip(layers, trace.spikes, trace.potentials, strict=True)):
            spikes[index] += fired.sum(axis=(0, 1), dtype=np.int64)
            moved[index] |= bool(v.any())
            if isinstance(layer, IntegerLayer):
                low, high = int(v.min()), int(v.max())
                if layer.reset == "subtract":  # the clamp acts before the reset
                    high = int((v + np.int64(layer.subtracts) * fired).max())
                if _bounded_above(layer):
                    high = _top_threshold(layer)
                lows[index], highs[index] = min(lows[index], low), max(highs[index], high)
                if layer.stochastic is None:
                    pinned[index] += int(((v == layer.v_min) | (v == layer.v_max)).sum())
    total = samples * steps
    return _Measure(
        layers=[
            _LayerMeasure(
                rate=float(count.sum() / (total * len(count))),
                silent=int((count == 0).sum()),
                low=low,
                high=high,
                pinned=pins / (total * len(count)),
                moved=move,
            )
            for count, low, high, pins, move in zip(spikes, lows, highs, pinned, moved, strict=True)
        ],
        decisions=np.concatenate(decisions),
    )


def _blocks(samples: int, elements: int, keep: bool) -> Iterator[slice]:
    """Slices of the calibration inputs; one slice where the state is kept from input to input."""
    block = samples if keep else max(1, BLOCK_ELEMENTS // max(1, elements))
    for start in range(0, samples, block):
        yield slice(start, start + block)


def _degenerate(report: LayerReport, before: _LayerMeasure, after: _LayerMeasure) -> list[str]:
    """Sentences that say why a layer is silent or saturated, if it is."""
    texts = []
    where = f"layer {report.name!r}"
    if report.threshold is None:
        if not after.moved:
            cause = "already before quantisation" if not before.moved else "since quantisation"
            texts.append(
                f"{where} is silent {cause}: its read-out stays 0 on all calibration data; accepted is a network "
                "whose outputs move: use more weight_bits, or check dt, reset and the input coding"
            )
    elif after.silent == report.neurons:
        if before.silent == report.neurons:
            texts.append(
                f"{where} is silent already before quantisation: none of its {report.neurons} neurons fires on the "
                "calibration data; check dt, reset and the input coding"
            )
        else:
            texts.append(
                f"{where} has gone silent: {_percent(before.rate)} of its neuron steps had a spike before "
                f"quantisation, none has now; accepted is a layer that fires: use more weight_bits or "
                "potential_bits, or a leak nearer to the decay"
            )
    elif after.rate >= SATURATED_RATE:
        cause = "is saturated already before quantisation" if before.rate >= SATURATED_RATE else "has saturated"
        texts.append(
            f"{where} {cause}: {_percent(after.rate)} of its neuron steps have a spike, {_percent(before.rate)} had "
            f"one before quantisation; accepted is below {_percent(SATURATED_RATE)}: use more weight_bits or "
            "potential_bits, or check dt, reset and the input coding"
        )
    if after.pinned >= PINNED_SHARE:
        texts.append(
            f"{where} has saturated: {_percent(after.pinned)} of its potentials lie at a limit of "
            f"{report.potential_bits} bits; accepted is below {_percent(PINNED_SHARE)}: the calibration data needs "
            f"{signed_bits(report.potential_low or 0, report.potential_high or 0)} bits"
        )
    return texts


def _warnings(report: LayerReport, options: QuantiseOptions) -> list[str]:
    """What the user should know about a layer that is not refused."""
    texts = []
    where = f"layer {report.name!r}"
    if report.fit is not None:
        if abs(report.fit.after - report.fit.before) > ACTIVITY_WARNING * report.fit.before:
            texts.append(
                f"{where}: leak {report.leak} is the nearest that calibration finds, and changes its activity from "
                f"{report.fit.text()}; train with a linear leak, or give more weight_bits"
            )
    elif report.decay_error > options.decay_tolerance:
        texts.append(
            f"{where}: leak {report.leak} decays by {report.decay_got:.5f} per step, wanted is "
            f"{report.decay_wanted:.5f} ({_percent(report.decay_error)} off)"
        )
    if report.dead_zone_share is not None and report.dead_zone_share >= DEAD_ZONE_WARNING:
        texts.append(
            f"{where}: potentials {report.dead_zone[0]} .. {report.dead_zone[1]} never decay with leak {report.leak}: "
            f"{_percent(report.dead_zone_share)} of the threshold; more weight_bits make them a smaller share"
        )
    if report.adaptation_error is not None and report.adaptation_error > ADAPTATION_WARNING:
        texts.append(
            f"{where}: a spike adds {report.adaptation} weight steps to its threshold, of which a step takes off "
            f"{_percent(report.adaptation_error)} too much by rounding; more weight_bits make the steps finer"
        )
    if report.threshold_error is not None and report.threshold_error > 0.05:
        texts.append(
            f"{where}: the threshold is {report.threshold_wanted:.3g} weight steps and is rounded by "
            f"{_percent(report.threshold_error)}; more weight_bits make the steps finer"
        )
    return texts


def _build(network: FloatNetwork, options: QuantiseOptions, layers: list[IntegerLayer]) -> IntegerNetwork:
    return IntegerNetwork(name=network.name, layers=tuple(layers), state=options.state)


def _check_names(network: FloatNetwork, options: QuantiseOptions):
    """Refuse an option for a layer that the network does not have."""
    names = [layer.name for layer in network.layers]
    for key in ("weight_bits", "potential_bits", "current_bits", "leak", "scale"):
        option = getattr(options, key)
        for name in option if isinstance(option, Mapping) else ():
            if name not in names:
                close = difflib.get_close_matches(str(name), names, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                raise InputError(f"{key}: there is no layer {name!r}; accepted are {', '.join(names)}{hint}")


def _option(option: T | Mapping[str, T], layer: str, default: T) -> T:
    """The value of an option for one layer."""
    if isinstance(option, Mapping):
        return option.get(layer, default)  # type: ignore[return-value]
    return option


def _snap(value: float) -> float:
    """`value`, or the integer that it is meant to be."""
    nearest = float(np.rint(value))
    return nearest if abs(value - nearest) <= SNAP * max(1.0, abs(value)) else float(value)


def _is_int(value: Any) -> bool:
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.3g} %"
