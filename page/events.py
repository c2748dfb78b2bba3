"""When a label is worth telling: it must stand for a while to begin, and may be gone for a while before it ends.

Pure: labels and times come in, events come out. One tracker a camera; frames come in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.event import UNKNOWN, Event, Kind
from schemas.label import Label

_NS = 1_000_000_000
_LATE_NS: Final = 10 * _NS
"""A frame that comes later than this behind the newest changes nothing any more."""
_SET_BACK_FRAMES: Final = 5
"""So many of them in a row are no stragglers: the camera's clock was set back."""


@dataclass(frozen=True, slots=True)
class Patience:
    """A label begins once it has stood for `stand_s`, and ends once it was gone for `gone_s`."""

    stand_s: float
    gone_s: float


@dataclass(frozen=True, slots=True)
class EventRule:
    """How patient to be with each label.

    Frames below `min_confidence` count as `unknown`. Labels in `ignored` (such as `none`) are no events: they
    only end others. `by_label` overrides `patience`.
    """

    patience: Patience
    min_confidence: float = 0.5
    ignored: frozenset[str] = frozenset({"none", UNKNOWN})
    by_label: Mapping[str, Patience] = field(default_factory=dict)

    def of(self, label: str) -> Patience:
        """The patience with one label."""
        return self.by_label.get(label, self.patience)

    def name_of(self, label: Label) -> str:
        """The label's name, `unknown` where nobody is sure, or empty where the frame has no answer."""
        if label.cause:
            return ""
        return label.name if label.confidence >= self.min_confidence else UNKNOWN


@dataclass(slots=True)
class _Run:
    """Frames of one label without another between them."""

    label: str
    first_seq: int
    first_ns: int
    last_seq: int
    last_ns: int
    best_seq: int
    confidence: float

    def add(self, label: Label) -> None:
        self.last_seq, self.last_ns = label.seq, label.captured_ns
        if label.confidence > self.confidence:
            self.best_seq, self.confidence = label.seq, label.confidence


class EventTracker:
    """One camera's events.

    State: the label that stands (`_standing`) and the run of the label that is seen now (`_run`), which are
    the same object while the standing label is seen; and how many frames in a row came too late (`_num_late`).
    """

    def __init__(self, site: str, camera: str, rule: EventRule) -> None:
        self._site = site
        self._camera = camera
        self._rule = rule
        self._standing: _Run | None = None
        self._run: _Run | None = None
        self._num_late = 0
        self.newest_ns = 0
        """Capture time of the newest frame with an answer."""

    @property
    def standing(self) -> str:
        """The label that has begun and not ended; empty without one."""
        return self._standing.label if self._standing else ""

    @property
    def quiet_at_ns(self) -> int | None:
        """When the standing label ends if nothing more is seen; None without one."""
        if self._standing is None:
            return None
        return self._standing.last_ns + round(self._rule.of(self._standing.label).gone_s * _NS)

    def see(self, label: Label) -> list[Event]:
        """What this frame's answer brings about."""
        name = self._rule.name_of(label)
        if not name:
            return []
        events = []
        if label.captured_ns < self.newest_ns - _LATE_NS:
            self._num_late += 1
            if self._num_late < _SET_BACK_FRAMES:
                return []
            events = self._restart()
        self._num_late = 0
        if label.captured_ns < self.newest_ns:
            # Its final answer came after those of later frames: it may strengthen a run, it starts none.
            if self._run is not None and self._run.label == name and label.confidence > self._run.confidence:
                self._run.best_seq, self._run.confidence = label.seq, label.confidence
            return []
        self.newest_ns = label.captured_ns
        events += self.quiet(label.captured_ns)
        self._extend(name, label)
        assert self._run is not None
        stood_ns = self._run.last_ns - self._run.first_ns
        if self._run is self._standing or stood_ns < self._rule.of(name).stand_s * _NS:
            return events
        if name in self._rule.ignored:
            return events
        return [*events, self._begin(self._run)]

    def quiet(self, now_ns: int) -> list[Event]:
        """What the passing of time brings about; `now_ns` is on the clock of the captures."""
        ends_ns = self.quiet_at_ns
        return [] if ends_ns is None or now_ns < ends_ns else self._end()

    def _restart(self) -> list[Event]:
        """The camera's clock was set back: what stood is over, and times begin anew."""
        events = self._end()
        self._run, self.newest_ns = None, 0
        return events

    def _end(self) -> list[Event]:
        if self._standing is None:
            return []
        ended, self._standing = self._standing, None
        if self._run is ended:
            self._run = None
        return [self._event(Kind.ENDED, ended, "")]

    def _extend(self, name: str, label: Label) -> None:
        if self._standing is not None and name == self._standing.label:
            self._run = self._standing
        if self._run is not None and self._run.label == name:
            self._run.add(label)
        else:
            self._run = _Run(
                name,
                label.seq,
                label.captured_ns,
                label.seq,
                label.captured_ns,
                label.seq,
                label.confidence,
            )

    def _begin(self, run: _Run) -> Event:
        before, self._standing = self.standing, run
        return self._event(Kind.CHANGED if before else Kind.BEGUN, run, before)

    def _event(self, kind: Kind, run: _Run, before: str) -> Event:
        return Event(
            id=f"{self._camera}:{run.first_seq}:{kind.value}",
            site=self._site,
            camera=self._camera,
            kind=kind,
            label=run.label,
            before=before,
            at_ns=run.last_ns if kind is Kind.ENDED else run.first_ns,
            first_seq=run.first_seq,
            best_seq=run.best_seq,
            last_seq=run.last_seq,
            confidence=run.confidence,
        )
