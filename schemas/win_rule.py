"""Which of two labels of a frame wins. Pure; every store of labels follows it, and Redis runs it as Lua.

Nothing overwrites a final label, a provisional one overwrites nothing and gives way only to a server's label or a
belief's, and to those only until the deadline and the grace after it. A belief's counts only where it ends a
wait, which its deadline shows. A write that is repeated changes nothing.
"""

from __future__ import annotations

from enum import StrEnum

from schemas.label import AnswerSource, Label, LabelState


class PutResult(StrEnum):
    """What the win rule did with a label; only WRITTEN changed anything."""

    WRITTEN = "WRITTEN"
    UNCHANGED = "UNCHANGED"
    """Exactly this label was written before: an answer got lost and the write was repeated."""
    ALREADY_FINAL = "ALREADY_FINAL"
    """The frame has its last word: a final label, or a provisional one whose deadline has passed."""
    STALE = "STALE"
    """An edge's label, a belief's that did not wait, or the loss of the frame, came after a provisional label: the
    server was asked."""
    LATE = "LATE"
    """The deadline and its grace had passed by the store's clock."""


def judge(old: Label | None, new: Label, *, now_ns: int, grace_ns: int) -> PutResult:  # noqa: PLR0911 - a table
    """What becomes of `new` where `old` stands (None = nothing does).

    Args:
        now_ns: the store's clock, which is the one that deadlines are on.
        grace_ns: how long after the deadline a server's or a belief's label still counts.
    """

    def is_past(deadline_ns: int) -> bool:
        return deadline_ns > 0 and now_ns > deadline_ns + grace_ns

    if old is not None:
        if (old.state, old.source, old.labelled_ns) == (new.state, new.source, new.labelled_ns):
            return PutResult.UNCHANGED
        if old.state is not LabelState.PROVISIONAL:
            return PutResult.ALREADY_FINAL
        # After its deadline readers take a provisional label as the last word.
        is_last_word = is_past(old.deadline_ns)
        if new.state is LabelState.PROVISIONAL:
            return PutResult.ALREADY_FINAL if is_last_word else PutResult.STALE
        # An edge that sees the frame again and is sure now, by itself or by the camera's belief, must not shut out the
        # server that was asked. A belief that ends a wait keeps the deadline of the label that waited.
        is_sure_at_once = new.source is not AnswerSource.SERVER and new.deadline_ns == 0
        if new.state is not LabelState.FINAL or new.source is AnswerSource.EDGE or is_sure_at_once:
            return PutResult.STALE
        if is_last_word:
            return PutResult.LATE
    if new.source is AnswerSource.SERVER and is_past(new.deadline_ns):
        return PutResult.LATE
    return PutResult.WRITTEN
