"""The msgpack map or list around every message: packing, and unpacking that bounds what it allocates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgpack

from schemas.errors import DecodeError
from schemas.fields import Fields

_MAX_ITEMS = 64
"""Fields of a map and items of a list: bounds what nested headers in a few bytes can make us allocate."""


def pack(values: Mapping[str, object]) -> bytes:
    """The map as msgpack, strings and bytes kept apart."""
    packed: bytes = msgpack.packb(dict(values), use_bin_type=True)
    return packed


def pack_list(values: Sequence[object]) -> bytes:
    """The list as msgpack, strings and bytes kept apart."""
    packed: bytes = msgpack.packb(list(values), use_bin_type=True)
    return packed


def unpack(what: str, data: bytes) -> Fields:
    """The one map in `data`, or `DecodeError` of a reason.

    Reasons: `truncated`, `trailing_bytes`, `bad_msgpack`, `wrong_type`.
    """
    return Fields.of(what, _value(what, data))


def unpack_list(what: str, data: bytes, names: Sequence[str]) -> Fields:
    """The items of the one list in `data` under their names in order; more items are ignored.

    Raises:
        DecodeError: `truncated`, `trailing_bytes`, `bad_msgpack`, `wrong_type`, `missing_field`.
    """
    value = _value(what, data)
    if not isinstance(value, list):
        raise DecodeError("wrong_type", f"{what}: expected a list, got {type(value).__name__}")
    return Fields(what, dict(zip(names, value, strict=False)))


def _value(what: str, data: bytes) -> object:
    try:
        value: object = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            max_array_len=_MAX_ITEMS,
            max_map_len=_MAX_ITEMS,
            max_ext_len=_MAX_ITEMS,
        )
    except msgpack.ExtraData as error:
        raise DecodeError("trailing_bytes", f"{what}: {len(error.extra)} bytes after the message") from None
    except (ValueError, TypeError, msgpack.UnpackException, MemoryError, RecursionError) as error:
        reason = "truncated" if "incomplete" in str(error) else "bad_msgpack"
        raise DecodeError(reason, f"{what}: {len(data)} bytes are no msgpack map: {error}") from None
    return value
