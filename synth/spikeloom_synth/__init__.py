"""Synthesis, timing, power and reports of exported designs by open tools."""
