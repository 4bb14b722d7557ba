"""The weight-shared core: a small table of conductances, an index into it for every synapse, one neuron at a time."""
