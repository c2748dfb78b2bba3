"""Errors that a user meets are one line each."""

from __future__ import annotations

from runtime.errors import BadMessage, SettingsError, TransientError, leaves
from schemas.errors import DecodeError


def test_an_error_prints_as_one_line() -> None:
    assert str(SettingsError("edge.tau = -1:\n  must be\tat least 0")) == "edge.tau = -1: must be at least 0"


def test_a_bad_message_is_a_decode_error() -> None:
    assert BadMessage is DecodeError


def test_leaves_are_what_nested_groups_hold_in_order() -> None:
    first, second, third = TransientError("a"), ValueError("b"), TransientError("c")
    nested = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])
    assert leaves(nested) == [first, second, third]
    assert leaves(first) == [first]
