"""What may be sent of a frame, and what the server then computes on: one small record a method.

Each scheme turns a crop into the bytes on the wire and the patches that reach the server model. All
randomness is decided by the frame's name and a seed, so a scheme gives the same payload in every run.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Final, Protocol

import numpy as np
from PIL import Image

from gating.select import rank
from lab.evaluation.selection import Counts, Rule, kept_positions, random_order
from lab.evaluation.wire import record_wire_bytes
from schemas.geometry import CROP_SIDE, NUM_PATCHES, PATCH_SIDE, Attention, Positions
from vit.codecs import decode_patches, encode_patches
from vit.preprocess import Pixels, to_patches

EDGE: Final = "edge"
EDGE_ROLLOUT: Final = "edge_rollout"
EDGE_LAYER_ROLLOUT: Final = "edge_layer_rollout"
SERVER: Final = "server"

BICUBIC: Final = "bicubic"
MEAN_FILL: Final = "mean_colour"

ALL_POSITIONS: Final = np.arange(NUM_PATCHES, dtype=np.int64)
MEAN_COLOUR: Final = (124, 116, 104)
"""ImageNet's mean in grey levels: what a model that subtracts it sees as nothing."""


@dataclass(frozen=True)
class Restorers:
    """What the server may do to make a whole image of what it got, by name.

    `upsample`: small (h, w, 3) image -> (224, 224, 3). `fill`: crop and visible positions -> all
    (196, 16, 16, 3) patches, reading the visible ones only.
    """

    upsample: Mapping[str, Callable[[Pixels], Pixels]]
    fill: Mapping[str, Callable[[Pixels, Positions], Pixels]]


@dataclass(frozen=True)
class FrameFacts:
    """What is known of a frame before it is sent: its name and (196,) attention rows by source.

    `restorers` are the server's means; the two that need no weights unless others are given.
    """

    name: str
    attention: Mapping[str, Attention]
    restorers: Restorers = field(default_factory=lambda: PLAIN_RESTORERS)


@dataclass(frozen=True, slots=True)
class SentPatches:
    """One frame's payload: (k, 16, 16, 3) patches as the server has them, their positions, and the cost.

    `sent_patches` is pixels sent / 256; `wire_bytes` what leaves the uplink with headers.
    """

    patches: Pixels
    positions: Positions
    sent_patches: float
    wire_bytes: int


class Scheme(Protocol):
    """One way to send a frame."""

    @property
    def source(self) -> str | None:
        """Which attention it needs, None if none."""
        ...

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:
        """Return (N,) how many patches the server computes on, from (N, 196) attention by source."""
        ...

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return the payload of one (224, 224, 3) crop."""
        ...


def scheme_key(scheme: Scheme) -> dict[str, object]:
    """Return the scheme as JSON values that tell it from every other one."""
    return {"kind": type(scheme).__name__, **asdict(scheme)}  # type: ignore[call-overload]  # all are dataclasses


@dataclass(frozen=True, slots=True)
class Ranked:
    """The most attended patches by `rule` on the attention `source`, through a patch codec; delta 1 sends
    all.
    """

    rule: Rule
    codec: str = "raw"
    quality: int = 0
    source: str = EDGE

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return the rule's counts."""
        return self.rule.counts(attention[self.source])

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return the kept patches after encoding and decoding."""
        row = facts.attention[self.source]
        return _coded(crop, kept_positions(row, int(self.rule.counts(row))), self.codec, self.quality)


@dataclass(frozen=True, slots=True)
class Whole:
    """The whole crop through an image codec: the same as `Ranked` at delta 1, and needs no attention."""

    codec: str = "raw"
    quality: int = 0
    source: None = None

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return 196 for every frame."""
        return np.full(num_frames, NUM_PATCHES, dtype=np.int64)

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:  # noqa: ARG002
        """Return all patches after encoding and decoding."""
        return _coded(crop, ALL_POSITIONS, self.codec, self.quality)


@dataclass(frozen=True, slots=True)
class RandomPatches:
    """As many patches as `rule` keeps of each frame, chosen by lot."""

    rule: Rule
    seed: int
    codec: str = "raw"
    quality: int = 0
    source: str = EDGE

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return the rule's counts."""
        return self.rule.counts(attention[self.source])

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return the drawn patches after encoding and decoding."""
        count = int(self.rule.counts(facts.attention[self.source]))
        positions = np.sort(random_order(facts.name, self.seed)[:count])
        return _coded(crop, positions, self.codec, self.quality)


@dataclass(frozen=True, slots=True)
class Tiered:
    """The patches of `rule`, the more attended `sharp_share` of them at a higher quality than the rest.

    Two mosaics travel in one record; the server derives the tiers from a second bitmap (25 bytes, counted).
    """

    rule: Rule
    codec: str
    sharp_quality: int
    soft_quality: int
    sharp_share: float = 0.5
    source: str = EDGE

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return the rule's counts."""
        return self.rule.counts(attention[self.source])

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return the kept patches, each after encoding and decoding at its own quality."""
        row = facts.attention[self.source]
        order = rank(row)[: int(self.rule.counts(row))]
        num_sharp = max(1, round(self.sharp_share * order.size))
        positions = np.sort(order)
        patches = np.empty((positions.size, PATCH_SIDE, PATCH_SIDE, 3), dtype=np.uint8)
        payload = b""
        tiers = ((order[:num_sharp], self.sharp_quality), (order[num_sharp:], self.soft_quality))
        for members, quality in tiers:
            if members.size:
                tier = np.sort(members)
                data = encode_patches(self.codec, quality, crop, tier)
                patches[np.searchsorted(positions, tier)] = decode_patches(self.codec, data, tier)
                payload += data
        bitmap = b"\x00" * 25 if order.size > num_sharp else b""
        wire = record_wire_bytes(self.codec, self.sharp_quality, payload + bitmap, positions)
        return SentPatches(patches, positions, float(positions.size), wire)


@dataclass(frozen=True, slots=True)
class Downscaled:
    """The crop at 1/`scale` of its side, sent raw, and up-sampling on the server."""

    scale: int
    upsampler: str = BICUBIC
    source: None = None

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return 196 for every frame: the server computes on the up-sampled image."""
        return np.full(num_frames, NUM_PATCHES, dtype=np.int64)

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return the up-sampled image's patches."""
        small = downscale(crop, self.scale)
        wire = record_wire_bytes("raw", 0, small.tobytes())
        large = facts.restorers.upsample[self.upsampler](small)
        return SentPatches(to_patches(large), ALL_POSITIONS, NUM_PATCHES / self.scale**2, wire)


@dataclass(frozen=True, slots=True)
class DetailOnRequest:
    """The second round after `Downscaled`: the `share` of patches that the server asks for, at full
    resolution.

    The server pastes them into its up-sampled image and classifies that once more. Costs are this round's
    alone.
    """

    scale: int
    share: float

    @property
    def source(self) -> str:
        """The server's own attention on the up-sampled image."""
        return low_resolution_source(self.scale)

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return 196 for every frame."""
        return np.full(num_frames, NUM_PATCHES, dtype=np.int64)

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return all patches: the requested ones sharp, the others from the first round."""
        count = round(self.share * NUM_PATCHES)
        positions = kept_positions(facts.attention[self.source], count)
        sharp = _coded(crop, positions, "raw", 0)
        patches = to_patches(upscale(downscale(crop, self.scale))).copy()
        patches[positions] = sharp.patches
        return SentPatches(patches, ALL_POSITIONS, sharp.sent_patches, sharp.wire_bytes)


@dataclass(frozen=True, slots=True)
class MaskedFill:
    """A random `share` of patches, sent raw; the server fills the rest with the mean colour and sees a whole
    image.

    `known_share` of the patches came in an earlier round (a prefix of the same random order) and cost nothing
    now.
    """

    share: float
    seed: int
    known_share: float = 0.0
    filler: str = MEAN_FILL
    source: None = None

    def processed(self, attention: Mapping[str, Attention], num_frames: int) -> Counts:  # noqa: ARG002
        """Return 196 for every frame."""
        return np.full(num_frames, NUM_PATCHES, dtype=np.int64)

    def apply(self, crop: Pixels, facts: FrameFacts) -> SentPatches:
        """Return all patches: those sent so far, and what the filler makes of them elsewhere."""
        order = random_order(facts.name, self.seed)
        known = round(self.known_share * NUM_PATCHES)
        sent = order[known : round((self.known_share + self.share) * NUM_PATCHES)]
        now = _coded(crop, np.sort(sent), "raw", 0)
        visible = order[: known + sent.size]
        whole = facts.restorers.fill[self.filler](crop, visible)
        return SentPatches(whole, ALL_POSITIONS, now.sent_patches, now.wire_bytes)


def low_resolution_source(scale: int) -> str:
    """Return the name of the server's attention on the image up-sampled from 1/`scale`."""
    return f"server_at_1/{scale}"


def downscale(crop: Pixels, scale: int) -> Pixels:
    """Return the crop at 1/`scale` of its side (bicubic, antialiased)."""
    side = CROP_SIDE // scale
    return np.asarray(Image.fromarray(crop).resize((side, side), Image.Resampling.BICUBIC))


def upscale(small: Pixels) -> Pixels:
    """Return a small square image at 224x224 (bicubic)."""
    size = (CROP_SIDE, CROP_SIDE)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def fill_masked(crop: Pixels, visible: Positions) -> Pixels:
    """Return the (196, 16, 16, 3) patches of `crop` with all but the `visible` ones in the mean colour."""
    patches = np.empty((NUM_PATCHES, PATCH_SIDE, PATCH_SIDE, 3), dtype=np.uint8)
    patches[:] = MEAN_COLOUR
    patches[visible] = to_patches(crop)[visible]
    return patches


PLAIN_RESTORERS: Final[Restorers] = Restorers({BICUBIC: upscale}, {MEAN_FILL: fill_masked})


def _coded(crop: Pixels, positions: Positions, codec: str, quality: int) -> SentPatches:
    data = encode_patches(codec, quality, crop, positions)
    patches = decode_patches(codec, data, positions)
    return SentPatches(
        patches, positions, float(positions.size), record_wire_bytes(codec, quality, data, positions)
    )
