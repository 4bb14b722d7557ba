"""Simulators, cocotb benches and the batch runner for exported designs."""
