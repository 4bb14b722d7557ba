"""Where it runs: the cost of a network on a core, before anything is simulated."""
