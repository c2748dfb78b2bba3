"""What a training run leaves for people: accuracy as it learnt, and how long it took."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from lab.errors import TrainingError
from lab.progress import Progress
from lab.training.forward import Learner, normalised, patches_of
from lab.training.learn import LearningState
from lab.training.pool import Pool
from schemas.geometry import NUM_PATCHES

_BATCH: Final = 50


@dataclass(frozen=True, slots=True)
class Mark:
    """Accuracy on the watched crops after ``step`` steps, and the process's seconds by then."""

    role: str
    step: int
    accuracy: float
    seconds: float


def claim(work: Path, identity: dict[str, Any]) -> None:
    """Make ``work`` the folder of one run, or check that it is this run's.

    Raises:
        TrainingError: it holds another run; going on with its parts would mix two.

    """
    work.mkdir(parents=True, exist_ok=True)
    path = work / "run.json"
    if not path.exists():
        path.write_text(json.dumps(identity, indent=1))
        return
    found = json.loads(path.read_text())
    for name, value in identity.items():
        if found.get(name) != value:
            raise TrainingError(
                f"work folder {work}: it holds a run with {name} {found.get(name)}, not {value}; "
                "give another folder or remove it"
            )


class TrainingRecord:
    """Watches a run and keeps its marks in a JSON file; a resumed run adds to them."""

    def __init__(self, path: Path, watched: Pool, device: str, progress: Progress) -> None:
        self._path, self._watched, self._device, self._progress = path, watched, device, progress
        self._started_s = time.monotonic()
        self._told = 0
        self.marks: list[Mark] = []
        if path.exists():
            self.marks = [Mark(**mark) for mark in json.loads(path.read_text())["marks"]]

    def begin(self, role: str, steps: int) -> None:
        """Show a new bar for a model's run."""
        self._told = 0
        self._progress.start(f"train {role}", steps)

    def report(self, state: LearningState) -> None:
        """Move the bar."""
        self._progress.advance(state.step - self._told)
        self._told = state.step

    def watch(self, role: str, step: int, learner: Learner) -> None:
        """Measure the learner on the watched crops and note it."""
        seconds = time.monotonic() - self._started_s
        mark = Mark(role, step, watched_accuracy(learner, self._watched, self._device), seconds)
        self.marks = [other for other in self.marks if (other.role, other.step) != (role, step)] + [mark]
        self._path.write_text(json.dumps({"marks": [asdict(each) for each in self.marks]}, indent=1))
        self._progress.say(f"{role}, step {step}: {mark.accuracy:.1%} of the watched scenes")


def watched_accuracy(learner: Learner, watched: Pool, device: str) -> float:
    """Return the share of right answers among the pool's crops whose truth is clear."""
    dtype = next(learner.parameters()).dtype
    truth: NDArray[np.int64] = np.asarray(watched.meta["truth"], np.int64)
    right = []
    with torch.inference_mode():
        for start in range(0, watched.size, _BATCH):
            crops = torch.from_numpy(np.array(watched.crops[start : start + _BATCH])).to(device)
            positions = torch.arange(NUM_PATCHES, device=device).expand(len(crops), -1)
            answers = (
                learner(patches_of(normalised(crops)).to(dtype), positions).logits.argmax(1).cpu().numpy()
            )
            right.append(answers == truth[start : start + _BATCH])
    return float(np.concatenate(right)[truth >= 0].mean())
