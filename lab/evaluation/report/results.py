"""results.json and the CSV tables."""

import csv
import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from lab.evaluation.points import Point, Setting
from lab.evaluation.stream.choices import BUDGETS, NEAR, Choices


def results_document(
    data: str, images: int, edge: tuple[str, float], server: tuple[str, float], points: Sequence[Point]
) -> dict[str, object]:
    """Return results.json as JSON values.

    Args:
        data: what was measured.
        images: how many images or frames.
        edge: name and top-1 (a share) of the edge's model.
        server: the same of the server's, on raw whole images.
        points: all points.
    """
    return {
        "data": data,
        "images": images,
        "edge": {"model": edge[0], "top1": edge[1]},
        "server": {"model": server[0], "top1": server[1]},
        "points": [_finite(point.to_json()) for point in points],
    }


def both_ways_document(choices: Choices) -> list[dict[str, object]]:
    """Return what was chosen and shown both ways round as JSON values, one object a family and condition."""
    rows = [
        (name, condition, value, shown)
        for condition, values, table in (
            ("below_server", NEAR, choices.near),
            ("bytes_per_frame", BUDGETS, choices.within),
        )
        for name, row in table.items()
        for value, shown in zip(values, row, strict=True)
        if shown is not None
    ]
    return [
        {
            "family": name,
            "condition": condition,
            "limit": limit,
            "settings": [_setting(each) for each in shown.settings],
            "accuracy": shown.accuracy,
            "offload_ratio": shown.offload_ratio,
            "bytes_per_frame": shown.bytes_per_frame,
            "batched_bytes_per_frame": shown.batched_bytes_per_frame,
            "gain": shown.gain,
            "interval": list(shown.interval),
        }
        for name, condition, limit, shown in rows
    ]


def _setting(setting: Setting) -> dict[str, object]:
    return asdict(setting) | {"memory": None if setting.memory is None else setting.memory.to_json()}


def write_json(path: Path, document: object) -> None:
    """`path` holds the document as JSON, whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    partial.replace(path)


def write_csv(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """`path` holds the table as CSV; None and NaN are empty cells."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(head)
        writer.writerows([["" if _is_nothing(cell) else cell for cell in row] for row in rows])


def write_points_csv(path: Path, points: Sequence[Point]) -> None:
    """`path` holds one line a point, with the columns of results.json."""
    documents = [point.to_json() for point in points]
    if documents:
        write_csv(path, list(documents[0]), [[_cell(cell) for cell in each.values()] for each in documents])


def _cell(value: object) -> object:
    return "…".join(f"{each:.6g}" for each in value) if isinstance(value, list) else value


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _finite(document: dict[str, object]) -> dict[str, object]:
    """Return the document with an infinite threshold ("offload nothing") as null, which JSON can hold."""
    infinite = {
        key for key, value in document.items() if isinstance(value, float) and not math.isfinite(value)
    }
    return {key: None if key in infinite else value for key, value in document.items()}
