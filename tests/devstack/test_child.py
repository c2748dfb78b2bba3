"""A guarded child: started, stopped, killed, and gone with its parent."""

from __future__ import annotations

import asyncio
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devstack.child import GuardedChild
from schemas.errors import StackError

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('up', flush=True)
time.sleep(60)
"""


def make_child(tmp_path: Path, script: str, grace_s: float = 5.0) -> GuardedChild:
    return GuardedChild(
        "the test child", [sys.executable, "-c", script], tmp_path / "log", grace_s=grace_s, held_fds=()
    )


def says(child: GuardedChild, word: str):  # type: ignore[no-untyped-def]
    async def ready() -> bool:
        return word in child.log_text()

    return ready


async def test_it_runs_until_stopped_and_can_run_again(tmp_path: Path) -> None:
    child = make_child(tmp_path, "import time; print('up', flush=True); time.sleep(60)")
    for _ in range(2):
        await child.start_until(says(child, "up"), 10.0)
        assert child.running
        with pytest.raises(StackError, match="runs already"):
            child.start()
        started_s = time.monotonic()
        await child.stop()
        assert time.monotonic() - started_s < 4.0
        assert not child.running
    await child.stop()


async def test_a_child_that_does_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    child = make_child(tmp_path, STUBBORN, grace_s=0.3)
    await child.start_until(says(child, "up"), 10.0)
    await child.stop()
    assert not child.running


async def test_a_child_whose_answer_never_comes_is_given_up_and_gone_in_time(tmp_path: Path) -> None:
    child = make_child(tmp_path, "import time; time.sleep(60)")

    async def never() -> bool:
        await asyncio.Event().wait()
        return True

    with pytest.raises(StackError, match="was not ready"):
        await child.start_until(never, 0.2)
    assert not child.running


async def test_a_child_that_ends_at_its_start_tells_its_last_error_lines(tmp_path: Path) -> None:
    child = make_child(tmp_path, "print('fine'); raise SystemExit('ERROR port 1 is taken')")
    with pytest.raises(StackError, match=r"the test child ended at its start: ERROR port 1 is taken$"):
        await child.start_until(says(child, "never"), 10.0)


async def test_a_child_that_is_never_ready_is_killed(tmp_path: Path) -> None:
    child = make_child(tmp_path, STUBBORN)
    with pytest.raises(StackError, match="the test child was not ready in 0 s"):
        await child.start_until(says(child, "never"), 0.3)
    assert not child.running


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    child = GuardedChild("the test child", ["/no/such"], tmp_path / "log", grace_s=1.0, held_fds=())
    with pytest.raises(StackError, match="the test child cannot be started: /no/such"):
        child.start()


@pytest.mark.skipif(sys.platform != "linux", reason="waits by Linux process descriptors")
@pytest.mark.parametrize("victim", ["parent", "guardian"])
def test_it_is_gone_when_its_parent_or_its_guardian_was_killed(tmp_path: Path, victim: str) -> None:
    script = f"""
import sys, time
from pathlib import Path
from devstack.child import GuardedChild
child = GuardedChild("c", ["sleep", "60"], Path({str(tmp_path / "log")!r}), grace_s=1.0, held_fds=())
child.start()
print(child.pid, child._guardian.pid, flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child_pid, guardian_pid = map(int, parent.stdout.readline().split())
        fd = os.pidfd_open(child_pid)
        os.kill(parent.pid if victim == "parent" else guardian_pid, 9)
        assert select.select([fd], [], [], 5.0)[0]
        os.close(fd)
        parent.kill()
