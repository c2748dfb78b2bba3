"""What edge workers tell of their uplinks, for those who show it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.log import get_logger
from schemas.errors import DecodeError
from schemas.uplink_state import decode_uplink_state

_log = get_logger(__name__)


def readable_uplinks(texts: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The state of each worker; one that cannot be read is left out, with a warning."""
    states = {}
    for worker, text in texts.items():
        try:
            states[worker] = decode_uplink_state(text)
        except DecodeError as error:
            _log.warning("an edge worker's uplink cannot be read", worker=worker, error=str(error))
    return states
