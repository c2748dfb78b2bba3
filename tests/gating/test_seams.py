"""What it takes to add a score, a selection rule or a task: one function and one line, in one file."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from edge_workers.settings import EdgeSettings
from gating.entropy import SCORES, FloatArray, Score
from gating.gate import Gate
from gating.select import SELECTORS, select
from gating.task import Answer, Task
from schemas.fields import Fields
from schemas.geometry import Attention, Positions
from schemas.operating_point import OperatingPoint, point_from_fields


def test_a_score_of_ones_own_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def absence(outputs: FloatArray) -> np.ndarray:
        return np.asarray(1.0 / (1.0 + outputs.max(axis=1).astype(np.float64)))

    monkeypatch.setitem(SCORES, "absence", absence)
    assert EdgeSettings(score="absence").score == "absence"
    results = Gate(score="absence").decide(np.array([[9.0, 0.0], [0.0, 0.0]], np.float32), 0.5)
    assert [(result.score, result.asks) for result in results] == [(0.1, False), (1.0, True)]


def test_a_selection_rule_of_ones_own_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def first(attention: Attention, point: OperatingPoint) -> Positions:
        return np.arange(len(attention))[: point.min_patches]

    monkeypatch.setitem(SELECTORS, "first", first)
    written = OperatingPoint(1.0, 0.5, min_patches=3, selection="first").to_json()
    assert EdgeSettings(selection="first").point.selection == "first"
    point = point_from_fields(Fields("point", written))
    assert select(np.full(196, 1 / 196, np.float32), point).tolist() == [0, 1, 2]


class ManyLabels:
    """Every class on its own: present from a probability of one half on; the present ones lead."""

    scores: Mapping[str, Score] = {"nearest": lambda outputs: np.exp(-np.abs(outputs).min(axis=1))}

    def decode(self, outputs: FloatArray) -> list[Answer]:
        answers = []
        for row in 1 / (1 + np.exp(-outputs)):
            order = np.argsort(-row, kind="stable")
            present = order[row[order] >= 0.5]
            kept = present if len(present) else order[:1]
            answers.append(Answer(tuple(kept.tolist()), tuple(row[kept].tolist())))
        return answers

    def agree(self, edge: Answer, server: Answer) -> bool:
        return set(edge.classes) == set(server.classes)


def test_a_task_of_ones_own_is_an_argument_of_the_gate() -> None:
    task: Task = ManyLabels()
    clear, close = Gate(task, "nearest").decide(np.array([[9.0, -9.0, 9.0], [9.0, 0.1, -9.0]]), 0.5)
    assert (clear.answer.classes, clear.asks) == ((0, 2), False)
    assert (close.answer.classes, close.asks) == ((0, 1), True)
    assert not task.agree(clear.answer, close.answer)
