"""What a command says: tables and progress for people, one JSON object for programs."""

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["Session", "session"]


class Session:
    """The voice of one command. With `as_json` everything for people goes to standard error or nowhere."""

    def __init__(self, as_json: bool, verbose: bool):
        self.as_json, self.verbose = as_json, verbose

    @property
    def _console(self):
        from rich.console import Console

        return Console(stderr=self.as_json, highlight=False)

    def note(self, text: str) -> None:
        """A line for people."""
        print(text, file=sys.stderr if self.as_json else sys.stdout, flush=True)

    def detail(self, text: str) -> None:
        """A line for people who asked for `-v`."""
        if self.verbose:
            self.note(text)

    def table(self, title: str, columns: list[str], rows: list[list[Any]]) -> None:
        """A small table."""
        if self.as_json:
            return
        from rich.table import Table

        table = Table(*columns, title=title, title_justify="left")
        for row in rows:
            table.add_row(*("-" if cell is None else str(cell) for cell in row))
        self.render(table)

    def render(self, renderable: Any) -> None:
        """Anything that rich can draw."""
        if not self.as_json:
            self._console.print(renderable)

    @contextlib.contextmanager
    def progress(self, title: str) -> Iterator[Callable[[str, float | None], None]]:
        """A bar on standard error; call with what is being done and, where known, the share that is done."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        console = Console(stderr=True)
        if not console.is_terminal:  # old versions of rich write a line even when they are to show nothing
            yield lambda text, share=None: self.detail(f"{title}: {text}")
            return
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task(title, total=None)

            def step(text: str, share: float | None = None) -> None:
                bar.update(task, description=f"{title}: {text}", total=None if share is None else 1.0, completed=share)
                self.detail(f"{title}: {text}")

            yield step

    def done(self, result: dict[str, Any], text: str = "") -> None:
        """The answer of the command."""
        if self.as_json:
            print(json.dumps(result, sort_keys=True), flush=True)
        elif text:
            print(text, flush=True)


@contextlib.contextmanager
def session(as_json: bool, verbose: bool) -> Iterator[Session]:
    """A command's session."""
    yield Session(as_json, verbose)
