"""The short form of the fuzzer: a seed of its own, and what the long form once found."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def fuzz(*arguments: str) -> str:
    command = [sys.executable, "tests/fuzz/fuzz.py", *arguments]
    result = subprocess.run(
        command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.mark.parametrize("seed", [11, 12])
def test_mutated_messages_are_read_or_refused(seed: int) -> None:
    told = fuzz("--messages", "2500", "--seed", str(seed))
    found = re.search(r"2500 messages, (\d+) refused, 0 findings", told)
    assert found is not None
    assert 1_000 < int(found[1]) < 2_500  # both happen: what is changed a little is often still sound
