"""What one offloaded frame weighs on the uplink: the encoded record, Kafka's framing and TCP/IP's headers.

    wire(value) = n + 52 * ceil(n / 1448),   n = value + 140

140 bytes frame a record that travels alone in its produce request, as it does behind a thin uplink: 54 for
the request (size, header with client id "saccade", acks and timeout, one topic, one partition) and 86 for the
record batch with the camera as key, as aiokafka builds it. 52 bytes are the IPv4 and TCP headers with
timestamps of a 1,500-byte link's segment, which leaves 1,448 for data. TLS (29 bytes a 16-kB record) and
retransmissions come on top and are left out. The same formula is used for
every method, so that no rival is charged for an envelope that another escapes.

Records that leave together share the request and the batch's header (61 bytes), and a record then adds 9 bytes
of its own, without a key. `share_of_a_batch` is what one of `BATCH_RECORDS` weighs.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from schemas.geometry import NUM_PATCHES
from schemas.offload import Offload, bitmap_of, encode_offload

RECORD_FRAMING_BYTES: Final = 140
SEGMENT_HEADER_BYTES: Final = 52
SEGMENT_DATA_BYTES: Final = 1448
BATCH_RECORDS: Final = 8
_BATCH_FRAMING_BYTES: Final = 54 + 61
_RECORD_IN_BATCH_BYTES: Final = 9

_ALL_PATCHES = np.arange(NUM_PATCHES, dtype=np.int64)


def wire_bytes(value_bytes: int) -> int:
    """Return the bytes on the uplink for a record whose value has `value_bytes` (>= 0)."""
    framed = value_bytes + RECORD_FRAMING_BYTES
    return framed + SEGMENT_HEADER_BYTES * -(-framed // SEGMENT_DATA_BYTES)


def record_wire_bytes(
    codec: str, quality: int, patches: bytes, positions: NDArray[np.int64] = _ALL_PATCHES
) -> int:
    """Return the bytes on the uplink of one offload record that carries `patches`.

    The other fields hold values of everyday length; `patches` may be any method's payload.
    """
    record = Offload(
        camera="site-1/camera-01",
        seq=1_000_000,
        captured_ns=1_790_000_000_123_456_789,
        deadline_ns=1_790_000_002_123_456_789,
        bitmap=bitmap_of(positions),
        codec=codec,
        quality=quality,
        patches=patches,
        leading=((7, 0.512345678),),
        classes_hash="0123456789abcdef",
    )
    return wire_bytes(len(encode_offload(record)))


def value_bytes(wire: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the record values' bytes of (N,) bytes on the uplink: the inverse of `wire_bytes`."""
    segments = np.ceil(wire / (SEGMENT_DATA_BYTES + SEGMENT_HEADER_BYTES))
    return np.asarray(wire - SEGMENT_HEADER_BYTES * segments - RECORD_FRAMING_BYTES)


def share_of_a_batch(wire: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what each of (N,) records would weigh as one of `BATCH_RECORDS` alike that leave together.

    Args:
        wire: (N,) bytes on the uplink of the records alone.
    """
    records = BATCH_RECORDS * (value_bytes(wire) + _RECORD_IN_BATCH_BYTES)
    framed = records + _BATCH_FRAMING_BYTES
    segments = np.ceil(framed / SEGMENT_DATA_BYTES)
    return np.asarray((framed + SEGMENT_HEADER_BYTES * segments) / BATCH_RECORDS)
