"""`saccade edge` with a model that answers at once: what is left is the pipeline around it.

    python -m lab.benchmarks.stub_edge edge [--set SECTION.KEY=VALUE ...]

40 % of its answers are unsure; their attention is even, so that delta .97 keeps 190 patches.
"""

from __future__ import annotations

import numpy as np

import edge_workers.engine
from edge_workers.settings import EdgeSettings
from saccade.cli import main
from schemas.geometry import NUM_PATCHES
from vit.classes import classes_hash
from vit.edge_forward import EdgeOutput

CLASSES = tuple(f"class {index}" for index in range(16))
_SURE = np.float32(20.0)


class StubEngine(edge_workers.engine.EdgeEngine):
    """Answers by counting: of every five frames two are unsure."""

    def __init__(self, settings: EdgeSettings) -> None:  # noqa: ARG002 - as the real engine is built
        self.name = "stub"
        self.classes = CLASSES
        self.classes_hash = classes_hash(CLASSES)
        self.weights_hash = "0" * 32
        self._answered = 0

    def classify(self, crops: np.ndarray) -> EdgeOutput:
        numbers = np.arange(self._answered, self._answered + len(crops))
        self._answered += len(crops)
        logits = np.zeros((len(crops), len(CLASSES)), np.float32)
        logits[:, 0] = np.where(numbers % 5 < 2, np.float32(0), _SURE)
        attention = np.full((len(crops), NUM_PATCHES), 1 / NUM_PATCHES, np.float32)
        return EdgeOutput(logits, attention, np.zeros((len(crops), 1), np.float32))


if __name__ == "__main__":
    edge_workers.engine.EdgeEngine = StubEngine  # type: ignore[misc]
    main()
