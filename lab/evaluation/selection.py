"""How many patches and which ones each selection rule keeps, over many frames at once. Pure numpy.

Wraps the rules of `gating.select` for sweeps: counts of whole data sets, settings matched by their mean kept
share.
"""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from gating.select import attention_sum_counts, rank
from schemas.geometry import NUM_PATCHES, Attention, Positions

Counts = NDArray[np.int64]

RULES = ("attention_sum", "keep_crossing", "threshold", "top_k")
"""`keep_crossing` is the attention sum that also keeps the patch which crosses delta, as the paper's text has
it.
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """One selection rule: its name in `RULES`, its parameter and the floor of patches.

    `delta` is the attention share to keep, the least attention of a kept patch (`threshold`), or the kept
    share of the 196 patches (`top_k`).
    """

    name: str
    delta: float
    min_patches: int = 1

    def counts(self, attention: Attention) -> Counts:
        """Return (N,) how many patches of each (N, 196) attention row are kept, most attended first."""
        match self.name:
            case "attention_sum" | "keep_crossing":
                crossing = self.name == "keep_crossing"
                return attention_sum_counts(attention, self.delta, self.min_patches, keep_crossing=crossing)
            case "threshold":
                above = (attention >= np.float32(self.delta)).sum(axis=-1, dtype=np.int64)
                return np.asarray(np.maximum(above, self.min_patches))
            case "top_k":
                count = min(NUM_PATCHES, max(self.min_patches, round(self.delta * NUM_PATCHES)))
                return np.full(attention.shape[:-1], count, dtype=np.int64)
            case other:
                raise ValueError(f"rule {other!r} is not one of {', '.join(RULES)}")


def kept_positions(attention_row: Attention, count: int) -> Positions:
    """Return the ascending positions of the `count` most attended patches of one (196,) row."""
    return np.sort(rank(attention_row)[:count])


def random_order(name: str, seed: int) -> Positions:
    """Return a permutation of the 196 positions that only `name` and `seed` decide.

    Its first k entries are a random choice of k patches; a longer prefix holds a shorter one, as two rounds
    need.
    """
    digest = blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return np.random.default_rng(int.from_bytes(digest, "big")).permutation(NUM_PATCHES)


def delta_for_share(attention: Attention, share: float, rule: str = "attention_sum") -> float:
    """Return the parameter of `rule` that keeps `share` of all patches on average, to six significant digits.

    Args:
        attention: (N, 196), each row with sum 1.
        share: wanted mean kept share, in (0, 1].
        rule: any of `RULES`.
    """
    if not 0 < share <= 1:
        raise ValueError(f"share: {share}, must be in (0, 1]")
    if rule == "top_k" or share == 1:
        return 0.0 if rule == "threshold" else share
    wanted = share * attention.shape[0] * NUM_PATCHES
    low, high = 0.0, float(attention.max()) if rule == "threshold" else 1.0
    for _ in range(30):
        middle = (low + high) / 2.0
        kept = int(Rule(rule, middle).counts(attention).sum())
        # A larger parameter keeps more, except for `threshold`.
        if (kept > wanted) != (rule == "threshold"):
            high = middle
        else:
            low = middle
    return float(f"{(low + high) / 2.0:.6g}")
