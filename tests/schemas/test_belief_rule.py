"""The belief's parameters: exact round trip, and errors that name the field and its value."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest

from schemas.belief_rule import STILLS, BeliefRule, belief_rule_from_fields
from schemas.errors import DecodeError
from schemas.fields import Fields

RULE = BeliefRule(
    floor=0.4,
    gamma=0.5,
    memory_s=8.0,
    alpha=0.4,
    beta=1.5,
    least_weight=0.25,
    prior=(0.7, 0.3),
    patience_s=0.7,
    agreement=0.6,
)


def read(document: object) -> BeliefRule:
    return belief_rule_from_fields(Fields.of("belief", json.loads(json.dumps(document))))


@pytest.mark.parametrize("rule", [RULE, STILLS, BeliefRule(memory_s=math.inf)])
def test_a_rule_round_trips_exactly(rule: BeliefRule) -> None:
    assert read(rule.to_json()) == rule


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("floor", 1.0),
        ("gamma", 0.0),
        ("memory_s", -1.0),
        ("alpha", 0.0),
        ("beta", -0.5),
        ("least_weight", 0.0),
        ("redundancy", 1.5),
        ("patience_s", -0.1),
        ("agreement", 1.1),
        ("prior", [0.5, 0.6]),
        ("prior", [1.0, 0.0]),
    ],
)
def test_a_value_out_of_range_is_named(name: str, value: Any) -> None:
    with pytest.raises(DecodeError, match=rf"belief\.{name}"):
        read({**RULE.to_json(), name: value})
    with pytest.raises(ValueError, match=name):
        fields: dict[str, Any] = {name: tuple(value) if name == "prior" else value}
        BeliefRule(**fields)


def test_a_missing_field_is_named() -> None:
    document = RULE.to_json()
    del document["beta"]
    with pytest.raises(DecodeError, match=r"belief\.beta: missing"):
        read(document)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("patience_s", replace(RULE, patience_s=0.0)), ("agreement", replace(RULE, agreement=0.0))],
)
def test_a_rule_of_before_there_was_such_a_field_has_none(name: str, expected: BeliefRule) -> None:
    document = RULE.to_json()
    del document[name]
    assert read(document) == expected
