"""What the demo shows while it runs: a plain accumulator of events and the table drawn from it."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rich.console import Group
from rich.table import Table
from rich.text import Text

from schemas.frame import Frame
from schemas.label import AnswerSource, Label, LabelState
from schemas.operating_point import OperatingPoint

RECENT_LABELS = 6
IGNORE = -1


@dataclass(slots=True)
class Tally:
    """Right answers among scored ones."""

    right: int = 0
    scored: int = 0

    def add(self, right: bool) -> None:
        """Count one answer."""
        self.right += right
        self.scored += 1

    def replace(self, was_right: bool, right: bool) -> None:
        """Correct an answer that was counted before."""
        self.right += int(right) - int(was_right)

    def __str__(self) -> str:
        return f"{self.right / self.scored:6.1%} of {self.scored}" if self.scored else "–"


@dataclass(slots=True)
class CameraRow:
    """One camera's line of the table."""

    published: int = 0
    still: int = 0
    edge: int = 0
    provisional: int = 0
    server: int = 0
    dropped: int = 0
    last: str = ""
    newest_still: int = -1


@dataclass(frozen=True, slots=True)
class LinkSample:
    """The uplink at one moment of the run; rates in bytes per second, None where there is no budget."""

    at_s: float
    budget_bytes_per_s: float | None
    measured_bytes_per_s: float
    point: OperatingPoint
    state: str
    cause: str
    accuracy: float | None
    accuracy_edge: float | None


@dataclass(slots=True)
class Board:
    """Everything on the live screen.

    Changed only by the ``on_`` methods, from one task each; a label may come before its frame.
    """

    cameras: dict[str, CameraRow] = field(default_factory=dict)
    edge_alone: Tally = field(default_factory=Tally)
    pair: Tally = field(default_factory=Tally)
    server_alone: Tally = field(default_factory=Tally)
    samples: list[LinkSample] = field(default_factory=list)
    recent: deque[Label] = field(default_factory=lambda: deque(maxlen=RECENT_LABELS))
    truths: dict[tuple[str, int], int] = field(default_factory=dict)
    waiting: dict[tuple[str, int], list[Label]] = field(default_factory=dict)
    pair_right: dict[tuple[str, int], bool] = field(default_factory=dict)

    def on_frame(self, frame: Frame) -> None:
        """Note one published frame and score the labels that came before it."""
        self.row(frame.camera).published += 1
        truth = IGNORE if frame.truth is None else frame.truth
        self.truths[frame.camera, frame.seq] = truth
        for label in self.waiting.pop((frame.camera, frame.seq), []):
            self.score(label, truth)

    def on_label(self, label: Label) -> None:
        """Note one label as it appears in the stream."""
        row = self.row(label.camera)
        if label.state is LabelState.DROPPED:
            row.dropped += 1
            return
        if label.same_as >= 0 and label.seq > row.newest_still:  # its final label comes later again
            row.still, row.newest_still = row.still + 1, label.seq
        if label.source is AnswerSource.SERVER:
            row.server += 1
        elif label.state is LabelState.PROVISIONAL:
            row.provisional += 1
        else:
            row.edge += 1
        row.last = f"{label.name} {label.confidence:.0%}"
        self.recent.append(label)
        truth = self.truths.get((label.camera, label.seq))
        if truth is None:
            self.waiting.setdefault((label.camera, label.seq), []).append(label)
        else:
            self.score(label, truth)

    def on_sample(self, *, edge_right: bool, server_right: bool) -> None:
        """Note whether each model alone is right on one whole frame."""
        self.edge_alone.add(edge_right)
        self.server_alone.add(server_right)

    def on_link(self, sample: LinkSample) -> None:
        """Note the state of the uplink."""
        self.samples.append(sample)

    def score(self, label: Label, truth: int) -> None:
        """Count an answer against the rendered truth; frames without one are not scored."""
        if truth == IGNORE:
            return
        key = (label.camera, label.seq)
        right = label.label == truth
        if key in self.pair_right:
            self.pair.replace(self.pair_right[key], right)
        else:
            self.pair.add(right)
        self.pair_right[key] = right

    def row(self, camera: str) -> CameraRow:
        """Return the row of ``camera``, made at its first event."""
        return self.cameras.setdefault(camera, CameraRow())

    def accuracies(self) -> tuple[float | None, float | None]:
        """Return the accuracy of the pair and of the edge alone so far."""
        return (
            self.pair.right / self.pair.scored if self.pair.scored else None,
            self.edge_alone.right / self.edge_alone.scored if self.edge_alone.scored else None,
        )

    def render(self, elapsed_s: float, duration_s: float) -> Group:
        """Return the screen as a rich renderable."""
        table = Table(title=f"saccade · {elapsed_s:4.0f} of {duration_s:.0f} s", title_justify="left")
        for column in (
            "camera",
            "published",
            "still",
            "edge final",
            "asked server",
            "server final",
            "dropped",
            "last label",
        ):
            table.add_column(column, justify="left" if column in ("camera", "last label") else "right")
        for name, row in sorted(self.cameras.items()):
            counts = (row.published, row.still, row.edge, row.provisional, row.server, row.dropped)
            table.add_row(name, *(str(number) for number in counts), row.last)
        accuracy = Text(
            f"accuracy   pair {self.pair}   edge alone {self.edge_alone}   "
            f"server alone, sampled {self.server_alone}"
        )
        return Group(table, accuracy, Text(self.link_line()))

    def link_line(self) -> str:
        """Return the uplink's line: budget, measured rate, controller state and operating point."""
        if not self.samples:
            return "uplink     waiting for the edge worker"
        sample = self.samples[-1]
        budget = (
            "none" if sample.budget_bytes_per_s is None else f"{sample.budget_bytes_per_s / 1000:.1f} kB/s"
        )
        point = sample.point
        return (
            f"uplink     budget {budget}   measured {sample.measured_bytes_per_s / 1000:.1f} kB/s   "
            f"{sample.state}{f' ({sample.cause})' if sample.cause else ''}   "
            f"τ {point.tau:.2f}   δ {point.delta:.2f}   {point.codec}-{point.quality}"
        )

    def line(self, elapsed_s: float) -> str:
        """Return one line of progress, for a log instead of a screen."""
        published = sum(row.published for row in self.cameras.values())
        server = sum(row.server for row in self.cameras.values())
        return (
            f"{elapsed_s:5.0f} s  frames {published}  server finals {server}  pair {self.pair}  "
            f"edge alone {self.edge_alone}  server sampled {self.server_alone}  {self.link_line()}"
        )
