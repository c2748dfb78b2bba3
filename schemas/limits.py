"""Default size limits of messages.

Settings may change them; nothing is decoded before its size is checked.
"""

from typing import Final

MAX_FRAME_BYTES: Final = 4 * 1024 * 1024
"""Compressed image of one frame: a 4K JPEG at quality 95 takes about 3 MB."""
MAX_FRAME_PIXELS: Final = 7680 * 4320
"""Decoded pixels of one frame (8K); 100 MB as RGB."""
MAX_SIDE: Final = 65_535
"""Pixels of one side, as many as a JPEG can have: an image of a few pixels by many millions costs memory a row."""
MAX_OFFLOAD_BYTES: Final = 256 * 1024
"""One offload record, before and after zstd: all 196 raw patches take 150,528 bytes."""

FRAME_ENVELOPE_BYTES: Final = 1024
"""Room for a frame's fields beside its image bytes."""
RECORD_OVERHEAD_BYTES: Final = 512
"""Room for Kafka's own batch and record headers around one value."""
DEAD_LETTER_ROOM_BYTES: Final = 64 * 1024
"""What a dead-letter topic allows above its source's limit: the reason and origin headers."""

MAX_NAME_CHARS: Final = 128
MAX_CAMERA_CHARS: Final = 2 * MAX_NAME_CHARS + 1
"""A camera's id: the name of its site, a slash, its own name."""
MAX_SEQ: Final = 2**63 - 1
MAX_TIME_NS: Final = 2**63 - 1
MAX_CLASSES: Final = 1_000_000
