"""The msgpack map around every message: packing, and unpacking that bounds what it allocates."""

from __future__ import annotations

from collections.abc import Mapping

import msgpack

from schemas.errors import DecodeError
from schemas.fields import Fields

_MAX_ITEMS = 64
"""Fields of a map and items of a list: bounds what nested headers in a few bytes can make us allocate."""


def pack(values: Mapping[str, object]) -> bytes:
    """The map as msgpack, strings and bytes kept apart."""
    packed: bytes = msgpack.packb(dict(values), use_bin_type=True)
    return packed


def unpack(what: str, data: bytes) -> Fields:
    """The one map in `data`, or `DecodeError` of a reason.

    Reasons: `truncated`, `trailing_bytes`, `bad_msgpack`, `wrong_type`.
    """
    try:
        value = msgpack.unpackb(
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
    return Fields.of(what, value)
