"""The command line inside the test's own process: exit status, data and logs of one command."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from saccade.cli import main


@dataclass(frozen=True)
class Ran:
    """What a user sees of one command: its exit status, standard output and standard error."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as one JSON object a line."""
        rows = [json.loads(line) for line in self.out.splitlines()]
        assert all(isinstance(row, dict) for row in rows)
        return rows

    @property
    def reason(self) -> str:
        """The one line on standard error."""
        (line,) = self.err.splitlines()
        return line


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    """Runs `saccade ARGUMENTS` in this process; logging is afterwards as it was before."""
    root = logging.getLogger()
    before, handlers, level = structlog.get_config(), root.handlers[:], root.level

    def run(*arguments: object) -> Ran:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        status = ended.value.code or 0
        assert isinstance(status, int)
        return Ran(status, out, err)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**before)
