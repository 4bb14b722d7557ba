"""The virtual core: memories lead each spike to the engines, and an engine emulates many neurons, one at a time."""
