"""Times of a spiking crossbar in clock cycles: what its gateware, its analog model and its cost model share."""

from dataclasses import dataclass, fields

from .errors import InputError

__all__ = ["CAPTURE_LATENCY", "WindowTiming"]

CAPTURE_LATENCY = 3
"""Cycles from the one in which a membrane crosses its threshold to the one in which the capture logic sees it: one for
the comparator, which answers at the next clock edge, and two flip-flops that synchronise."""


@dataclass(frozen=True, kw_only=True)
class WindowTiming:
    """Times of one layer on a crossbar, in clock cycles.

    A window is T steps of `step` cycles. The gates of a row that spikes in a step are open in the first `pulse` cycles
    of the step. A neuron that fires ignores its inputs for `reset + dead` cycles and shows its spike during the first
    `reset` of them. Read noise takes a new value every `refresh` cycles from the start of a pulse on.

    Raises
    ------
    InputError
        For times below one cycle, a pulse or a reset longer than the step, and a reset so short that a neuron could
        fire twice in one pulse: a spike is 0 or 1 per step.
    """

    step: int
    pulse: int
    reset: int
    dead: int = 0
    refresh: int = 2

    def __post_init__(self):
        for field in fields(self):
            value, least = getattr(self, field.name), int(field.name != "dead")
            if type(value) is not int or value < least:
                raise InputError(f"{field.name}: {value!r} clock cycles were given; accepted: at least {least}")
        if self.pulse > self.step:
            raise InputError(
                f"pulse: {self.pulse} clock cycles were given; accepted: at most the {self.step} of a time step"
            )
        if self.reset + self.dead > self.step:
            raise InputError(
                f"reset: {self.reset} clock cycles and {self.dead} dead ones were given; "
                f"accepted: together at most the {self.step} of a time step"
            )
        if self.reset + self.dead < self.pulse - 1:
            raise InputError(
                f"reset: {self.reset} clock cycles and {self.dead} dead ones were given; accepted: together at least "
                f"{self.pulse - 1}, one less than a pulse, or a neuron could fire twice in one time step"
            )

    @classmethod
    def from_seconds(
        cls, clock: float, *, step: float, pulse: float, reset: float, dead: float = 0.0, refresh: float = 10e-9
    ) -> "WindowTiming":
        """The times in s, each rounded to the nearest cycle of the `clock` in Hz."""
        return cls(
            step=round(step * clock), pulse=round(pulse * clock), reset=round(reset * clock),
            dead=round(dead * clock), refresh=max(1, round(refresh * clock)),
        )  # fmt: skip

    @property
    def slots(self) -> int:
        """Values of the read noise in one pulse."""
        return -(-self.pulse // self.refresh)
