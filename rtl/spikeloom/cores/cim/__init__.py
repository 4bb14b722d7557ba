"""The compute-in-memory core: potentials bit-sliced over the rows of an array, changed bit by bit, all at once."""
