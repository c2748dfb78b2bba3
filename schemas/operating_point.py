"""How the edge decides and encodes: the threshold, the share of attention, the codec and its quality."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schemas.errors import DecodeError
from schemas.fields import Fields
from schemas.geometry import NUM_PATCHES

_NEVER = "inf"


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """One setting of the offload path.

    `tau` >= 0, in bits for the min-entropy: offload when the gate's score reaches it, so a lower tau sends
    more; `inf` never sends. `delta` in [0, 1] is the parameter of the rule `selection`: for `attention_sum` the
    attention to keep (1 keeps all patches). `min_patches` in [1, 196] is the floor. `quality` in [0, 100].
    Codecs and selection rules are registries of other rooms; here their names only must not be empty.

    Raises:
        ValueError: a value leaves its range; the message names it.
    """

    tau: float
    delta: float
    min_patches: int = 1
    codec: str = "webp"
    quality: int = 75
    selection: str = "attention_sum"

    def __post_init__(self) -> None:
        if not self.tau >= 0:
            raise ValueError(f"tau: {self.tau}, must be >= 0 (inf = never offload)")
        if not 0 <= self.delta <= 1:
            raise ValueError(f"delta: {self.delta}, must be in [0, 1]")
        if not 1 <= self.min_patches <= NUM_PATCHES:
            raise ValueError(f"min_patches: {self.min_patches}, must be in [1, {NUM_PATCHES}]")
        if not self.codec:
            raise ValueError("codec: empty, must be a patch codec's name")
        if not 0 <= self.quality <= 100:
            raise ValueError(f"quality: {self.quality}, must be in [0, 100]")
        if not self.selection:
            raise ValueError("selection: empty, must be a selection rule's name")

    def to_json(self) -> dict[str, str | int | float]:
        """The point as a JSON object; an infinite tau is the text "inf"."""
        return {
            "tau": _NEVER if math.isinf(self.tau) else self.tau,
            "delta": self.delta,
            "min_patches": self.min_patches,
            "codec": self.codec,
            "quality": self.quality,
            "selection": self.selection,
        }


def point_from_fields(fields: Fields) -> OperatingPoint:
    """The point of `to_json`.

    Raises:
        DecodeError: a field is missing, of a wrong type or out of range.
    """
    never = fields.values.get("tau") == _NEVER
    try:
        return OperatingPoint(
            tau=math.inf if never else fields.number("tau", 0.0),
            delta=fields.number("delta", 0.0, 1.0),
            min_patches=fields.integer("min_patches", 1, NUM_PATCHES),
            codec=fields.text("codec", 64),
            quality=fields.integer("quality", 0, 100),
            selection=fields.text("selection", 64),
        )
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError("out_of_range", f"{fields.what}.{error}") from None
