"""Constants of the write-verify algorithm: what its gateware and every model of it start from. See docs/crossbar.md."""

from dataclasses import dataclass

from ..errors import InputError

__all__ = [
    "AMPLITUDES",
    "BOOST_LIMIT",
    "CODE_BITS",
    "DISTANCES",
    "FACTOR_BITS",
    "FIRST_AMPLITUDES",
    "NEAREST",
    "WriteVerifyPlan",
]

CODE_BITS = 12
"""Bits of the converter that reads cells."""
AMPLITUDES = 32
"""Steps of the write amplitude."""
DISTANCES = 2 * CODE_BITS
"""Values of the distance of a cell from its target: differences of two lengths of codes in bits, -11 .. 12."""
NEAREST = 1 - CODE_BITS
"""The smallest of them."""
BOOST_LIMIT = 7
"""Amplitude steps that are added for cells that move too little, or taken off for those that move too far."""
FACTOR_BITS = 12
"""Fraction bits of the gain that calibration finds."""
FIRST_AMPLITUDES = (0, 0, 0, 1, 4, 6, 9, 11, 14, 17, 19, 21, 23, 24, 25, 26, 27, 28, 28, 29, 29, 30, 30, 31)
"""First amplitude of each distance for pulses of `spikeloom_analog.writing.GapPulse` (its `first_amplitudes`)."""


@dataclass(frozen=True, kw_only=True)
class WriteVerifyPlan:
    """How a cell is brought to its target.

    Members
    -------
    amplitudes : first amplitude for each distance d = -11 .. 12 of a cell from its target.
    tolerance : a cell is good at |target - code| <= target * tolerance / 256.
    average : a read averages over 2**average values of the read noise.
    most_pulses : pulses after which a cell is given up.
    reference : code of the reference row in a column without gain error.
    """

    amplitudes: tuple[int, ...] = FIRST_AMPLITUDES
    tolerance: int = 6
    average: int = 9
    most_pulses: int = 63
    reference: int = 2048

    def __post_init__(self):
        if len(self.amplitudes) != DISTANCES or not all(0 <= a < AMPLITUDES for a in self.amplitudes):
            raise InputError(
                f"amplitudes: {self.amplitudes} were given; accepted: {DISTANCES} numbers from 0 to {AMPLITUDES - 1}"
            )
        for name, least, most in (
            ("tolerance", 1, 255),
            ("average", 0, 15),
            ("most_pulses", 1, 63),
            ("reference", 1, (1 << CODE_BITS) - 1),
        ):
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise InputError(f"{name}: {value!r} was given; accepted: a whole number from {least} to {most}")
