"""The calibrated frontier: what each operating point costs and is worth for one pair of models.

Written by `saccade calibrate`, read by the controller and the simulation. A versioned JSON file.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from schemas.belief_rule import BeliefRule, belief_rule_from_fields
from schemas.errors import DecodeError
from schemas.fields import Fields
from schemas.operating_point import OperatingPoint, point_from_fields

VERSION: Final = 2
_WITHOUT_BELIEF: Final = 1
"""The version before, which says nothing of streams; still read."""
ACCURACY_KINDS: Final = frozenset({"label", "server_agreement"})
NUM_QUANTILES: Final = 101
_MAX_COUNT = 2**53
_MAX_ITEMS = 10_000
_MAX_TEXT = 512


@dataclass(frozen=True, slots=True)
class HminBin:
    """Accuracy of both models on the frames whose min-entropy lies in [lo, hi) bits.

    `agreement` is how often the server's answer to an ask names the edge's class; None where that was not measured.
    """

    lo: float
    hi: float
    count: int
    edge_accuracy: float
    server_accuracy: float
    agreement: float | None = None


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """What one operating point was measured to do over `images` frames.

    `offload_ratio` in [0, 1]; bytes are those of encoded offload records (`bytes_per_frame` over all frames,
    `bytes_per_offload` over the offloaded ones); accuracies in [0, 1] with a 95 % interval; `server_macs` is
    the mean of multiply-accumulates per frame on the server.
    """

    point: OperatingPoint
    offload_ratio: float
    bytes_per_offload: float
    bytes_per_offload_p95: float
    bytes_per_frame: float
    accuracy: float
    accuracy_lo: float
    accuracy_hi: float
    server_macs: float
    images: int


@dataclass(frozen=True, slots=True)
class Frontier:
    """The whole file: which models and data it was measured with, and its points.

    `h_min_quantiles[i]` is the i-th percentile of the edge's min-entropy in bits. The hashes are those of the
    models' weights and class list; a frontier of other models must be refused.
    `belief` is there where the points were measured on streams: the gate's thresholds, the quantiles and the bins
    are then those of the belief's min-entropy. None: of single images.
    """

    edge_model: str
    edge_hash: str
    server_model: str
    server_hash: str
    classes_hash: str
    data: str
    accuracy_kind: str
    images: int
    h_min_quantiles: tuple[float, ...]
    accuracy_by_h_min: tuple[HminBin, ...]
    points: tuple[FrontierPoint, ...]
    belief: BeliefRule | None = None
    version: int = VERSION


def dump_frontier(frontier: Frontier, path: Path) -> None:
    """`path` holds the frontier as JSON; it is replaced in one step, never half-written."""
    document = asdict(frontier)
    for plain, point in zip(document["points"], frontier.points, strict=True):
        plain["point"] = point.point.to_json()
    for each in document["accuracy_by_h_min"]:
        if each["agreement"] is None:
            del each["agreement"]
    document["belief"] = None if frontier.belief is None else frontier.belief.to_json()
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def load_frontier(path: Path) -> Frontier:
    """The frontier in `path`.

    Raises:
        DecodeError: the file is missing or no JSON, or a field is missing or out of range; the message
            names it.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DecodeError("unreadable", f"frontier {path}: {error.strerror}") from None
    except ValueError as error:
        raise DecodeError("bad_json", f"frontier {path}: no JSON: {error}") from None
    return frontier_from_json(document, what=f"frontier {path}")


def frontier_from_json(document: object, *, what: str = "frontier") -> Frontier:
    """The frontier of a parsed JSON document; raises `DecodeError` as `load_frontier` does."""
    fields = Fields.of(what, document)
    if fields.values.get("version") != _WITHOUT_BELIEF:
        fields.version(VERSION, "version")
    quantiles = _quantiles(fields)
    return Frontier(
        edge_model=fields.text("edge_model", _MAX_TEXT),
        edge_hash=fields.text("edge_hash", _MAX_TEXT),
        server_model=fields.text("server_model", _MAX_TEXT),
        server_hash=fields.text("server_hash", _MAX_TEXT),
        classes_hash=fields.text("classes_hash", _MAX_TEXT),
        data=fields.text("data", _MAX_TEXT),
        accuracy_kind=fields.choice("accuracy_kind", ACCURACY_KINDS),
        images=fields.integer("images", 1, _MAX_COUNT),
        h_min_quantiles=quantiles,
        accuracy_by_h_min=tuple(_bin(each) for each in _maps(fields, "accuracy_by_h_min")),
        points=_points(fields),
        belief=None
        if fields.is_null("belief")
        else belief_rule_from_fields(Fields.of(f"{what}.belief", fields.values["belief"])),
    )


def _maps(fields: Fields, name: str) -> list[Fields]:
    items: list[Any] = fields.sequence(name, _MAX_ITEMS)
    return [Fields.of(f"{fields.what}.{name}[{idx}]", item) for idx, item in enumerate(items)]


def _quantiles(fields: Fields) -> tuple[float, ...]:
    values = fields.sequence("h_min_quantiles", NUM_QUANTILES)
    named = Fields(f"{fields.what}.h_min_quantiles", {str(idx): value for idx, value in enumerate(values)})
    quantiles = tuple(named.number(str(idx), 0.0) for idx in range(NUM_QUANTILES))
    for idx in range(1, NUM_QUANTILES):
        if quantiles[idx] < quantiles[idx - 1]:
            raise DecodeError(
                "out_of_range", f"{named.what}[{idx}]: {quantiles[idx]} falls below [{idx - 1}]"
            )
    return quantiles


def _bin(fields: Fields) -> HminBin:
    low = fields.number("lo", 0.0)
    return HminBin(
        lo=low,
        hi=fields.number("hi", low),
        count=fields.integer("count", 0, _MAX_COUNT),
        edge_accuracy=fields.number("edge_accuracy", 0.0, 1.0),
        server_accuracy=fields.number("server_accuracy", 0.0, 1.0),
        agreement=None if fields.is_null("agreement") else fields.number("agreement", 0.0, 1.0),
    )


def _points(fields: Fields) -> tuple[FrontierPoint, ...]:
    points = tuple(_point(each) for each in _maps(fields, "points"))
    if not points:
        raise DecodeError("out_of_range", f"{fields.what}.points: empty, at least one point is needed")
    return points


def _point(fields: Fields) -> FrontierPoint:
    point = Fields.of(f"{fields.what}.point", fields.values.get("point"))
    low = fields.number("accuracy_lo", 0.0, 1.0)
    accuracy = fields.number("accuracy", low, 1.0)
    return FrontierPoint(
        point=point_from_fields(point),
        offload_ratio=fields.number("offload_ratio", 0.0, 1.0),
        bytes_per_offload=fields.number("bytes_per_offload", 0.0),
        bytes_per_offload_p95=fields.number("bytes_per_offload_p95", 0.0),
        bytes_per_frame=fields.number("bytes_per_frame", 0.0),
        accuracy=accuracy,
        accuracy_lo=low,
        accuracy_hi=fields.number("accuracy_hi", accuracy, 1.0),
        server_macs=fields.number("server_macs", 0.0, math.inf),
        images=fields.integer("images", 1, _MAX_COUNT),
    )
