"""Settings of the uplink's budget."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, FilePath, field_validator, model_validator

from runtime.section import Json, OffIsNone, Section
from runtime.settings import ProgramSettings
from schemas.rates import Budget, parse_budget


class BudgetSettings(Section):
    """What the uplink may carry, and what each setting of the offload path is known to cost."""

    rate: Annotated[str | None, OffIsNone] = None
    """What may leave the site: `400kbit`, `80kbps`, `auto`, `5GB/month`, or `RATE@SECOND,RATE@SECOND,...`; `off` is
    no limit."""
    schedule_start_unix_s: Annotated[float | None, OffIsNone] = Field(default=None, ge=0)
    """When second 0 of a schedule is, for all workers alike; each worker's own start when not given."""
    hour_weights: Annotated[tuple[float, ...] | None, Json, OffIsNone] = None
    """24 weights by hour of day (UTC) that spread a volume; even when not given."""
    frontier: FilePath | None = None
    """From `saccade calibrate`, for exactly these models; when not given the shipped one for the shipped edge, a
    built-in curve for others."""
    camera_weights: Annotated[dict[str, float], Json] = Field(default_factory=dict)
    """Camera → weight of its share when the budget is short; others have 1."""

    @field_validator("rate")
    @classmethod
    def _check_rate(cls, rate: str | None) -> str | None:
        if rate is not None:
            parse_budget(rate)
        return rate

    @model_validator(mode="after")
    def _check_weights(self) -> Self:
        weights = self.hour_weights
        if weights is not None and (len(weights) != 24 or min(weights) < 0 or sum(weights) <= 0):
            raise ValueError(f"hour_weights: {len(weights)} weights, must be 24 that are >= 0, one above 0")
        for camera, weight in self.camera_weights.items():
            if not 0 < weight < float("inf"):
                raise ValueError(f"camera_weights: {camera} has {weight}, must be above 0")
        return self

    @property
    def parsed(self) -> Budget | None:
        """The budget that `rate` states, None without one."""
        return None if self.rate is None else parse_budget(self.rate)


class UplinkProgramSettings(ProgramSettings):
    """What a program with an uplink reads for it."""

    budget: BudgetSettings = Field(default_factory=BudgetSettings)

    @property
    def uplink_simulated(self) -> bool:
        """True when a budget is set but both topics share one cluster: reports must say so."""
        return self.budget.rate is not None and self.offload_kafka is None
