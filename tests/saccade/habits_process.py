"""Runs command lines of `saccade` in forks of one process that has loaded it, under the habits of shells.

Reads one JSON list a line: the habit and the arguments. Writes one JSON list a line: status, output, errors.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from importlib import import_module
from pathlib import Path


def closed(*numbers: int) -> Callable[[], None]:
    def close() -> None:
        for number in numbers:
            os.close(number)

    return close


def full() -> None:
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def unread() -> None:
    read, write = os.pipe()
    os.close(read)
    os.dup2(write, 1)


def nobody() -> None:
    """A user whom the system does not know, without a home, where nobody may write, not even root."""
    os.environ.pop("HOME", None)
    os.getuid = os.geteuid = lambda: 54321
    os.chdir("/proc")


HABITS: dict[str, Callable[[], None]] = {
    "stdin closed": closed(0),
    "stdout closed": closed(1),
    "stderr closed": closed(2),
    "all closed": closed(0, 1, 2),
    "stdout full": full,
    "nobody reads stdout": unread,
    "unknown user": nobody,
}


def run(habit: str, arguments: list[str]) -> tuple[int, str, str]:
    """The command in a fork, its streams in files."""
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        child = os.fork()
        if child == 0:
            for number, path in ((1, out), (2, err)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
            HABITS[habit]()
            os._exit(status_of(arguments, err))
        _, ended = os.waitpid(child, 0)
        texts = [path.read_text() if path.exists() else "" for path in (out, err)]
        return os.waitstatus_to_exitcode(ended), texts[0], texts[1]


def status_of(arguments: list[str], err: Path) -> int:
    from saccade.__main__ import main

    sys.argv = ["saccade", *arguments]
    try:
        main()
    except SystemExit as ended:
        return int(ended.code or 0)
    except BaseException:  # noqa: BLE001 - reported as the bug that it is
        # Also where standard error is closed.
        with err.open("a") as told:
            traceback.print_exc(file=told)
        return 99
    return 0


if __name__ == "__main__":
    # Loaded once for all forks.
    for room in (
        "saccade.cli",
        "producers.run",
        "runtime.redis_store",
        "lab.simulation.run",
        "devstack.demo.run",
        "vit.export",
    ):
        import_module(room)
    for line in sys.stdin:
        habit, arguments = json.loads(line)
        print(json.dumps(run(habit, arguments)), flush=True)  # noqa: T201 - the answer
