"""Every command under the habits of shells, containers and terminals: never a traceback, one line, the right status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOBODY = "import os; os.getuid = os.geteuid = lambda: 54321; from saccade.__main__ import main; main()"
"""A user whom the system does not know."""
UNWRITABLE = Path("/proc")
"""A folder where nobody may write, not even root."""

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
    ["evaluate", "--data", "/no/such/folder"],
    ["calibrate", "--data", "/no/such/folder"],
    ["quantise", "--data", "/no/such/folder"],
    ["simulate", "--trace", "/no/such/file.csv"],
    ["train", "--data", "/no/such/folder"],
    ["demo", "--budget", "12 parsecs"],
    ["stack", "--kafka-port", "0"],
)
"""Command lines of all commands that come to an end by themselves, with and without an error."""


def command(arguments: Sequence[str], *, code: str = "") -> list[str]:
    return [sys.executable, *(["-c", code] if code else ["-m", "saccade"]), *arguments]


def environment(**changes: str | None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SACCADE")}
    kept |= {"PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    return {name: value for name, value in (kept | changes).items() if value is not None}


def walk(
    run: Callable[[list[str]], subprocess.CompletedProcess[str]],
) -> list[subprocess.CompletedProcess[str]]:
    """Every command run so; none ended by a bug and each that failed gave its reason in one line at most."""
    with ThreadPoolExecutor(2) as pool:
        ended = list(pool.map(run, ENDING))
    for done in ended:
        assert done.returncode in {0, 1, 2}, done
        for text in (done.stderr or "", done.stdout or ""):
            assert "Traceback" not in text, text
            assert "Exception ignored" not in text, text
    return ended


@pytest.mark.slow
@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams(closing: str) -> None:
    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        line = ["sh", "-c", f'"$@" {closing}', "sh", *command(arguments)]
        return subprocess.run(
            line, env=environment(), capture_output=True, text=True, check=False, timeout=60
        )

    statuses = {tuple(arguments): done.returncode for arguments, done in zip(ENDING, walk(run), strict=True)}
    assert statuses["config", "check"] == 0
    assert statuses["edge", "--tau", "-1"] == 2
    assert statuses["top", "--redis", "redis://127.0.0.1:1"] == 1


@pytest.mark.slow
def test_a_full_disk_behind_standard_output() -> None:
    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        with Path("/dev/full").open("w") as full:
            return subprocess.run(
                command(arguments),
                env=environment(),
                stdout=full,
                stderr=-1,
                text=True,
                check=False,
                timeout=60,
            )

    shown = dict(zip(map(tuple, ENDING), walk(run), strict=True))["config", "show"]
    assert (shown.returncode, shown.stderr) == (1, "saccade: cannot write: No space left on device\n")


@pytest.mark.slow
def test_an_unknown_user_without_a_home_in_a_folder_where_nothing_can_be_written() -> None:
    def run(arguments: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(arguments, code=NOBODY),
            env=environment(HOME=None, PYTHONDONTWRITEBYTECODE="1"),
            cwd=UNWRITABLE,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    walk(run)


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["simulate", "--seconds", "1", "--out", "runs/x"], "runs"),
        (["train", "--scale", "0.001"], "runs"),
        (["demo", "--seconds", "1"], "runs"),
        (["stack"], "runs"),
    ],
)
@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_one_line(arguments: list[str], folder: str) -> None:
    done = subprocess.run(
        command(arguments),
        env=environment(),
        cwd=UNWRITABLE,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode in {1, 2}
    assert "Traceback" not in done.stderr
    assert folder in done.stderr.splitlines()[-1]


def test_a_reader_that_has_enough_ends_the_command_in_silence() -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        command(["config", "show"]), env=environment(), stdout=write, stderr=-1, check=False, timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")


def test_a_terminal_that_cannot_show_a_sign_gets_an_escape() -> None:
    done = subprocess.run(
        command(["edge", "--help"]),
        env=environment(PYTHONIOENCODING="ascii", LC_ALL="C"),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.1, 0.3, 0.6, 1.0])
def test_ctrl_c_at_any_moment_of_the_start_ends_without_a_traceback(delay_s: float, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command(["watch", "--redis", "redis://127.0.0.1:1"]),
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
    done = subprocess.run(
        command(["config", "show", "--redis", "redis://:hunter2@h:1/0"]),
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (line,) = done.stderr.splitlines()
    assert "can read a password on the command line" in line
    assert "hunter2" not in done.stdout + done.stderr
