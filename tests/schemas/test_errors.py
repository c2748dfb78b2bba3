"""Errors that a user meets are one line each."""

from __future__ import annotations

from schemas.errors import DecodeError, SaccadeError, SettingsError, TransientError, leaves


def test_an_error_prints_as_one_line() -> None:
    assert str(SettingsError("edge.tau = -1:\n  must be\tat least 0")) == "edge.tau = -1: must be at least 0"


def test_a_decode_error_has_the_common_root() -> None:
    assert isinstance(DecodeError("version", "frame.v: 9"), SaccadeError)


def test_leaves_are_what_nested_groups_hold_in_order() -> None:
    first, second, third = TransientError("a"), ValueError("b"), TransientError("c")
    nested = ExceptionGroup("outer", [first, ExceptionGroup("inner", [second, third])])
    assert leaves(nested) == [first, second, third]
    assert leaves(first) == [first]
