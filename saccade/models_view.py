"""What the workers of a site run, and how they stand to what is deployed, as lines for a person or a program."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Final

from schemas.deployment import Deployment, Pair, Role, Standing, WorkerModels, standing

_HEADER: Final = ("worker", "role", "model", "weights", "classes", "deployment", "trouble")
_HASH_CHARS: Final = 8


def model_rows(workers: Sequence[WorkerModels], *, as_json: bool) -> Iterator[str]:
    """Return one line a worker, with a header for a person; one JSON object a line for a program."""
    if as_json:
        for worker in workers:
            yield json.dumps(asdict(worker))
        return
    rows = [_HEADER, *(_row(worker) for worker in workers)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADER) - 1)]
    for row in rows:
        *cells, last = row
        yield "  ".join(
            [*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]
        ).rstrip()


def deployment_line(deployment: Deployment | None) -> str:
    """Return what is deployed, and what going back would take."""
    if deployment is None:
        return "nothing is deployed: each worker runs what it was started with"
    pair, before = _named(deployment.pair), _named(deployment.before)
    return f"deployment {deployment.generation}: {pair}; before it: {before}"


def standing_line(worker: WorkerModels, deployment: Deployment) -> str:
    """Return how one worker stands to what is deployed."""
    found = standing(worker, deployment)
    text = worker.trouble if found in (Standing.UNDER_WAY, Standing.FAILED) else ""
    shown = f"{found}: {text}" if found is Standing.FAILED else text or str(found)
    return f"{worker.role} {worker.worker}: {shown}"


def _row(worker: WorkerModels) -> tuple[str, ...]:
    others = len(worker.serves) - 1 if worker.role is Role.SERVER else 0
    model = f"{worker.model} and {others} older" if others > 0 else worker.model
    return (
        worker.worker,
        worker.role,
        model,
        worker.weights[:_HASH_CHARS],
        worker.classes[:_HASH_CHARS],
        str(worker.generation or "as started"),
        f"failed: {worker.trouble}" if worker.failed else worker.trouble,
    )


def _named(pair: Pair) -> str:
    return pair.folder or "what each worker was started with"
