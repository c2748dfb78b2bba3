"""How the frames of one camera bear on each other: the parameters of its belief, calibrated on streams."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Final

from schemas.errors import DecodeError
from schemas.fields import Fields

_NEVER_FADES: Final = "inf"
_MAX_CLASSES: Final = 100_000
_LATER: Final = ("patience_s", "agreement")
"""Frontiers that were made before there were these have none."""


@dataclass(frozen=True, slots=True)
class BeliefRule:
    """The parameters of `gating.belief`.

    From one frame to the next the stay s = max(0, (cos - floor) / (1 - floor))^gamma · 2^(-dt / memory_s) is kept
    of the belief, where cos is the cosine of the two embeddings. `floor` in [0, 1), `gamma` > 0, `memory_s` >= 0;
    with `memory_s` 0 nothing is kept.
    `alpha` > 0 is the weight of the edge's evidence, `beta` >= 0 that of the server's answer. Frames that look alike
    are wrong alike, so a frame's evidence counts alpha · (1 - redundancy · s): `redundancy` in [0, 1].
    `least_weight` in (0, 1]: an ask whose frame has so much weight left is waited for, and no second one is made.
    `patience_s` >= 0: the server is asked only once the belief has been in doubt for so long.
    `prior` is what the belief falls back to: (C,) probabilities, or empty for an even one.
    `agreement` in [0, 1]: how often the server says the same as the edge about a frame that asked, where the edge is
    as good as it should be. Where the two agree more seldom a camera's evidence counts less; with 0 it never does.

    Raises:
        ValueError: a value leaves its range; the message names it.
    """

    floor: float = 0.0
    gamma: float = 1.0
    memory_s: float = math.inf
    alpha: float = 1.0
    beta: float = 1.0
    least_weight: float = 0.5
    redundancy: float = 0.0
    prior: tuple[float, ...] = ()
    patience_s: float = 0.0
    agreement: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.floor < 1:
            raise ValueError(f"floor: {self.floor}, must be in [0, 1)")
        if not 0 < self.gamma < math.inf:
            raise ValueError(f"gamma: {self.gamma}, must be above 0 and finite")
        if not self.memory_s >= 0:
            raise ValueError(f"memory_s: {self.memory_s}, must be at least 0 s (inf = it never fades)")
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha: {self.alpha}, must be above 0 and finite")
        if not 0 <= self.beta < math.inf:
            raise ValueError(f"beta: {self.beta}, must be at least 0 and finite")
        if not 0 < self.least_weight <= 1:
            raise ValueError(f"least_weight: {self.least_weight}, must be in (0, 1]")
        if not 0 <= self.redundancy <= 1:
            raise ValueError(f"redundancy: {self.redundancy}, must be in [0, 1]")
        if not 0 <= self.patience_s < math.inf:
            raise ValueError(f"patience_s: {self.patience_s}, must be at least 0 s and finite")
        if not 0 <= self.agreement <= 1:
            raise ValueError(f"agreement: {self.agreement}, must be in [0, 1]")
        if self.prior and (min(self.prior) <= 0 or abs(sum(self.prior) - 1) > 1e-6):
            raise ValueError(f"prior: sums to {sum(self.prior):g}, must be above 0 everywhere and sum to 1")

    def to_json(self) -> dict[str, object]:
        """The rule as a JSON object; an infinite memory is the text "inf", and of `_LATER` a 0 is left out."""
        memory: float | str = _NEVER_FADES if math.isinf(self.memory_s) else self.memory_s
        plain = {**asdict(self), "memory_s": memory, "prior": list(self.prior)}
        return {name: value for name, value in plain.items() if name not in _LATER or value}


STILLS: Final = BeliefRule(memory_s=0.0)
"""Each frame by itself, which is the paper's rule: for stills, and for cameras without a calibration on streams."""


def belief_rule_from_fields(fields: Fields) -> BeliefRule:
    """The rule of `to_json`.

    Raises:
        DecodeError: a field is missing, of a wrong type or out of range.
    """
    shares = fields.sequence("prior", _MAX_CLASSES)
    named = Fields(f"{fields.what}.prior", {str(idx): value for idx, value in enumerate(shares)})
    fades = fields.values.get("memory_s") != _NEVER_FADES
    try:
        return BeliefRule(
            floor=fields.number("floor", 0.0, 1.0),
            gamma=fields.number("gamma", 0.0),
            memory_s=fields.number("memory_s", 0.0) if fades else math.inf,
            alpha=fields.number("alpha", 0.0),
            beta=fields.number("beta", 0.0),
            least_weight=fields.number("least_weight", 0.0, 1.0),
            redundancy=fields.number("redundancy", 0.0, 1.0),
            prior=tuple(named.number(str(idx), 0.0, 1.0) for idx in range(len(shares))),
            **{name: fields.number(name, 0.0) for name in _LATER if name in fields.values},
        )
    except DecodeError:
        raise
    except ValueError as error:
        raise DecodeError("out_of_range", f"{fields.what}.{error}") from None
