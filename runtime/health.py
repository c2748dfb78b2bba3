"""Whether a process is alive, makes progress and is ready. A plain object; the status server shows it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from runtime.clock import Clock

GROUP_JOINED = "group_joined"
KAFKA_ACCEPTS = "kafka_accepts"
MODEL_WARM = "model_warm"
REDIS_ANSWERS = "redis_answers"
OFFLOAD_ACCEPTS = "offload_accepts"
ALL_SITES_ANSWER = "all_sites_answer"
DEPLOYED_PAIR = "deployed_pair"


class Life(StrEnum):
    """Where a process stands in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """An answer to a probe: ok, and what stands against it or is missing all the same."""

    ok: bool
    life: Life
    causes: tuple[str, ...]


class Health:
    """What a role knows of itself.

    Alive (`healthz`): records are waiting and none was finished for `stuck_after_s`, or nobody reported for
    as long, means stuck. Ready (`readyz`): running, and every named condition holds; what is `wished` may be missing,
    and is told.
    """

    def __init__(
        self,
        clock: Clock,
        stuck_after_s: float,
        conditions: Iterable[str] = (),
        *,
        wished: Iterable[str] = (),
    ) -> None:
        self._clock = clock
        self._stuck_after_s = stuck_after_s
        # What holds, or why it does not; the empty text where nobody has told.
        self._wished = frozenset(wished)
        self._conditions: dict[str, str | None] = {
            **dict.fromkeys(conditions, ""),
            **dict.fromkeys(self._wished),
        }
        self._life = Life.STARTING
        self._lag = 0
        self._moved_at_s = clock.monotonic_s()
        self._reported_at_s: float | None = None

    def __repr__(self) -> str:
        missing = [name for name, why in self._conditions.items() if why is not None]
        return f"<Health {self._life} lag {self._lag} missing {missing}>"

    @property
    def life(self) -> Life:
        """Starting, running or stopping."""
        return self._life

    def running(self) -> None:
        """The role takes records from now on."""
        self._life = Life.RUNNING

    def stopping(self) -> None:
        """The role takes no more records."""
        self._life = Life.STOPPING

    def meets(self, condition: str, holds: bool, why_not: str = "") -> None:
        """`condition` holds, or does not; `why_not` is one line for people.

        Raises:
            KeyError: it was not named at the start.
        """
        if condition not in self._conditions:
            raise KeyError(f"condition {condition!r}, known are {', '.join(self._conditions)}")
        self._conditions[condition] = None if holds else why_not

    def progress(self, lag: int, moved: int) -> None:
        """`lag` records wait to be finished, `moved` were finished since the last call."""
        now_s = self._clock.monotonic_s()
        self._reported_at_s = now_s
        # An idle role has nothing to move: its time starts when records come.
        if moved > 0 or lag == 0 or self._lag == 0:
            self._moved_at_s = now_s
        self._lag = lag

    def alive(self) -> HealthVerdict:
        """The answer to /healthz."""
        causes = []
        now_s = self._clock.monotonic_s()
        if self._reported_at_s is not None and now_s - self._reported_at_s > self._stuck_after_s:
            causes.append(f"no report for {now_s - self._reported_at_s:.0f} s")
        if self._lag > 0 and now_s - self._moved_at_s > self._stuck_after_s:
            causes.append(
                f"{self._lag} records wait and none was finished for {now_s - self._moved_at_s:.0f} s"
            )
        return HealthVerdict(not causes, self._life, tuple(causes))

    def ready(self) -> HealthVerdict:
        """The answer to /readyz."""
        missing = {name: why for name, why in self._conditions.items() if why is not None}
        causes = [f"{name}: {why}" if why else name for name, why in missing.items()]
        is_running = self._life is Life.RUNNING
        if not is_running:
            causes.insert(0, self._life.value)
        return HealthVerdict(is_running and missing.keys() <= self._wished, self._life, tuple(causes))
