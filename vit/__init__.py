"""The vision transformers: preprocessing, weights, forwards, patch codecs. Must not import torch."""

from pathlib import Path
from typing import Final

SHIPPED: Final = Path(__file__).parent / "shipped"
"""The folder of the shipped pair."""
SHIPPED_FRONTIER: Final = SHIPPED / "stream_frontier.json"
