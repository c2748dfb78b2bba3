"""The one error of decoding: what arrived from outside is not what its schema says."""

from __future__ import annotations


class DecodeError(ValueError):
    """Bytes, fields or a file that do not follow their schema.

    `reason` is a short slug for metrics and dead-letter headers (`version`, `missing_field`, `wrong_type`,
    `out_of_range`, `too_large`, `truncated`, `trailing_bytes`, `bad_msgpack`, `bad_zstd`, `bad_bitmap`,
    `bad_patches`, `bad_image`, ...); `str()` is one line that names the field, the value and what is allowed.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[type[DecodeError], tuple[str, str]]:
        return (type(self), (self.reason, str(self)))
