"""Which operating point to use now, and why: the affordable rate met by a point of the curve, with feedback.

Called by the scheduler for every frame and record, and four times a second for a decision. Pure. `Tuning` picks
the points. Its `Feedback` says how much more to ask for than can be sent, its `Controller` in which state that is
done; the states are those of AWStream (SIGCOMM 2018).
"""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum
from typing import Final

from schemas.frontier import Frontier
from schemas.operating_point import OperatingPoint
from uplink.admission import AdmissionLimits
from uplink.curve import OVERDEMAND, Choice, Curve
from uplink.frame_mix import RATE_WINDOW_S, FrameMix
from uplink.self_check import SelfCheck
from uplink.task import OffloadTask

STARTUP_S: Final = 2.0
STARTUP_FRAMES: Final = 8
DEGRADE_S: Final = 2.0
SURPLUS: Final = 1.3
SURPLUS_RECORDS: Final = 0.5
"""More is offered than can be sent, the more the fewer records the bucket holds, so that the queue keeps the
most uncertain ones and seldom runs dry."""
MIN_FEEDBACK_GAIN: Final = 0.5
MAX_FEEDBACK_GAIN: Final = 2.0
MAX_OVERDEMAND: Final = 1e3
GAINED_S: Final = 2.0
OFFERED_S: Final = 6.0
_FEEDBACK_PER_S: Final = 0.1
"""Slow, and over some seconds of offers: what is offered in two seconds scatters by a third at a steady mix, and a
feedback of .5 a second moved the threshold by that. Steps of the budget do not wait for it."""
_FALL: Final = 0.95
_RISE: Final = 1.02
_SCALE_WEIGHT: Final = 0.02


class TuningState(StrEnum):
    """What the controller is doing.

    Startup until the cameras are known, Degrade while less can be sent than before, Steady, Probe while more may be
    possible than is used.
    """

    STARTUP = "startup"
    DEGRADE = "degrade"
    STEADY = "steady"
    PROBE = "probe"


class RecentSum:
    """The sum of what was added in the last `window_s` seconds; time never goes back."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._items: deque[tuple[float, float]] = deque()
        self._total = 0.0

    def add(self, value: float, now_s: float) -> None:
        """`value` counts from now on, for the window."""
        self._items.append((now_s, value))
        self._total += value

    def per_s(self, now_s: float) -> float:
        """The sum of the values per second."""
        self._forget(now_s)
        return self._total / self._window_s

    def count_per_s(self, now_s: float) -> float:
        """The number of values per second."""
        self._forget(now_s)
        return len(self._items) / self._window_s

    def _forget(self, now_s: float) -> None:
        while self._items and self._items[0][0] < now_s - self._window_s:
            self._total -= self._items.popleft()[1]


class Controller:
    """What is being done, and why.

    State: the state and its cause, the affordable rate of the last decision and when it last fell.
    """

    def __init__(self, now_s: float) -> None:
        self.state = TuningState.STARTUP
        self.cause = "warm_up"
        self._start_s = now_s
        self._affordable = math.inf
        self._fell_s = -math.inf

    def judge(self, limits: AdmissionLimits, choice: Choice, *, is_known: bool, now_s: float) -> None:
        """State and cause are those of now. `is_known`: enough frames were seen to judge by."""
        affordable = limits.bytes_per_s
        rose = affordable > _RISE * self._affordable
        if affordable < _FALL * self._affordable < math.inf:
            self._fell_s = now_s
        self._affordable = affordable
        self.state, self.cause = self._judged(limits, choice, rose=rose, is_known=is_known, now_s=now_s)

    def _judged(
        self, limits: AdmissionLimits, choice: Choice, *, rose: bool, is_known: bool, now_s: float
    ) -> tuple[TuningState, str]:
        if limits.blocked:
            return TuningState.DEGRADE, limits.blocked
        if now_s - self._start_s < STARTUP_S or not is_known:
            return TuningState.STARTUP, "warm_up"
        if limits.is_overrun or limits.records_per_s * choice.bytes_per_offload < limits.bytes_per_s:
            return TuningState.DEGRADE, "server"
        if now_s - self._fell_s < DEGRADE_S:
            return TuningState.DEGRADE, limits.cause
        if limits.is_probing or rose:
            return TuningState.PROBE, limits.cause
        return (
            TuningState.STEADY,
            "demand" if choice.wanted_bytes_per_s <= limits.bytes_per_s else limits.cause,
        )


class Feedback:
    """How much more is asked for than can be sent, so that the queue seldom runs dry and never grows.

    State: the gain (the integral of the error of what was offered), how much larger records are than when
    calibrated, and how much more is asked for while the bucket runs full.
    """

    def __init__(self, now_s: float) -> None:
        self.gain = SURPLUS
        self.bytes_scale = 1.0
        self.overdemand = OVERDEMAND
        self._at_s = now_s

    def record_encoded(self, num_bytes: int, expected_bytes: float) -> None:
        """A record of `num_bytes` was encoded where `expected_bytes` were: the expectation of sizes follows."""
        if expected_bytes > 0:
            ratio = min(max(num_bytes / expected_bytes, 0.05), 20.0)
            self.bytes_scale += _SCALE_WEIGHT * (ratio - self.bytes_scale)

    def update(
        self,
        limits: AdmissionLimits,
        choice: Choice | None,
        *,
        offered_bytes_per_s: float,
        is_dry: bool,
        now_s: float,
    ) -> None:
        """The gain follows the offered rate; it stands still where it could change nothing (anti-windup).

        Args:
            limits: what may be sent.
            choice: the decision whose effect is seen; None while there is none to judge by.
            offered_bytes_per_s: what was offered lately, held back or not.
            is_dry: nothing waits and the bucket runs full.
            now_s: the time.
        """
        elapsed_s, self._at_s = now_s - self._at_s, now_s
        # The mix remembers harder frames than come now: ask for ever more while the bucket runs full.
        self.overdemand = min(2.0 * self.overdemand, MAX_OVERDEMAND) if is_dry else OVERDEMAND
        affordable = limits.bytes_per_s
        records = max(limits.depth_bytes / max(limits.record_bytes, 1.0), 1.0)
        surplus = SURPLUS + SURPLUS_RECORDS / records
        if choice is None or limits.blocked or not 0 < affordable < math.inf:
            self.gain = surplus
            return
        if choice.share <= 0.0 or choice.wanted_bytes_per_s <= affordable:
            return
        by_servers = limits.records_per_s * choice.bytes_per_offload
        error = surplus - offered_bytes_per_s / min(affordable, max(by_servers, 1.0))
        step = _FEEDBACK_PER_S * elapsed_s * min(max(error, -1.0), 1.0)
        self.gain = min(max(self.gain + step, MIN_FEEDBACK_GAIN), MAX_FEEDBACK_GAIN)


class Tuning:
    """Picks points; `update` four times a second, `choice` is the last decision.

    With `is_fixed` the point in use stays the first one, and `choice` says what would be used.

    State: the frames of now, what was offered and delivered lately, how the servers' answers compare with the
    calibration, the curve corrected by that, the last choice, and `is_dry`: nothing waits and the bucket runs full,
    so that a lower threshold holds until the next record waits.
    """

    def __init__(self, frontier: Frontier, start: OperatingPoint, start_s: float, *, is_fixed: bool) -> None:
        self._calibrated = self.curve = Curve(frontier)
        self.check = SelfCheck(frontier.accuracy_by_h_min)
        self.choice = Choice(start, start, self.curve.family_of(start))
        self.controller = Controller(start_s)
        self.feedback = Feedback(start_s)
        self.mix = FrameMix(frontier.h_min_quantiles, start_s)
        self.gained = RecentSum(GAINED_S)
        self.still = RecentSum(RATE_WINDOW_S)
        self.is_dry = False
        self._offered = RecentSum(OFFERED_S)
        self._fixed = self.choice if is_fixed else None
        self._has_chosen = False

    def __repr__(self) -> str:
        controller = self.controller
        return f"<Tuning {controller.state} ({controller.cause}) tau={self.choice.point.tau:.3f}>"

    @property
    def in_use(self) -> Choice:
        """The decision that gate and encoder follow."""
        return self._fixed or self.choice

    @property
    def point(self) -> OperatingPoint:
        """The operating point that gate, selection and encoder use now."""
        return self.in_use.overdemand_point if self.is_dry else self.in_use.point

    @property
    def smallest_record_bytes(self) -> float:
        """The mean size of the records of the cheapest family, as they are now."""
        return self.feedback.bytes_scale * min(family.bytes_per_offload for family in self.curve.families)

    def encoded(self, task: OffloadTask) -> None:
        """A record was encoded at the point in use: sizes are learnt, and the task knows its expected gain."""
        family = self.in_use.family
        self.feedback.record_encoded(task.num_bytes, self.curve.families[family].bytes_per_offload)
        task.expected_gain = self.curve.gain_at(task.score, family)

    def offered(self, wire_bytes: float, now_s: float) -> None:
        """A record that is expected to take so many bytes of the wire wants to leave."""
        self._offered.add(wire_bytes, now_s)

    def delivered(self, task: OffloadTask, now_s: float) -> None:
        """The broker has the record: what its answer is expected to gain was gained."""
        self.gained.add(task.expected_gain, now_s)

    def update(self, limits: AdmissionLimits, now_s: float) -> None:
        """The choice is the one for what is known now."""
        if self.check.disagreement is not None:
            self.curve = self._calibrated.corrected(self.check.corrections)
        weighed = self.curve.weigh(self.mix.snapshot(now_s))
        is_judged = self._has_chosen and self.controller.state is not TuningState.STARTUP
        self.feedback.update(
            limits,
            self.choice if is_judged else None,
            offered_bytes_per_s=self._offered.per_s(now_s),
            is_dry=self.is_dry,
            now_s=now_s,
        )
        if len(weighed.mix.scores):
            may_send = not limits.blocked or limits.blocked == "no_server"
            self.choice = self.curve.choose(
                weighed,
                affordable_bytes_per_s=limits.bytes_per_s * self.feedback.gain if may_send else 0.0,
                overhead_bytes=limits.overhead_bytes,
                bytes_scale=self.feedback.bytes_scale,
                max_records_per_s=limits.records_per_s * self.feedback.gain,
                max_record_bytes=limits.max_record_bytes,
                overdemand=self.feedback.overdemand,
                current=self.choice.family if self._has_chosen else None,
            )
            self._has_chosen = True
        self.controller.judge(limits, self.choice, is_known=len(self.mix) >= STARTUP_FRAMES, now_s=now_s)
