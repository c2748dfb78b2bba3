"""Which operating point to use now, and why: the affordable rate met by a point of the curve, with feedback.

Called by the governor four times a second. Pure. States as in AWStream (SIGCOMM 2018): Startup until the
cameras are known, Degrade while less can be sent than before, Steady, Probe while more may be possible than
is used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from schemas.operating_point import OperatingPoint
from uplink.curve import HUNGRY, Choice, Curve, Weighed

STARTUP_S: Final = 2.0
STARTUP_FRAMES: Final = 8
DEGRADE_S: Final = 2.0
SURPLUS: Final = 1.3
SURPLUS_RECORDS: Final = 0.5
"""More is offered than can be sent, the more the fewer records the bucket holds, so that the queue keeps the
most uncertain ones and seldom runs dry."""
MIN_PUSH: Final = 0.5
MAX_PUSH: Final = 2.0
MAX_HUNGER: Final = 1e3
_GAIN_PER_S: Final = 0.5
_FALL: Final = 0.95
_RISE: Final = 1.02
_SCALE_WEIGHT: Final = 0.02


class State(StrEnum):
    """What the controller is doing."""

    STARTUP = "startup"
    DEGRADE = "degrade"
    STEADY = "steady"
    PROBE = "probe"


@dataclass(frozen=True, slots=True)
class Sample:
    """What the controller is told: rates in bytes/s, counts per second.

    `affordable_bytes_per_s` is what may be sent now and `cause` the limit that set it (`budget`, `link`);
    `max_records_per_s` is what the servers
    finish; `offered_bytes_per_s` what was offered lately, held back or not; `record_bytes` is a record's
    mean and `depth_bytes` the bucket's; `blocked` why nothing can be sent at all (`uplink_down`,
    `no_server`, `no_lease`, `no_budget`), or empty.
    """

    weighed: Weighed
    num_frames: int
    affordable_bytes_per_s: float
    cause: str
    max_records_per_s: float
    offered_bytes_per_s: float
    overhead_bytes: float
    record_bytes: float
    depth_bytes: float
    max_record_bytes: float
    blocked: str
    probes_servers: bool
    is_overrun: bool
    is_probing: bool
    is_hungry: bool


class Controller:
    """Picks points; `update` four times a second, `choice` is the last decision.

    State: the present choice, the state and its cause since when, the push (the integral of the feedback)
    how much larger records are than when calibrated, and how much more is asked for while the bucket runs
    full.
    """

    def __init__(self, curve: Curve, start: OperatingPoint, now_s: float) -> None:
        self._curve = curve
        self._start_s = now_s
        self._at_s = now_s
        self._state = State.STARTUP
        self._cause = "warm_up"
        self._since_s = now_s
        self._affordable = math.inf
        self._fell_s = -math.inf
        self._push = SURPLUS
        self._bytes_scale = 1.0
        self._wanted_bytes_per_s = 0.0
        self._hunger = HUNGRY
        self._choice = Choice(start, curve.family_of(start), 1.0, 0.0, 0.0, 0.0, start.tau)
        self._has_chosen = False

    def __repr__(self) -> str:
        return f"<Controller {self._state} ({self._cause}) tau={self._choice.point.tau:.3f}>"

    @property
    def choice(self) -> Choice:
        """The point in use, with what it is expected to cost and to be worth."""
        return self._choice

    @property
    def state(self) -> State:
        """What the controller is doing."""
        return self._state

    @property
    def cause(self) -> str:
        """Why it is in this state."""
        return self._cause

    @property
    def since_s(self) -> float:
        """When the present state began."""
        return self._since_s

    @property
    def push(self) -> float:
        """The factor by which more is asked for than can be sent."""
        return self._push

    @property
    def bytes_scale(self) -> float:
        """By how much records are larger now than when calibrated."""
        return self._bytes_scale

    @property
    def wanted_bytes_per_s(self) -> float:
        """What the cameras would send if nothing limited them."""
        return self._wanted_bytes_per_s

    def record_encoded(self, num_bytes: int, family: int) -> None:
        """A record of `num_bytes` was encoded by a family: the expectation of sizes follows."""
        expected = self._curve.families[family].bytes_per_offload
        if expected > 0:
            ratio = min(max(num_bytes / expected, 0.05), 20.0)
            self._bytes_scale += _SCALE_WEIGHT * (ratio - self._bytes_scale)

    def update(self, sample: Sample, now_s: float) -> Choice:
        """The decision for what is known now."""
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        fell = sample.affordable_bytes_per_s < _FALL * self._affordable < math.inf
        rose = sample.affordable_bytes_per_s > _RISE * self._affordable
        self._affordable = sample.affordable_bytes_per_s
        if fell:
            self._fell_s = now_s
        self._integrate(sample, elapsed_s)
        if len(sample.weighed.mix.min_entropy):
            self._choose(sample)
        self._enter(*self._judge(sample, rose, now_s), now_s)
        return self._choice

    def _integrate(self, sample: Sample, elapsed_s: float) -> None:
        """The push follows the offered rate; it stands still where it could change nothing (anti-windup)."""
        affordable = sample.affordable_bytes_per_s
        surplus = _surplus(sample)
        is_free = not sample.blocked and 0 < affordable < math.inf and self._has_chosen
        if not is_free or self._state is State.STARTUP:
            self._push = surplus
            return
        if self._choice.share <= 0.0 or self._wants_less(sample):
            return
        by_servers = sample.max_records_per_s * self._choice.bytes_per_offload
        error = surplus - sample.offered_bytes_per_s / min(affordable, max(by_servers, 1.0))
        step = _GAIN_PER_S * elapsed_s * min(max(error, -1.0), 1.0)
        self._push = min(max(self._push + step, MIN_PUSH), MAX_PUSH)

    def _choose(self, sample: Sample) -> None:
        may_send = not sample.blocked or sample.probes_servers
        affordable = sample.affordable_bytes_per_s * self._push
        self._wanted_bytes_per_s = self._curve.wanted_bytes_per_s(
            sample.weighed,
            overhead_bytes=sample.overhead_bytes,
            bytes_scale=self._bytes_scale,
            max_record_bytes=sample.max_record_bytes,
        )
        # The mix remembers harder frames than come now: ask for ever more while the bucket runs full.
        self._hunger = min(2.0 * self._hunger, MAX_HUNGER) if sample.is_hungry else HUNGRY
        self._choice = self._curve.choose(
            sample.weighed,
            affordable_bytes_per_s=affordable if may_send else 0.0,
            overhead_bytes=sample.overhead_bytes,
            bytes_scale=self._bytes_scale,
            max_records_per_s=sample.max_records_per_s * self._push,
            max_record_bytes=sample.max_record_bytes,
            hunger=self._hunger,
            current=self._choice.family if self._has_chosen else None,
        )
        self._has_chosen = True

    def _judge(self, sample: Sample, rose: bool, now_s: float) -> tuple[State, str]:
        if sample.blocked:
            return State.DEGRADE, sample.blocked
        if now_s - self._start_s < STARTUP_S or sample.num_frames < STARTUP_FRAMES:
            return State.STARTUP, "warm_up"
        if sample.is_overrun or self._servers_bind(sample):
            return State.DEGRADE, "server"
        if now_s - self._fell_s < DEGRADE_S:
            return State.DEGRADE, sample.cause
        if sample.is_probing or rose:
            return State.PROBE, sample.cause
        return State.STEADY, "demand" if self._wants_less(sample) else sample.cause

    def _wants_less(self, sample: Sample) -> bool:
        return self._wanted_bytes_per_s <= sample.affordable_bytes_per_s

    def _servers_bind(self, sample: Sample) -> bool:
        by_servers = sample.max_records_per_s * self._choice.bytes_per_offload
        return by_servers < sample.affordable_bytes_per_s

    def _enter(self, state: State, cause: str, now_s: float) -> None:
        if state is not self._state:
            self._since_s = now_s
        self._state, self._cause = state, cause


def _surplus(sample: Sample) -> float:
    records = max(sample.depth_bytes / max(sample.record_bytes, 1.0), 1.0)
    return SURPLUS + SURPLUS_RECORDS / records
