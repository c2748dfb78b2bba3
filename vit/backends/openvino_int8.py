"""OpenVINO in int8: the edge's model as `saccade quantise` wrote it."""

from __future__ import annotations

from vit.backends import Backend
from vit.backends.openvino import open_edge

MEMBER = Backend(open_edge)
