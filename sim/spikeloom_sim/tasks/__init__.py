"""Tasks that close a loop around a core: `spikeloom task NAME`."""
