"""Which schemes a run makes, in order of importance, and how many of them a budget of server passes
allows.

A pass is counted by its work: eq. 9 at its patch counts over eq. 9 at 196 ("full-image equivalents"). Pure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import numpy as np

from lab.evaluation.models import forward_macs
from lab.evaluation.schemes import (
    EDGE,
    EDGE_LAYER_ROLLOUT,
    EDGE_ROLLOUT,
    SERVER,
    DetailOnRequest,
    Downscaled,
    MaskedFill,
    RandomPatches,
    Ranked,
    Scheme,
    Tiered,
    Whole,
)
from lab.evaluation.selection import Rule, delta_for_share
from schemas.geometry import NUM_PATCHES, Attention

PAPER_DELTAS: Final = (0.87, 0.90, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.99)
HEADLINE_DELTA: Final = 0.97
_BY_IMPORTANCE: Final = (0.97, 0.95, 0.90, 0.99, 0.87, 0.93, 0.98, 0.92, 0.96, 0.94)
SHARES: Final = (0.06, 0.12, 0.25, 0.5, 0.75)
MAIN_SHARE: Final = 0.25
"""The mean kept share at which selection rules and options are compared in the default run."""
FEW_SHARES: Final = (0.12, 0.06)
"""Few patches through a codec cost little and are where patches may beat a whole image."""
RANDOM_SEEDS: Final = (1, 2, 3)
SDT_SCALE: Final = 2
SDT_SHARE: Final = 0.25
MASKED_SHARE: Final = 0.25
MASK_SEED: Final = 1
FLOOR: Final = 24
DEFAULT_BUDGET: Final = 20.0
_SAME_SHARE: Final = 0.005


@dataclass(frozen=True, slots=True)
class Plan:
    """The schemes of a run, what each costs in full-image equivalents, and what the budget left out."""

    schemes: tuple[Scheme, ...]
    equivalents: Mapping[Scheme, float]
    left_out: tuple[Scheme, ...]
    already: float = 0.0

    @property
    def total_equivalents(self) -> float:
        """The work of the whole plan an image, in full-image server passes, with what was done before it."""
        return self.already + sum(self.equivalents[each] for each in self.schemes)


def plan(
    wanted: Sequence[Scheme],
    attention: Mapping[str, Attention],
    num_frames: int,
    *,
    embed_dim: int,
    depth: int,
    budget: float | None,
    already: float = 0.0,
) -> Plan:
    """Return the schemes that fit, in the order given; None as budget takes them all.

    Args:
        wanted: most important first; doubles are dropped.
        attention: (N, 196) by source, for the counts. Schemes whose source is absent are left out.
        budget: full-image equivalents an image; a scheme that does not fit is skipped, later ones may.
        already: equivalents that other passes have taken.
    """
    macs = np.asarray(
        [0, *(forward_macs(k, embed_dim, depth) for k in range(1, NUM_PATCHES + 1))], dtype=float
    )
    taken: list[Scheme] = []
    left: list[Scheme] = []
    cost: dict[Scheme, float] = {}
    total = already
    for scheme in dict.fromkeys(wanted):
        if scheme.source is not None and scheme.source not in attention:
            left.append(scheme)
            continue
        counts = scheme.processed(attention, num_frames)
        cost[scheme] = float(macs[counts].mean() / macs[NUM_PATCHES])
        if budget is not None and total + cost[scheme] > budget:
            left.append(scheme)
            continue
        total += cost[scheme]
        taken.append(scheme)
    return Plan(tuple(taken), cost, tuple(left), already)


def default_schemes(attention: Mapping[str, Attention]) -> list[Scheme]:
    """Return what the default run wants, most important first.

    Args:
        attention: (N, 196) rows, at least of the source `EDGE`; decides the deltas that match kept shares.
    """
    edge = attention[EDGE]
    main = Rule("attention_sum", delta_for_share(edge, MAIN_SHARE))
    headline = Rule("attention_sum", HEADLINE_DELTA)
    few = [Rule("attention_sum", delta_for_share(edge, share)) for share in FEW_SHARES]
    return list(
        chain(
            [Whole(), Ranked(headline), Ranked(main)],
            [Whole("webp", 75), Whole("jpeg", 75), Whole("avif", 45)],
            (RandomPatches(main, seed) for seed in RANDOM_SEEDS),
            [DetailOnRequest(SDT_SCALE, SDT_SHARE)],
            [MaskedFill(MASKED_SHARE, MASK_SEED), MaskedFill(MASKED_SHARE, MASK_SEED, MASKED_SHARE)],
            (Ranked(rule) for rule in _share_rules(edge)),
            (Ranked(Rule("attention_sum", delta)) for delta in _BY_IMPORTANCE),
            (Ranked(rule, "avif", 45) for rule in (main, *few)),
            [Ranked(main, "webp", 75), Ranked(headline, "webp", 75)],
            _rules_at_share(attention, MAIN_SHARE),
            [Ranked(Rule("attention_sum", HEADLINE_DELTA, FLOOR)), Tiered(main, "webp", 90, 50)],
            [Whole("avif", 30), Whole("webp", 50), Downscaled(4)],
            [Whole("avif", 60), Whole("jpeg", 50), Whole("webp", 90), Whole("webp", 25)],
            [Ranked(headline, "avif", 45), Ranked(headline, "jpeg", 75)],
            _rules_at_share(attention, 0.5),
            _rules_at_share(attention, 0.12),
        )
    )


def restored_schemes(upsampler: str | None, filler: str | None) -> list[Scheme]:
    """Return the baselines that need a restoring network's weights, for the networks that are given."""
    wanted: list[Scheme] = []
    if upsampler is not None:
        wanted += [Downscaled(scale, upsampler) for scale in (2, 4)]
    if filler is not None:
        wanted.append(MaskedFill(MASKED_SHARE, MASK_SEED, filler=filler))
        wanted.append(MaskedFill(MASKED_SHARE, MASK_SEED, MASKED_SHARE, filler))
    return wanted


def full_schemes(attention: Mapping[str, Attention]) -> list[Scheme]:
    """Return everything: the default run's, all selection rules at all shares, all codecs and qualities."""
    edge = attention[EDGE]
    rules = [Rule("attention_sum", delta_for_share(edge, share)) for share in SHARES]
    rules.append(Rule("attention_sum", HEADLINE_DELTA))
    coded = [("webp", 50), ("webp", 75), ("avif", 30), ("avif", 45), ("avif", 60), ("jpeg", 50), ("jpeg", 75)]
    whole = [
        (codec, quality) for codec in ("webp", "jpeg", "avif") for quality in (15, 25, 30, 45, 60, 75, 90)
    ]
    return list(
        chain(
            default_schemes(attention),
            chain.from_iterable(_rules_at_share(attention, share) for share in SHARES),
            (Ranked(Rule("keep_crossing", delta)) for delta in PAPER_DELTAS),
            (Whole(codec, quality) for codec, quality in whole),
            (Ranked(rule, codec, quality) for rule in rules for codec, quality in coded),
            (RandomPatches(rule, seed) for rule in rules for seed in RANDOM_SEEDS),
            (Tiered(rule, "webp", sharp, soft) for rule in rules for sharp, soft in ((90, 50), (75, 25))),
            (Ranked(Rule("attention_sum", HEADLINE_DELTA, floor)) for floor in (12, 24, 49)),
            (DetailOnRequest(SDT_SCALE, share) for share in (0.06, 0.12, 0.25, 0.5)),
            (Downscaled(scale) for scale in (2, 4, 7)),
            (MaskedFill(share, MASK_SEED) for share in (0.12, 0.25, 0.5, 0.75)),
            (MaskedFill(share, MASK_SEED, share) for share in (0.12, 0.25, 0.375)),
        )
    )


def _share_rules(edge: Attention) -> list[Rule]:
    """Return the attention sums of `SHARES` that none of the paper's deltas already stands for."""
    papers = [Rule("attention_sum", delta).counts(edge).mean() / NUM_PATCHES for delta in PAPER_DELTAS]
    missing = [share for share in SHARES if min(abs(share - each) for each in papers) > _SAME_SHARE]
    return [Rule("attention_sum", delta_for_share(edge, share)) for share in missing]


def _rules_at_share(attention: Mapping[str, Attention], share: float) -> list[Scheme]:
    """Return the rivals of the attention sum that keep the same mean share, on every attention at hand."""
    edge = attention[EDGE]
    wanted: list[Scheme] = [
        Ranked(Rule("top_k", share)),
        Ranked(Rule("threshold", delta_for_share(edge, share, "threshold"))),
    ]
    for source in (EDGE_LAYER_ROLLOUT, EDGE_ROLLOUT, SERVER):
        if source in attention:
            delta = delta_for_share(attention[source], share)
            wanted.append(Ranked(Rule("attention_sum", delta), source=source))
    return wanted
