"""Commands that run a while, as processes of their own: `saccade stack` and `saccade demo`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from devstack.demo.clip import make_clip

pytestmark = pytest.mark.stack
SUMMARY_KEYS = frozenset(
    """
    seconds frames_published frames_labelled frames_missing labels_final_edge labels_final_server
    labels_provisional frames_offloaded dead_lettered offload_bytes whole_jpeg_bytes patches_sent patch_cost
    frames_dropped accuracy_edge accuracy latency_ms
    """.split()  # noqa: SIM905 - sixteen names in quotes are harder to read
)


@contextmanager
def saccade(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A running `saccade ARGUMENTS`; it is gone afterwards."""
    process = subprocess.Popen(
        [sys.executable, "-m", "saccade", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def processes_with(text: str) -> list[str]:
    """Return the command lines of this machine's processes that hold `text`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if text in command and entry.parent.name != str(os.getpid()):
            found.append(command)
    return found


def none_left(text: str, within_s: float = 15.0) -> Sequence[str]:
    """Return the processes that still hold `text` after a while; nobody tells when the last one ends."""
    until_s = time.monotonic() + within_s
    while (left := processes_with(text)) and time.monotonic() < until_s:
        time.sleep(0.1)
    return left


def test_stack_prints_its_addresses_has_its_topics_and_ends_clean(cli: Any, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    with saccade("stack", "--json", "--free-ports", "--run-dir", run_dir) as process:
        assert process.stdout is not None
        addresses = json.loads(process.stdout.readline())
        assert set(addresses) == {"kafka", "redis"}
        assert cli("topics", "check", "--json", "--kafka", addresses["kafka"]).status == 0

        occupied = cli("stack", "--free-ports", "--run-dir", run_dir)
        assert (occupied.status, occupied.out) == (1, "")
        assert f"{run_dir} is occupied" in occupied.reason
        assert "choose another folder" in occupied.reason

        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")
    assert none_left(str(run_dir)) == []


@pytest.mark.timeout(300)
def test_demo_runs_own_cameras_audits_every_frame_and_leaves_no_process(
    tmp_path: Path, tiny_model: Path
) -> None:
    out = tmp_path / "demo"
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (240, 320, 3), np.uint8)
        Image.fromarray(pixels).save(photos / f"{number}.jpg")
    cameras = (f"road={make_clip(tmp_path)}", f"photos={photos}", "sign=scenes:2900000031")
    with saccade(
        "demo", "--seconds", 6, "--fps", 3, "--budget", "none", "--out", out,
        "--edge-model", tiny_model, "--server-model", tiny_model,
        *(part for camera in cameras for part in ("--camera", camera)),
    ) as process:  # fmt: skip
        stdout, stderr = process.communicate(timeout=240)
    assert process.returncode == 0, stderr
    assert none_left(str(out)) == []
    summary = json.loads((out / "summary.json").read_text())
    assert set(summary) >= SUMMARY_KEYS
    assert set(summary["latency_ms"]) == {"edge_p50", "edge_p99", "server_p50", "server_p99"}
    assert summary["frames_published"] >= 20
    assert summary["frames_labelled"] == summary["frames_published"]
    assert (summary["frames_missing"], summary["frames_dropped"], summary["dead_lettered"]) == (0, {}, 0)
    ends = ("labels_final_edge", "labels_final_belief", "labels_final_server", "labels_provisional")
    assert sum(summary[end] for end in ends) == summary["frames_labelled"]
    assert (out / "picture.png").stat().st_size > 0
    assert "Traceback" not in stdout + stderr
