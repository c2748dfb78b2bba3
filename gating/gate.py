"""The gate: which frames the edge answers for good, and for which it asks the server.

Pure numpy, called by the edge worker. Must not import torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from gating.entropy import FloatArray, check_score
from gating.task import CLASSIFICATION, Answer, Task


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate says of one frame: `asks` is True where its `score` has reached `tau`, in the score's unit."""

    answer: Answer
    score: float
    tau: float
    asks: bool


class Gate:
    """Decides by one score of one task.

    Args:
        task: what the outputs mean.
        score: a name in `task.scores`.

    Raises:
        ValueError: the task has no such score.
    """

    def __init__(self, task: Task = CLASSIFICATION, score: str = "min_entropy") -> None:
        check_score(score, task.scores)
        self._task = task
        self._score = task.scores[score]

    def decide(self, outputs: FloatArray, tau: float) -> list[GateResult]:
        """The result of each frame.

        Args:
            outputs: one row a frame, finite.
            tau: >= 0; 0 asks for every frame, `inf` for none.

        Source: offload where H_min = -log2 max p >= tau, eq. 13 of Im et al., arXiv 2404.07217.
        """
        scores = self._score(outputs).tolist()
        return [
            GateResult(answer, score, tau, score >= tau)
            for answer, score in zip(self._task.decode(outputs), scores, strict=True)
        ]
