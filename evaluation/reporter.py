"""Tells a person what a long measurement is doing: lines and one progress bar on standard error."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Reporter(Protocol):
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


class SilentReporter:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Drop the line."""

    def start(self, description: str, total: int) -> None:
        """Drop the stage."""

    def advance(self, steps: int = 1) -> None:
        """Drop the count."""


class TerminalReporter:
    """Lines and a bar on standard error; a context manager that leaves the terminal as it was."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Show one line above the bar."""
        self._console.print(text, markup=False)

    def start(self, description: str, total: int) -> None:
        """Show a new bar in place of the last one."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(description, total=total)

    def advance(self, steps: int = 1) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.advance(self._task, steps)
