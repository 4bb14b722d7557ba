"""Gateware that every core uses."""
