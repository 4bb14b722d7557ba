"""Spikeloom: a trained spiking network in, verified Verilog and its area, timing and energy out."""

__version__ = "0.1.0"
