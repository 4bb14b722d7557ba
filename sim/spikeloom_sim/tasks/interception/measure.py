"""How far a controller is from the reference, open loop, and how it does in its own loop.

Open loop: both get the same inputs, which were recorded from the closed loop of the reference. `out` is the number of
output spikes / 25; 1 stands for 120 degrees, so one spike is 0.04.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from spikeloom.network.interception import Pursuit, decode

__all__ = ["Comparison", "compare", "compare_chips", "describe_inputs", "loop_figures"]

NAMES = ("S1", "S2", "theta1", "theta2")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A controller against the reference on B inputs.

    Attributes
    ----------
    mse : float
        Mean squared error of `out`.
    correlation : float or None
        Pearson's, of `out`; None where one of them never changes.
    count_error_mean, count_error_max : float, int
        Of abs(spikes - spikes of the reference).
    count_bias : float
        Mean of spikes - spikes of the reference.
    equal : float
        Share of the inputs with the same number of spikes.
    """

    mse: float
    correlation: float | None
    count_error_mean: float
    count_error_max: int
    count_bias: float
    equal: float

    def to_json(self) -> dict[str, Any]:
        """The figures as values that `json` writes."""
        return asdict(self)


def compare(counts: np.ndarray, reference: np.ndarray) -> Comparison:
    """Figures of the spike counts of a controller against those of the reference, int64 [B] both."""
    difference = counts - reference
    moves = bool(np.ptp(counts)) and bool(np.ptp(reference))
    return Comparison(
        mse=float((decode(difference) ** 2).mean()),
        correlation=float(np.corrcoef(counts, reference)[0, 1]) if moves else None,
        count_error_mean=float(np.abs(difference).mean()),
        count_error_max=int(np.abs(difference).max()),
        count_bias=float(difference.mean()),
        equal=float((difference == 0).mean()),
    )


def compare_chips(counts: np.ndarray, reference: np.ndarray) -> dict[str, float | None]:
    """Figures over chips, int64 [chips, B] against [B]: the median, and what one chip in twenty is worse than.

    Correlation is None where a chip's answer never changes.
    """
    each = [compare(row, reference) for row in counts]
    mse, correlation = [one.mse for one in each], [one.correlation for one in each]
    known = [value for value in correlation if value is not None]
    return {
        "chips": len(each),
        "mse_median": float(np.median(mse)),
        "mse_p95": float(np.quantile(mse, 0.95)),
        "correlation_median": float(np.median(known)) if len(known) == len(each) else None,
        "correlation_p5": float(np.quantile(known, 0.05)) if len(known) == len(each) else None,
        "count_error_mean": float(np.mean([one.count_error_mean for one in each])),
        "count_error_max": max(one.count_error_max for one in each),
        "count_bias": float(np.mean([one.count_bias for one in each])),
    }


def loop_figures(pursuit: Pursuit) -> dict[str, float]:
    """Capture rate and mean steps to the capture."""
    return {"capture_rate": pursuit.capture_rate, "mean_steps": pursuit.mean_steps}


def describe_inputs(values: np.ndarray) -> dict[str, dict[str, float]]:
    """The distribution of the inputs [B, 4]: mean, standard deviation and quartiles of each."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    columns = zip(NAMES, values.mean(axis=0), values.std(axis=0), low, middle, high, strict=True)
    keys = ("mean", "std", "quartile1", "median", "quartile3")
    return {name: dict(zip(keys, (round(float(x), 4) for x in rest), strict=True)) for name, *rest in columns}
