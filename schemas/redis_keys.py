"""Every Redis key and channel, and how long each lives. No other module spells a key."""

from __future__ import annotations

from typing import Final

from schemas.topics import FRAMES_RETENTION_S

MIN_LABEL_TTL_S: Final = FRAMES_RETENTION_S + 10 * 60
"""A replay of `frames` must still meet the labels it once wrote: retention and ten minutes."""
LABEL_TTL_S: Final = 3600
TRACE_TTL_S: Final = 600
STREAM_MAX_LEN: Final = 10_000
STREAM_TTL_S: Final = LABEL_TTL_S
CAMERA_TTL_S: Final = 30 * 24 * 3600
"""A camera's newest sequence number outlives a month without a producer."""
CAMERA_LEASE_TTL_S: Final = 10
"""A producer renews its camera every third of this; another may take over after it."""
UPLINK_STATE_TTL_S: Final = 60
SERVER_REPORT_TTL_S: Final = 5
"""No heartbeat for this long means that the server worker is gone."""

WORKER_MODELS_TTL_S: Final = SERVER_REPORT_TTL_S
"""A worker that has not told what it runs for so long is gone, and nobody waits for it."""

ANSWERS_TTL_S: Final = 60
ANSWERS_MAX_LEN: Final = 4_096
"""Answers of a site's servers that its edge workers may still fetch: some seconds of a busy site."""
EVENTS_TTL_S: Final = 30 * 24 * 3600
EVENTS_MAX_LEN: Final = 10_000
"""Events of a site that are kept; an outlet that is away longer than they last misses the oldest."""
EVENT_ID_TTL_S: Final = 24 * 3600
"""An event that is found again within a day is known as the same one."""
EVENT_ENGINE_TTL_S: Final = 10

CAMERA_STATE_TTL_S: Final = 24 * 3600
"""A camera whose producer is gone is still shown, as offline, for a day."""

DEPLOYMENT: Final = "models:deployed"
"""Which pair of models the workers of this Redis are to run; stays until another is deployed."""
WORKERS_MODELS: Final = "models:workers"
"""Sorted set of the workers that say what they run, scored by when they last did."""
CAMERAS: Final = "cameras:seen"
"""Sorted set of the cameras that had a label, scored by when they last did, in s UTC."""
MAX_CAMERAS: Final = 20_000
"""Of more cameras the list keeps those that had a label last: whoever invents names fills no memory."""
WAKE: Final = "labels:wake"
"""Pub/Sub channel: carries a camera id to wake watchers, never the label itself."""


def label(camera: str, seq: int) -> str:
    """Hash of one frame's label; lives LABEL_TTL_S or the setting's."""
    return f"label:{camera}:{seq}"


def trace(camera: str, seq: int) -> str:
    """Hash of the parts of one frame's trace; lives TRACE_TTL_S from its last part."""
    return f"trace:{camera}:{seq}"


def labels(camera: str) -> str:
    """Stream of a camera's label changes; capped and expiring."""
    return f"labels:{camera}"


def camera(camera: str) -> str:
    """Hash of a camera's latest label and newest sequence number; moves forward only."""
    return f"camera:{camera}"


def camera_lease(camera: str) -> str:
    """Which live producer owns a camera; lives CAMERA_LEASE_TTL_S."""
    return f"lease:{camera}"


def uplink_workers(site: str) -> str:
    """Hash: edge worker -> its demand, share and lease end, for one site's shared uplink."""
    return f"uplink:{site}:workers"


def uplink_spent(site: str) -> str:
    """Hash: what a site has spent of a volume budget, so that it survives restarts."""
    return f"uplink:{site}:spent"


def server_index(site: str) -> str:
    """Sorted set of the server workers that report to one site, scored by their last report's time."""
    return f"servers:{site}"


def server_report(site: str, server: str) -> str:
    """One server worker's latest report for one site; lives SERVER_REPORT_TTL_S."""
    return f"servers:{site}:{server}"


def uplink_index(site: str) -> str:
    """Sorted set of the edge workers that tell about their uplink, scored by when they last did."""
    return f"uplink:{site}:states"


def uplink_state(site: str, worker: str) -> str:
    """What one edge worker last told about its uplink; lives UPLINK_STATE_TTL_S."""
    return f"uplink:{site}:state:{worker}"


def worker_models(worker: str) -> str:
    """Which models one worker runs; lives WORKER_MODELS_TTL_S."""
    return f"models:worker:{worker}"


def events(site: str) -> str:
    """Stream of a site's events; capped, lives EVENTS_TTL_S after the last."""
    return f"events:{site}"


def event_id(site: str, event_id: str) -> str:
    """Exists while an event is known; lives EVENT_ID_TTL_S."""
    return f"events:{site}:id:{event_id}"


def event_outlet(site: str, outlet: str) -> str:
    """How far an outlet has sent a site's events: a stream id; lives EVENTS_TTL_S."""
    return f"events:{site}:sent:{outlet}"


def event_engine(site: str) -> str:
    """Which process finds a site's events; lives EVENT_ENGINE_TTL_S."""
    return f"events:{site}:engine"


def camera_index(site: str) -> str:
    """Sorted set of the cameras whose producers tell how they are, scored by when they last did."""
    return f"cameras:{site}:states"


def camera_state(camera: str) -> str:
    """How a camera's producer says that it is; lives CAMERA_STATE_TTL_S."""
    return f"cameras:state:{camera}"


def answers(site: str) -> str:
    """Stream of the servers' answers on their way back to a site's edge workers; lives ANSWERS_TTL_S."""
    return f"answers:{site}"
