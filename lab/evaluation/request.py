"""What a caller asks of `run.evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from lab.evaluation.errors import EvaluationError

DEFAULT_CACHE: Final = Path(".cache/evaluation")


@dataclass(frozen=True)
class EvaluateRequest:
    """What to measure.

    Without `stream` exactly one of `data` and `scenes` is given. With it, `scenes` is the number of rendered
    cameras (default 12) and `clips` a folder of videos to add.

    `out` is the report folder, made if absent; `labels` a CSV beside `data`. `limit` takes at most so many
    images, evenly spread, or so many seconds of each camera. `full` lifts the budget of server passes.
    `dtype` is auto, float32 or bfloat16.

    Raises:
        EvaluationError: the fields contradict each other.
    """

    out: Path
    edge: str = "deit_tiny_patch16_224"
    server: str = "deit_base_patch16_224"
    other_server: str | None = None
    data: Path | None = None
    labels: Path | None = None
    scenes: int | None = None
    seed: int = 0
    stream: bool = False
    clips: Path | None = None
    limit: int | None = None
    full: bool = False
    dtype: str = "auto"
    super_resolution: Path | None = None
    masked_autoencoder: Path | None = None
    cache: Path = DEFAULT_CACHE
    command: str = "saccade evaluate"

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise EvaluationError(f"limit: {self.limit}, must be at least 1")
        if self.stream:
            if self.data is not None or self.labels is not None:
                raise EvaluationError("--stream takes --scenes and --clips, not --data or --labels")
            return
        if (self.data is None) == (self.scenes is None):
            raise EvaluationError("give images with --data DIR or rendered scenes with --scenes N, not both")
        if self.clips is not None:
            raise EvaluationError("--clips belongs to --stream")
        if self.labels is not None and self.data is None:
            raise EvaluationError("--labels belongs to --data")
