"""What a producer tells its site about each of its cameras, each second through Redis.

Written by producers, read by `saccade cameras` and the page.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from schemas.errors import DecodeError, decodes
from schemas.fields import Fields
from schemas.limits import MAX_CAMERA_CHARS, MAX_NAME_CHARS, MAX_TIME_NS

MAX_TEXT_CHARS = 400
SILENT_AFTER_S = 10.0
"""A producer that told nothing for so long is gone; its cameras are offline, whatever it told last."""
_MAX_COUNT = 2**53
_MAX_CAUSES = 32


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera as its producer sees it.

    `state` is starting, online, frozen (gives the same picture again and again), waiting (lost, to be tried again),
    ended or failed. `source` is shown without
    credentials. `fps` is what was published a second of late, `last_frame_ns` when the newest frame was
    acknowledged (0: none yet). `dropped` counts frames by cause. `error` is the name of the last trouble, empty
    without one, `message` its words, `error_ns` when it was. Times are UTC of the producer.
    """

    camera: str
    state: str
    source: str
    told_ns: int
    fps: float
    last_frame_ns: int
    published: int
    restarts: int
    dropped: dict[str, int] = field(default_factory=dict)
    error: str = ""
    message: str = ""
    error_ns: int = 0

    def online(self, now_ns: int) -> bool:
        """Whether the camera gives frames and its producer still tells so."""
        return self.state == "online" and self.fresh(now_ns)

    def fresh(self, now_ns: int) -> bool:
        """Whether its producer still tells."""
        return now_ns - self.told_ns < SILENT_AFTER_S * 1e9


def encode_camera_state(state: CameraState) -> str:
    """The state as one line of JSON; long texts are cut."""
    plain = asdict(state)
    plain |= {"source": state.source[:MAX_TEXT_CHARS], "message": state.message[:MAX_TEXT_CHARS]}
    return json.dumps(plain, separators=(",", ":"), allow_nan=False)


@decodes
def decode_camera_state(text: str) -> CameraState:
    """The state of `encode_camera_state`; raises `DecodeError` naming the field."""
    fields = Fields.of_json("camera state", text)
    counts = fields.values.get("dropped", {})
    if not isinstance(counts, dict) or len(counts) > _MAX_CAUSES:
        raise DecodeError("wrong_type", "camera state: dropped is no map of counts by cause")
    dropped = Fields.of("camera state's dropped", counts)
    return CameraState(
        camera=fields.text("camera", MAX_CAMERA_CHARS),
        state=fields.text("state", MAX_NAME_CHARS),
        source=fields.text("source", MAX_TEXT_CHARS),
        told_ns=fields.integer("told_ns", 0, MAX_TIME_NS),
        fps=fields.number("fps", 0.0),
        last_frame_ns=fields.integer("last_frame_ns", 0, MAX_TIME_NS),
        published=fields.integer("published", 0, _MAX_COUNT),
        restarts=fields.integer("restarts", 0, _MAX_COUNT),
        dropped={str(cause): dropped.integer(cause, 0, _MAX_COUNT) for cause in counts},
        error=fields.text("error", MAX_NAME_CHARS),
        message=fields.text("message", MAX_TEXT_CHARS),
        error_ns=fields.integer("error_ns", 0, MAX_TIME_NS),
    )
