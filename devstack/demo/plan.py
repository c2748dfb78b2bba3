"""What a demo is to do, decided before anything starts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from producers.camera import CameraSpec, check_names
from schemas.errors import SettingsError
from schemas.rates import parse_budget

RENDERED_CAMERAS = 4
FIRST_SEED = 2_900_000_000
# Shares of the run at which the default budget steps, and its rates: room, a thin link, half the room.
DEFAULT_STEPS = ((0.0, "96kbit"), (1 / 3, "16kbit"), (2 / 3, "48kbit"))


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """A checked demo: ``cameras`` are NAME=SOURCE texts, ``budget`` is a rate text or None for no budget."""

    seconds: float
    cameras: tuple[str, ...]
    with_clip: bool
    fps: float
    budget: str | None
    edge_workers: int
    server_workers: int
    edge_model: str
    server_model: str
    out: Path
    kafka: str | None
    redis: str | None

    @classmethod
    def make(
        cls,
        *,
        seconds: float,
        cameras: list[str],
        fps: float,
        budget: str | None,
        edge_workers: int,
        server_workers: int,
        edge_model: str,
        server_model: str,
        out: Path,
        kafka: str | None,
        redis: str | None,
    ) -> DemoPlan:
        """Return the plan with defaults filled in.

        Raises:
            SettingsError: a camera that names nothing there is, a budget that is no rate, or only one of
                Kafka and Redis given.
        """
        if (kafka is None) != (redis is None):
            raise SettingsError(
                "--kafka and --redis go together: give both, or neither for the embedded ones"
            )
        if cameras:
            check_names([CameraSpec.parse(camera) for camera in cameras])
        rendered = tuple(f"road{i}=scenes:{FIRST_SEED + i}" for i in range(1, RENDERED_CAMERAS + 1))
        return cls(
            seconds=seconds,
            cameras=tuple(cameras) or rendered,
            with_clip=not cameras,
            fps=fps,
            budget=checked_budget(budget, seconds),
            edge_workers=edge_workers,
            server_workers=server_workers,
            edge_model=edge_model,
            server_model=server_model,
            out=out,
            kafka=kafka,
            redis=redis,
        )


def checked_budget(text: str | None, seconds: float) -> str | None:
    """Return the budget's text; None stands for steps down and up during the run, ``none`` for no budget.

    Raises:
        SettingsError: the text is no budget.
    """
    if text == "none":
        return None
    if text is None:
        text = ",".join(f"{rate}@{round(share * seconds)}" for share, rate in DEFAULT_STEPS)
    try:
        parse_budget(text)
    except ValueError as error:
        raise SettingsError(f"--budget: {error}") from error
    return text
