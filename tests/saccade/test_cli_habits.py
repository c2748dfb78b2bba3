"""Every command under the habits of shells, containers and terminals: never a traceback, one line, the right status."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # processes of their own

HABITS = (
    "stdin closed",
    "stdout closed",
    "stderr closed",
    "all closed",
    "stdout full",
    "nobody reads stdout",
    "unknown user",
)
ROOT = Path(__file__).parents[2]
ENDING = (
    ["--help"],
    ["config", "show"],
    ["config", "check"],
    ["produce", "--help"],
    ["produce", "--camera", "gate=/no/such/folder"],
    ["edge", "--tau", "-1"],
    ["serve", "--threads", "0"],
    ["watch", "--redis", "redis://127.0.0.1:1"],
    ["label", "gate", "1", "--redis", "redis://127.0.0.1:1"],
    ["top", "--redis", "redis://127.0.0.1:1"],
    ["topics", "nonsense"],
    ["dlq"],
    ["evaluate", "--check-paper"],
    ["calibrate", "--seed", "x"],
    ["export"],
    ["page", "--nonsense"],
    ["harvest", "list"],
    ["events"],
    ["simulate", "--trace", "/no/such/file.csv"],
    ["train", "--epochs", "x"],
    ["demo", "--budget", "12 parsecs"],
    ["stack", "--kafka-port", "0"],
)
"""Command lines of all commands that come to an end by themselves, with and without an error."""


def environment(**changes: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SACCADE")}
    kept |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return {name: value for name, value in (kept | changes).items() if value is not None}


def saccade(*arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "saccade", *arguments],
        env=environment(**changes),
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


Run = Callable[[str, list[str]], tuple[int, str, str]]


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """Runs a command under a habit: exit status, standard output, standard error."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("habits_process.py")],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin
        assert process.stdout

        def ask(habit: str, arguments: list[str]) -> tuple[int, str, str]:
            assert process.stdin
            assert process.stdout
            process.stdin.write(json.dumps([habit, arguments]) + "\n")
            process.stdin.flush()
            status, out, err = json.loads(process.stdout.readline())
            return status, out, err

        yield ask
        process.stdin.close()


@pytest.mark.parametrize("habit", HABITS)
@pytest.mark.parametrize("arguments", ENDING, ids=" ".join)
def test_no_habit_brings_a_traceback(run: Run, habit: str, arguments: list[str]) -> None:
    status, _, err = run(habit, arguments)
    assert status in {0, 1, 2}, err
    assert "Traceback" not in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("habit", ["stdin closed", "stdout closed", "all closed", "unknown user"])
def test_a_closed_stream_changes_no_status(run: Run, habit: str) -> None:
    assert run(habit, ["config", "check"])[0] == 0
    assert run(habit, ["edge", "--tau", "-1"])[0] == 2


def test_an_output_that_takes_no_more_is_told_in_one_line(run: Run) -> None:
    assert run("stdout full", ["config", "show"]) == (
        1,
        "",
        "saccade: cannot write: No space left on device\n",
    )


def test_a_reader_that_has_enough_ends_the_command_in_silence(run: Run) -> None:
    assert run("nobody reads stdout", ["config", "show"]) == (1, "", "")


def test_python_itself_gives_no_streams_where_they_are_closed() -> None:
    line = ["sh", "-c", '"$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "saccade", "config", "show"]
    assert subprocess.run(line, env=environment(), check=False, timeout=100).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["demo"], "runs"),
        (["stack"], "runs"),
    ],
)
def test_a_place_that_cannot_be_written_is_one_line(run: Run, arguments: list[str], folder: str) -> None:
    status, _, err = run("unknown user", arguments)
    assert status in {1, 2}
    assert "Traceback" not in err
    assert folder in err.splitlines()[-1]


def test_a_terminal_that_cannot_show_a_sign_gets_an_escape() -> None:
    done = saccade("produce", "--help", PYTHONIOENCODING="ascii", LC_ALL="C")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("delay_s", [0.1, 0.3, 0.6, 1.0])
def test_ctrl_c_at_any_moment_of_the_start_ends_without_a_traceback(delay_s: float) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "saccade", "watch", "--redis", "redis://127.0.0.1:1"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            process.wait(delay_s)  # the moment is what is tested
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode in {-signal.SIGINT, 130, 0, 1}
    # Before the command is reached there is only Python itself, which it cannot speak for.
    assert "saccade" not in err.partition("Traceback")[2], err
    assert out == ""


def test_a_password_on_the_command_line_is_warned_of_and_not_shown() -> None:
    done = saccade("config", "show", "--redis", "redis://:hunter2@h:1/0")
    (line,) = done.stderr.splitlines()
    assert "can read a password on the command line" in line
    assert "hunter2" not in done.stdout + done.stderr
