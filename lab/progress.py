"""Tells a person what a long measurement is doing: lines and one progress bar on standard error."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Protocol, Self

from rich import progress as bars
from rich.console import Console

LINE_S = 10.0


class Progress(Protocol):
    """Where progress goes."""

    def say(self, text: str) -> None:
        """Show one line."""
        ...

    def start(self, description: str, total: int) -> None:
        """Begin a stage of `total` steps; the stage before it is over."""
        ...

    def advance(self, steps: int = 1) -> None:
        """Count finished steps of the present stage."""
        ...


class SilentProgress:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def start(self, description: str, total: int) -> None:
        """Drop the stage."""

    def advance(self, steps: int = 1) -> None:
        """Drop the count."""


class TerminalProgress:
    """Lines and a bar on standard error; a context manager that leaves the terminal as it was.

    Where standard error is a file or a pipe, a bar would show nothing before its end: each stage gets a line
    when it begins, one every `LINE_S` while it lasts, and one when all its steps are done.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._console = Console(stderr=True, highlight=False)
        self._is_terminal = self._console.is_terminal
        self._bar = bars.Progress(
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TimeRemainingColumn(),
            console=self._console,
            disable=not self._is_terminal,
        )
        self._task: bars.TaskID | None = None
        self._told_s = 0.0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def say(self, text: str) -> None:
        """Show one line above the bar."""
        self._console.print(text, markup=False, soft_wrap=not self._is_terminal)

    def start(self, description: str, total: int) -> None:
        """Show a new bar in place of the last one."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(description, total=total)
        self._tell()

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._task is None:
            return
        self._bar.advance(self._task, steps)
        if self._clock() - self._told_s >= LINE_S or self._bar.tasks[-1].finished:
            self._tell()

    def _tell(self) -> None:
        if not self._is_terminal:
            task = self._bar.tasks[-1]
            self._told_s = self._clock()
            self.say(f"{task.description}: {task.completed:.0f} of {task.total:.0f}")
