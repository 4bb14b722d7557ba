"""One package per accelerator architecture: engines of a layer. `accelerator` wires any of them as a network."""
