"""Stream helpers for `amaranth.sim` test benches."""

from amaranth.hdl import Value

__all__ = ["held", "stream_get", "stream_put", "watchdog"]


async def stream_put(ctx, stream, payload, *, pause: int = 0):
    """Offer `payload` after `pause` cycles and hold it until it is taken."""
    for _ in range(pause):
        await ctx.tick()
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    while not (await ctx.tick().sample(stream.ready))[-1]:
        pass
    ctx.set(stream.valid, 0)


async def stream_get(ctx, stream, *, pause: int = 0):
    """Take one payload; with a pause, first wait for `valid`, then let it stand for `pause` cycles."""
    if pause:
        while not ctx.get(stream.valid):
            await ctx.tick()
        for _ in range(pause):
            await ctx.tick()
    ctx.set(stream.ready, 1)
    valid = False
    while not valid:
        *_, valid, payload = await ctx.tick().sample(stream.valid, stream.payload)
    ctx.set(stream.ready, 0)
    return payload


def held(stream):
    """A background test bench that fails where an offered payload changes, or is withdrawn, before it is taken."""

    async def bench(ctx):
        offered = None
        payload = Value.cast(stream.payload)
        while True:
            *_, valid, ready, now = await ctx.tick().sample(stream.valid, stream.ready, payload)
            if offered is not None and not (valid and now == offered):
                raise AssertionError(
                    f"{stream!r}: {offered:#x} was offered, then {f'{now:#x}' if valid else 'nothing'}"
                )
            offered = now if valid and not ready else None

    return bench


def watchdog(cycles: int):
    """A background test bench that fails the simulation after `cycles`: a deadlock would else run for ever."""

    async def bench(ctx):
        for _ in range(cycles):
            await ctx.tick()
        raise TimeoutError(f"no end after {cycles} cycles")

    return bench
