"""How long each model learns and on what: windows of patches first, whole crops after, subsets at the end."""

from __future__ import annotations

from dataclasses import dataclass, replace

from vit.architecture import Architecture


@dataclass(frozen=True, slots=True)
class TrainingStage:
    """``steps`` batches of ``batch`` windows of ``window``² patches, thinned where ``subsets``.

    ``rate`` multiplies the plan's.
    """

    window: int
    batch: int
    steps: int
    subsets: bool = False
    rate: float = 1.0


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """One model's training.

    ``decay_share``: share of all steps, the last ones, with a falling rate. ``guide_attention``: whether the
    class attention learns to point at the object, which the edge's must. ``rate`` multiplies
    the learning rates. ``varied``: whether a crop is moved, turned and relit each time that it is shown, which is
    for crops whose cover nobody knows.
    """

    role: str
    architecture: Architecture
    stages: tuple[TrainingStage, ...]
    seed: int
    decay_share: float
    guide_attention: bool
    rate: float = 1.0
    varied: bool = False

    @property
    def steps(self) -> int:
        """All steps of all stages."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> TrainingStage:
        """Return the stage that ``step`` (from 0) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError(f"step {step} is past the plan's {self.steps}")


def edge_plan(num_classes: int, *, scale: float = 1.0) -> TrainingPlan:
    """Return the plan of the edge's model, about 1 M parameters; ``scale`` multiplies all lengths.

    It ends at a constant rate, and a high one. On these scenes training decides as much as size: a model of a fifth
    of its parameters whose rate fell at the end was right on 93 % and left the server too little; at a
    constant rate it stays where the noise of its steps keeps it.
    """
    return TrainingPlan(
        role="edge",
        architecture=Architecture(embed_dim=96, depth=8, num_heads=3, mlp_ratio=4.0, num_classes=num_classes),
        stages=scaled(
            (
                TrainingStage(5, 128, 1000),
                TrainingStage(7, 96, 1000),
                TrainingStage(14, 48, 1200),
                TrainingStage(14, 48, 1000, rate=1.2),
                TrainingStage(14, 48, 2700, rate=2.0),
                TrainingStage(14, 48, 750, rate=4.0),
            ),
            scale,
        ),
        seed=1,
        decay_share=0.0,
        guide_attention=True,
    )


def server_plan(num_classes: int, *, scale: float = 1.0) -> TrainingPlan:
    """Return the plan of the server's model, about 4.2 M parameters; its last third learns on subsets."""
    return TrainingPlan(
        role="server",
        architecture=Architecture(
            embed_dim=192, depth=9, num_heads=3, mlp_ratio=4.0, num_classes=num_classes
        ),
        stages=scaled(
            (
                TrainingStage(5, 128, 1000),
                TrainingStage(7, 96, 1300),
                TrainingStage(14, 48, 2100),
                TrainingStage(14, 48, 2200, subsets=True),
            ),
            scale,
        ),
        seed=2,
        decay_share=0.3,
        guide_attention=False,
    )


def scaled(stages: tuple[TrainingStage, ...], scale: float) -> tuple[TrainingStage, ...]:
    """Return the stages with their lengths multiplied, at least one step each."""
    return tuple(replace(stage, steps=max(1, round(stage.steps * scale))) for stage in stages)
