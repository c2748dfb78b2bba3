"""Errors that a user meets are one line each."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from schemas.answer import decode_answer
from schemas.camera_state import decode_camera_state
from schemas.deployment import decode_deployment, decode_worker_models
from schemas.errors import DecodeError, SaccadeError, SettingsError, TransientError, decodes, leaves
from schemas.event import decode_event
from schemas.server_report import decode_report
from schemas.trace import EDGE, decode_trace


def test_an_error_prints_as_one_line() -> None:
    assert str(SettingsError("edge.tau = -1:\n  must be\tat least 0")) == "edge.tau = -1: must be at least 0"


def test_a_decode_error_has_the_common_root() -> None:
    assert isinstance(DecodeError("version", "frame.v: 9"), SaccadeError)


def test_a_bug_of_a_decoder_is_an_error_of_what_it_decoded() -> None:
    @decodes
    def decode_thing(data: bytes) -> int:
        if not data:
            raise DecodeError("truncated", "thing: empty")
        return {b"a": 1}[data]

    assert decode_thing(b"a") == 1
    with pytest.raises(DecodeError, match="thing: empty"):
        decode_thing(b"")
    with pytest.raises(DecodeError, match="decode_thing: KeyError: b'b'") as found:
        decode_thing(b"b")
    assert found.value.reason == "unforeseen"


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, "{", "", '{"v": 1}', "[1, 2, 3]"])
@pytest.mark.parametrize(
    "decode",
    [
        decode_answer,
        decode_camera_state,
        decode_deployment,
        decode_worker_models,
        decode_event,
        decode_report,
        lambda text: decode_trace({EDGE: text}),
    ],
)
def test_whatever_stands_in_a_text_is_refused_as_what_it_is(
    decode: Callable[[str], object], text: str
) -> None:
    with pytest.raises(DecodeError) as found:
        decode(text)
    assert found.value.reason != "unforeseen"


def test_leaves_are_what_nested_groups_hold_in_order() -> None:
    first, second, third = TransientError("a"), ValueError("b"), TransientError("c")
    nested = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])
    assert leaves(nested) == [first, second, third]
    assert leaves(first) == [first]
