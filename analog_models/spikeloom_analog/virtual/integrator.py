"""The neurons of an engine: one amplifier and comparator, and a capacitor Cf for each neuron.

A row takes two phases. While the ladder and the amplifier's input are reset (and its offset is stored), all capacitors
hold. Then the capacitor of one neuron closes the loop, and the ladder's charge Q goes onto it::

                 +--||-- Cf of neuron k --+
    ladder, C_out|                        |
    -------------+---|- \\                |
                 |   |   >----------------+---- Vo --- comparator
             Cin =   |+ /
                 |

U, the voltage of Cf, is kept when the capacitor is taken off. With gain A, from conservation of the charge at the
input, which begins at 0 (Cx = C_out + Cin):

    U' = (U + Q / Cf) / (1 + kappa),        kappa = Cx / (Cf (1 + A))

so a finite gain is an error of the charge *and* a leak per row. So is incomplete settling, since the output begins each
row at rest: at once the input jumps to Vx = (Q + Cs U) / (Cx + Cs), Cs = Cf load / (Cf + load), and of that a part
`settling_error` is left when the capacitor is taken off, with Cx Vx of the charge:

    U' = U + Q / Cf - error (Cx / Cf) (Q + Cs U) / (Cx + Cs)

Between rows a neuron loses what its leak and its open
switch let through.

What the amplifier needs, from beta = Cf / (Cf + Cx) and C_L = load + Cf Cx / (Cf + Cx), in the time t of a transfer:

    settling   beta gm t_1 / C_L = ln(1 / error),   gm = (gm / I) I_1 / 2
    slewing    I_2 t_2 = C_L dV,                    dV: from one neuron's voltage to another's, the whole swing
    noise      Cx^2 k T nf beta / C_L, twice with a stored offset, is at most (limit x charge of a weight step)^2

With t_1 + t_2 = t, a tail current has to be I = I_1 + I_2, both for the whole of t. Noise asks for load,
load for current.
"""

from dataclasses import dataclass, replace
from math import log, pi, sqrt

from ..checks import count, positive
from ..laws import BOLTZMANN
from .c2c import Ladders
from .parameters import EngineParameters

__all__ = ["Integrator"]


@dataclass(frozen=True, kw_only=True)
class Integrator:
    """Amplifier and capacitors of an engine as designed, before mismatch.

    Members
    -------
    bits : of a weight's magnitude. feedback : Cf, F. charge_step : of a weight of 1, C.
    output : C_out of the ladder, F. input : Cin, F.
    load : at the output, F, with what the noise asks for. time : s, for a transfer.
    settling, slewing : A, parts of the tail current.
    noise : C, of the amplifier in one row.
    """

    parameters: EngineParameters
    bits: int
    feedback: float
    charge_step: float
    output: float
    input: float
    load: float
    time: float
    settling: float
    slewing: float
    noise: float

    @classmethod
    def design(
        cls, parameters: EngineParameters, *, bits: int, slots: int, volts_per_step: float, clock: float
    ) -> "Integrator":
        """The integrator of `slots` neurons.

        Parameters
        ----------
        bits : magnitude bits of a weight. volts_per_step : V that a weight of 1 moves a neuron. clock : Hz, rows.
        """
        p, ladder = parameters, replace(parameters.ladder(bits), mismatch=0.0, parasitic_spread=0.0)
        nominal = Ladders(ladder, 1)
        charge_step = float(nominal.transferred()[0, 0, -1]) / (ladder.codes - 1)
        output = float(nominal.output_capacitance[0, 0])
        feedback = charge_step / positive("volts_per_step", volts_per_step, "V")
        at_input = p.input_capacitance + count("slots", slots, 1) * p.switch_capacitance
        cx = output + at_input
        beta, own = feedback / (feedback + cx), feedback * cx / (feedback + cx)
        power = cx**2 * BOLTZMANN * p.temperature * p.noise_factor * beta * (2 if p.auto_zero else 1)  # C^2 F
        least = power / (p.noise_limit * charge_step) ** 2
        total = max(p.load_capacitance + own, least)
        time = p.transfer_time / positive("clock", clock, "Hz")
        gm = log(1 / p.settling_error) * total / (beta * time)
        return cls(
            parameters=p, bits=bits, feedback=feedback, charge_step=charge_step, output=output, input=at_input,
            load=total - own, time=time, noise=sqrt(power / total), settling=2 * gm / p.gm_over_current,
            slewing=total * (p.swing_low + p.swing_high) / time,
        )  # fmt: skip

    @property
    def beta(self) -> float:
        """Feedback factor."""
        return self.feedback / (self.feedback + self.output + self.input)

    @property
    def kappa(self) -> float:
        """Part of U lost in a row."""
        return (self.output + self.input) / (self.feedback * (1 + self.parameters.gain))

    @property
    def missing(self) -> float:
        """Part of a row's charge that has not settled."""
        cx, cs = self.output + self.input, self.feedback * self.load / (self.feedback + self.load)
        return self.parameters.settling_error * cx / (cx + cs)

    @property
    def slip(self) -> float:
        """Part of U that has not settled in a row."""
        cs = self.feedback * self.load / (self.feedback + self.load)
        return self.missing * cs / self.feedback

    @property
    def tail(self) -> float:
        """A, tail current that settling and slewing ask for."""
        return self.settling + self.slewing

    @property
    def supply_current(self) -> float:
        """A, of the whole amplifier."""
        return self.parameters.current_factor * self.tail

    @property
    def bandwidth(self) -> float:
        """Hz, unity gain: gm / (2 pi C_L)."""
        own = self.feedback * (1 - self.beta)
        return self.settling / 2 * self.parameters.gm_over_current / (2 * pi * (self.load + own))

    @property
    def limited_by(self) -> str:
        """What the tail current is for most: settling or slewing, and noise where that sets the load."""
        what = "settling" if self.settling >= self.slewing else "slewing"
        return f"{what}, load set by noise" if self.load > self.parameters.load_capacitance * (1 + 1e-9) else what
