"""What is deployed and what runs: exact as JSON, and the decisions that keep edge and server in step."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from schemas.deployment import (
    Deployment,
    Pair,
    Role,
    Standing,
    WorkerModels,
    decode_deployment,
    decode_worker_models,
    encode_deployment,
    encode_worker_models,
    is_decided,
    may_switch,
    standing,
    starting_pair,
    unneeded,
)
from schemas.errors import DecodeError, ModelError

OLD, NEW = Pair("", "e0", "s0", "c0"), Pair("/pairs/1", "e1", "s1", "c1")
DEPLOYMENT = Deployment(3, NEW, OLD)


def edge(classes: str = "c0", **fields: Any) -> WorkerModels:
    return replace(WorkerModels("e", Role.EDGE, "small", "e0", classes), **fields)


def server(*serves: str, **fields: Any) -> WorkerModels:
    made = WorkerModels("s", Role.SERVER, "large", serves[0] if serves else "", "c0", serves)
    return replace(made, **fields)


def test_messages_round_trip_and_a_long_trouble_is_cut() -> None:
    assert decode_deployment(encode_deployment(DEPLOYMENT)) == DEPLOYMENT
    told = server("s1", "s0", generation=3, trouble="no such file", failed=True)
    assert decode_worker_models(encode_worker_models(told)) == told
    assert len(decode_worker_models(encode_worker_models(replace(told, trouble="x" * 5_000))).trouble) == 400


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"generation": 0}'])
def test_what_is_no_deployment_is_refused(text: str) -> None:
    with pytest.raises(DecodeError, match="deployment"):
        decode_deployment(text)


@pytest.mark.parametrize(
    ("field", "value"), [("role", "pilot"), ("serves", [1]), ("failed", 1), ("classes", None)]
)
def test_a_bad_field_of_a_workers_models_is_named(field: str, value: object) -> None:
    plain = json.loads(encode_worker_models(server("s1"))) | {field: value}
    with pytest.raises(DecodeError, match=field):
        decode_worker_models(json.dumps(plain))


def test_going_back_is_a_new_generation_and_back_again_is_the_newer_pair() -> None:
    back = DEPLOYMENT.taken_back()
    assert back == Deployment(4, OLD, NEW)
    assert back.taken_back() == Deployment(5, NEW, OLD)
    assert DEPLOYMENT.followed_by(NEW) == Deployment(4, NEW, OLD)


@pytest.mark.parametrize(
    ("workers", "may"),
    [
        ([], True),
        ([edge()], True),
        ([server("s1")], True),
        ([server("s1", "s0"), server("s1")], True),
        ([server("s0")], False),
        ([server("s1"), server("s0")], False),
    ],
)
def test_an_edge_switches_only_when_every_server_holds_the_pair(
    workers: list[WorkerModels], may: bool
) -> None:
    assert may_switch(NEW, workers) is may


def test_a_pair_of_unknown_server_waits_for_none() -> None:
    assert may_switch(Pair(""), [server("s0")])


@pytest.mark.parametrize(
    ("role", "workers", "expected"),
    [
        (Role.EDGE, [server("s1", "s0")], NEW),
        (Role.EDGE, [server("s0")], OLD),
        (Role.EDGE, [], NEW),
        (Role.SERVER, [edge("c0")], OLD),
        (Role.SERVER, [edge("c1")], NEW),
        (Role.SERVER, [], NEW),
    ],
)
def test_who_starts_during_a_change_begins_where_no_record_is_refused(
    role: Role, workers: list[WorkerModels], expected: Pair
) -> None:
    assert starting_pair(DEPLOYMENT, role, workers) == expected
    assert starting_pair(None, role, workers) == Pair("")


@pytest.mark.parametrize(
    ("held", "workers", "of_late", "gone"),
    [
        (["c1"], [], (), set()),
        (["c1", "c0"], [edge("c0")], (), set()),
        (["c1", "c0"], [edge("c1")], (), {1}),
        (["c1", "c0"], [edge("c1")], ("c0",), set()),
        (["c0", "c0"], [edge("c0")], ("c0",), {1}),
        (["c2", "c1", "c0"], [edge("c0"), edge("c2")], (), {1}),
        (["c1", "c0"], [server("s0")], (), {1}),
    ],
)
def test_a_server_keeps_a_model_as_long_as_a_record_may_ask_for_it(
    held: list[str], workers: list[WorkerModels], of_late: tuple[str, ...], gone: set[int]
) -> None:
    assert unneeded(held, workers, asked_of_late=of_late) == gone


@pytest.mark.parametrize(
    ("worker", "expected"),
    [
        (edge(generation=2), Standing.UNAWARE),
        (edge(generation=3, trouble="waits"), Standing.UNDER_WAY),
        (edge(generation=3, trouble="no file", failed=True), Standing.FAILED),
        (edge(generation=3), Standing.RUNS),
    ],
)
def test_a_workers_standing(worker: WorkerModels, expected: Standing) -> None:
    assert standing(worker, DEPLOYMENT) is expected


RUNS: dict[str, Any] = {"generation": 3}
WAITS: dict[str, Any] = {"generation": 3, "trouble": "waits until every server holds the pair"}
FAILED: dict[str, Any] = {"generation": 3, "trouble": "no file", "failed": True}


@pytest.mark.parametrize(
    ("workers", "decided"),
    [
        ([], True),
        ([edge(**RUNS), server("s1", **RUNS)], True),
        ([edge(**WAITS), server("s1", **RUNS)], False),
        ([edge(**RUNS), server("s1")], False),
        ([edge(**FAILED), server("s1", **RUNS)], True),
        ([edge(**WAITS), server("s0", **FAILED)], True),
        ([edge(**WAITS), server("s0", **FAILED), server("s0", **WAITS)], False),
    ],
)
def test_when_nothing_more_will_change(workers: list[WorkerModels], decided: bool) -> None:
    assert is_decided(workers, DEPLOYMENT) is decided


def test_a_model_that_is_not_the_pairs_is_refused() -> None:
    NEW.check(Role.EDGE, "e1", "c1")
    Pair("").check(Role.SERVER, "any", "list")
    for role, weights, classes, what in (
        (Role.EDGE, "s1", "c1", "weights"),
        (Role.SERVER, "s1", "c0", "classes"),
    ):
        with pytest.raises(ModelError, match=f"{role} model of /pairs/1: its {what}"):
            NEW.check(role, weights, classes)
