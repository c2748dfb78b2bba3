"""The live board: labels are scored against the truth whichever comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from devstack.demo.board import Board
from schemas.frame import Frame
from schemas.label import AnswerSource, Label, LabelState


def frame(seq: int, truth: int | None = 3) -> Frame:
    return Frame("", "road1", seq, 1, 640, 480, "jpeg", b"x", live=True, truth=truth)


def label(
    seq: int, answer: int, source: AnswerSource = AnswerSource.EDGE, state: LabelState = LabelState.FINAL
) -> Label:
    return Label("", "road1", seq, state, source, answer, f"class {answer}", 0.9, 1, 2)


@pytest.mark.parametrize("frame_first", [True, False])
def test_a_label_is_scored_in_either_order(frame_first: bool) -> None:
    board = Board()
    events: list[Callable[[], object]] = [
        lambda: board.on_frame(frame(1)),
        lambda: board.on_label(label(1, 3)),
    ]
    for event in events if frame_first else reversed(events):
        event()
    assert (board.pair.right, board.pair.scored) == (1, 1)


def test_a_server_label_replaces_the_pairs_answer() -> None:
    board = Board()
    board.on_frame(frame(1))
    board.on_label(label(1, 5, state=LabelState.PROVISIONAL))
    board.on_label(label(1, 3, source=AnswerSource.SERVER))
    assert (board.pair.right, board.pair.scored) == (1, 1)
    row = board.cameras["road1"]
    assert (row.published, row.provisional, row.server, row.edge) == (1, 1, 1, 0)


def test_a_still_frame_is_counted_once_whatever_becomes_of_its_label() -> None:
    board = Board()
    for seq in (2, 3):
        board.on_label(replace(label(seq, 5, state=LabelState.PROVISIONAL), same_as=1))
    for seq in (2, 3):
        board.on_label(replace(label(seq, 3, source=AnswerSource.BELIEF), same_as=1))
    board.on_label(label(4, 3))
    assert board.cameras["road1"].still == 2


def test_each_model_alone_is_scored_on_the_same_sampled_frames() -> None:
    board = Board()
    board.on_sample(edge_right=False, server_right=True)
    board.on_sample(edge_right=True, server_right=True)
    assert (board.edge_alone.right, board.edge_alone.scored) == (1, 2)
    assert (board.server_alone.right, board.server_alone.scored) == (2, 2)
    assert board.accuracies() == (None, 0.5)


@pytest.mark.parametrize("truth", [None, -1])
def test_frames_without_a_scored_truth_are_not_scored(truth: int | None) -> None:
    board = Board()
    board.on_frame(frame(1, truth))
    board.on_label(label(1, 3))
    assert board.pair.scored == 0
    assert board.accuracies() == (None, None)


def test_a_dropped_frame_is_counted_and_has_no_answer() -> None:
    board = Board()
    board.on_frame(frame(1))
    board.on_label(label(1, -1, state=LabelState.DROPPED))
    assert board.cameras["road1"].dropped == 1
    assert board.pair.scored == 0
