"""The digital core: event queue, weight rows P lanes wide, potentials accumulated in place."""
