"""The msgpack map or list around every message: packing, and unpacking that bounds what it allocates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgpack

from schemas.errors import DecodeError
from schemas.fields import Fields

_MAX_ITEMS = 64
"""Fields of a map and items of a list: bounds what nested headers in a few bytes can make us allocate."""


_MAX_OBJECTS = 1024
"""All values of a message, however they are nested; a valid one has some twenty. A valid 4-MB frame with ignored
fields made of maps took 250 MB and a second."""
# First byte of a value -> bytes of its length field, and bytes of what follows beside that length.
_FIXED = {0xC0: 0, 0xC2: 0, 0xC3: 0, 0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8}
_FIXED |= {0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8, 0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17}
_SIZED = {0xC4: (1, 0), 0xC5: (2, 0), 0xC6: (4, 0), 0xC7: (1, 1), 0xC8: (2, 1), 0xC9: (4, 1)}
_SIZED |= {0xD9: (1, 0), 0xDA: (2, 0), 0xDB: (4, 0)}
_NESTING = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}
"""First byte of a long list or map -> bytes of its length field, and values an item."""


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

    Reasons: `truncated`, `trailing_bytes`, `bad_msgpack`, `wrong_type`, `too_large`.
    """
    return Fields.of(what, _value(what, data))


def unpack_list(what: str, data: bytes, names: Sequence[str]) -> Fields:
    """The items of the one list in `data` under their names in order; more items are ignored.

    Raises:
        DecodeError: `truncated`, `trailing_bytes`, `bad_msgpack`, `wrong_type`, `too_large`, `missing_field`.
    """
    value = _value(what, data)
    if not isinstance(value, list):
        raise DecodeError("wrong_type", f"{what}: expected a list, got {type(value).__name__}")
    return Fields(what, dict(zip(names, value, strict=False)))


def _value(what: str, data: bytes) -> object:
    if not _has_few_objects(data):
        raise DecodeError("too_large", f"{what}: more than {_MAX_OBJECTS} values in {len(data)} bytes")
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


def _has_few_objects(data: bytes) -> bool:
    """True when the first message in `data` has at most `_MAX_OBJECTS` values; it need not be well formed.

    Follows msgpack's specification (github.com/msgpack/msgpack/blob/master/spec.md) and looks at no value.
    """
    at, expected, num_objects = 0, 1, 0
    while expected and at < len(data):
        head = data[at]
        at, expected, num_objects = at + 1, expected - 1, num_objects + 1
        if 0x80 <= head < 0x90:
            expected += 2 * (head & 0x0F)
        elif 0x90 <= head < 0xA0:
            expected += head & 0x0F
        elif 0xA0 <= head < 0xC0:
            at += head & 0x1F
        elif head in _FIXED:
            at += _FIXED[head]
        elif head in _SIZED:
            size, more = _SIZED[head]
            at += size + more + int.from_bytes(data[at : at + size], "big")
        elif head in _NESTING:
            size, each = _NESTING[head]
            expected += each * int.from_bytes(data[at : at + size], "big")
            at += size
        if num_objects > _MAX_OBJECTS:
            return False
    return True
