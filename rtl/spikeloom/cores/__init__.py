"""One package per accelerator architecture."""
