"""Where a person watches, the demo stays until Enter."""

from __future__ import annotations

import asyncio
import os
import pty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from devstack.demo.run import enter_or, is_watched


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[IO[bytes]]:
    """Standard input and output are a terminal, outside CI; yields what a person types on."""
    keyboard, screen = pty.openpty()
    with (
        os.fdopen(keyboard, "wb", 0) as keys,
        os.fdopen(screen, "r") as stdin,
        monkeypatch.context() as patch,
    ):
        patch.setattr("sys.stdin", stdin)
        patch.setattr("sys.stdout", stdin)
        patch.delenv("CI", raising=False)
        yield keys


def test_only_a_terminal_outside_ci_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch):
        assert is_watched()
        monkeypatch.setenv("CI", "true")
        assert not is_watched()
        monkeypatch.delenv("CI")
        with Path(os.devnull).open() as nothing:
            monkeypatch.setattr("sys.stdin", nothing)
            assert not is_watched()


async def test_enter_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as keys:
        waiting = asyncio.create_task(enter_or(asyncio.Event()))
        await asyncio.sleep(0.1)  # long enough to see an end that nobody asked for
        assert not waiting.done()
        keys.write(b"\n")
        await asyncio.wait_for(waiting, 10)


async def test_an_interrupt_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = asyncio.Event()
    with terminal(monkeypatch):
        waiting = asyncio.create_task(enter_or(stop))
        stop.set()
        await asyncio.wait_for(waiting, 10)
