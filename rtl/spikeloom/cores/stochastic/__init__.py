"""The stochastic core: neurons that spike at random."""
