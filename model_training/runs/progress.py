"""Progress of a long command, told to whoever wants to show it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Advance: TypeAlias = Callable[[], None]
Start: TypeAlias = Callable[[int], Advance]
"""Told the number of steps, returns the function to call after each step."""


def silent(steps: int) -> Advance:
    """Shows nothing of the `steps`."""
    del steps
    return lambda: None


@contextmanager
def bar(title: str, console: Console | None = None) -> Iterator[Start]:
    """A progress bar with count and remaining time, for as long as the block lasts; on standard error by default."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console or Console(stderr=True), transient=True) as progress:

        def start(steps: int) -> Advance:
            task = progress.add_task(title, total=steps)
            return lambda: progress.advance(task)

        yield start
