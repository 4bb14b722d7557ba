"""What can go wrong, sorted by the exit code that the command line gives it."""

__all__ = ["InputError", "SpikeloomError", "ToolMissing"]


class SpikeloomError(Exception):
    """A mismatch or a missed check: the inputs were fine, the answer was not."""

    exit_code = 1


class InputError(SpikeloomError):
    """Something the user gave cannot be used; the message says what was given and what would be accepted."""

    exit_code = 2


class ToolMissing(SpikeloomError):
    """An external program or library is not there; the message says what needs it and how to get it."""

    exit_code = 3
