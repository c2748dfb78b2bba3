"""Saccade's own rows: its pair on the same test tracks, as single pictures and as streams with a belief."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from lab.evaluation.bootstrap import mean_interval
from lab.evaluation.inference_cache import ChunkStore
from lab.evaluation.loading import FullModel, load_models
from lab.evaluation.measurement import look
from lab.evaluation.models import LAST, forward_macs
from lab.evaluation.points import ALL
from lab.evaluation.report.render import setting_text
from lab.evaluation.schemes import FrameFacts, Whole
from lab.evaluation.stream.cameras import track_cameras
from lab.evaluation.stream.choices import BUDGETS, ShownChoice, choose
from lab.evaluation.stream.remembered import belief_rules, remembering_outcomes
from lab.evaluation.stream.rivals import still_outcomes
from lab.evaluation.stream.run import ASKS, recorded
from lab.research.bench import Bench, TableRow
from lab.research.cost import Cost, fastest_ms
from lab.training.fine_tune import fine_tune
from lab.training.report import Asking
from schemas.geometry import NUM_PATCHES
from schemas.operating_point import OperatingPoint
from vit.weights import load_model

PAIR_EPOCHS: Final = 20
SHOWN: Final = {
    "patches + gate": "Saccade, stills: patches",
    "still codec + gate": "Saccade, stills: whole crop",
    "one belief a camera": "Saccade, stream: belief",
}
"""Which families of settings become rows, by the name of each in the table."""
SHOWN_BUDGETS: Final = (10, 30, 100, 500, 1000)
"""Bytes a frame on the wire."""
_NO_PICTURES: Final = np.empty(0, np.bool_)
_CODECS: Final = (Whole(), Whole("avif", 45))


def own_rows(bench: Bench, data: Path) -> list[TableRow]:
    """Return each family's best settings within `SHOWN_BUDGETS`, on the tracks of `data`/test.

    Settings are chosen on half of the tracks and shown on the other, both ways round. Crops are 224² of the files
    themselves, not of the bench's smaller pictures.
    """
    edge, server = load_models(*_pair(bench, data), "auto")
    cameras = track_cameras(data / "test", edge.facts.classes)
    store = ChunkStore(bench.request.out / "cache")
    views = [look(camera.corpus, edge, store, bench.progress, rollouts=False) for camera in cameras]
    frames, payloads = recorded(cameras, views, [*_CODECS, *ASKS], server, store, bench.progress)
    asks = {scheme: payloads[scheme] for scheme in ASKS}
    outcomes = [
        *still_outcomes(frames, payloads, gated=True),
        *remembering_outcomes(frames, asks, belief_rules()),
    ]
    times = _times_ms(edge, server, cameras[0].crops[0])
    choices = choose(frames, outcomes)
    alone = frames.point(outcomes[0]).figures
    device = Cost(
        float(forward_macs(NUM_PATCHES, edge.facts.embed_dim, edge.facts.depth)), 0.0, times[0], 0.0
    )
    nothing = mean_interval(alone.correct, frames.scored_cameras(ALL)), 0.0, 0.0, 0.0, None, None
    rows = [TableRow("Saccade, edge alone", "nothing sent", alone.accuracy, *nothing, device, _NO_PICTURES)]
    for family, name in SHOWN.items():
        within = zip(BUDGETS, choices.within.get(family, ()), strict=False)
        shown = dict.fromkeys(each for budget, each in within if each is not None and budget in SHOWN_BUDGETS)
        rows += [_row(name, each, device, times[1] / frames.full_macs) for each in shown]
    return rows


def _pair(bench: Bench, data: Path) -> tuple[str, list[str]]:
    """Return the pair's names: as given where it knows the classes; else with new heads, or the shipped one tuned."""
    request = bench.request
    edge, server = request.pair or ("shipped:edge", "shipped:server")
    if load_model(edge).classes != bench.learn.classes:
        out = request.out / "pair"
        fine_tune(
            data / "train",
            out,
            request.out / "pair-work",
            asking=Asking(OperatingPoint(tau=0.0, delta=1.0), edge_weight=0.0),
            edge=edge,
            server=server,
            heads_only=request.pair is not None,
            epochs=PAIR_EPOCHS * request.length,
            seed=request.seed,
            progress=bench.progress,
        )
        edge, server = (str(out / f"{role}.safetensors") for role in ("edge", "server"))
    return edge, [server]


def _times_ms(edge: FullModel, server: FullModel, crop: np.ndarray) -> tuple[float, float]:
    whole = Whole().apply(crop, FrameFacts("", {}))
    return (
        fastest_ms(lambda: edge.attend(crop[None], [LAST])),
        fastest_ms(lambda: server.classify([whole.patches], [whole.positions])),
    )


def _row(name: str, shown: ShownChoice, device: Cost, server_ms_per_mac: float) -> TableRow:
    return TableRow(
        name,
        " / ".join(dict.fromkeys(setting_text(each) for each in shown.settings)),
        shown.accuracy,
        shown.accuracy_interval,
        shown.offload_ratio,
        shown.payload_bytes_per_frame,
        shown.bytes_per_frame,
        None,
        None,
        device._replace(server_macs=shown.server_macs, server_ms=server_ms_per_mac * shown.server_macs),
        _NO_PICTURES,
    )
