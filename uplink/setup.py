"""From settings to an uplink: the budget's kind, the frontier that fits the models, leases and metrics."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.log import get_logger
from schemas.errors import DecodeError, SettingsError
from schemas.frontier import Frontier, load_frontier
from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, RateSchedule, Volume, constant
from uplink.admission import AdmissionConfig
from uplink.curve import FrontierRefusedError, check_models
from uplink.default_curve import default_frontier
from uplink.metrics import UplinkGauges, UplinkMetrics
from uplink.settings import UplinkProgramSettings
from uplink.shell import UNLIMITED, OffloadSink, Uplink
from uplink.site_share import ShareStore, SiteShare
from uplink.volume import VolumePlan

if TYPE_CHECKING:
    from runtime.clock import Clock
    from runtime.metrics import Metrics

_log = get_logger(__name__)


def make_uplink(
    settings: UplinkProgramSettings,
    sink: OffloadSink,
    store: ShareStore,
    clock: Clock,
    metrics: Metrics,
    *,
    edge_hash: str | None,
    classes_hash: str,
    shipped: Path | None,
    point: OperatingPoint,
    request_timeout_s: float,
    more_sinks: Sequence[AbstractAsyncContextManager[OffloadSink]] = (),
) -> Uplink:
    """The uplink that the settings describe, with its share of the site's budget and its metrics.

    `shipped` is the file of the shipped pair's frontier, which serves that pair where the settings name none; None
    where it is out of the question. `edge_hash` is None where a deployed pair runs in place of the settings': the
    frontier is then not held against it, as it is not where a pair is swapped at work.
    `point` is in force where no frontier steers; a request to the broker may take `request_timeout_s`.
    `more_sinks` are entered when the way is long enough to need them.

    Raises:
        SettingsError: the frontier cannot be read or was calibrated for other models.
    """
    budget = settings.budget.parsed
    about = {"budget": settings.budget.rate, "started_unix_s": clock.time_ns() / 1e9}
    volume = VolumePlan(budget, settings.budget.hour_weights) if isinstance(budget, Volume) else None
    is_shared = isinstance(budget, RateSchedule | Volume)
    frontier = _frontier(settings, shipped, edge_hash=edge_hash, classes_hash=classes_hash)
    share = SiteShare(
        store,
        clock,
        site=settings.site,
        worker=f"{socket.gethostname()}:{os.getpid()}",
        is_shared=is_shared,
        volume=volume,
        about=about,
        server_hash=frontier.server_hash if frontier is not None else "",
    )
    if settings.uplink_simulated:
        _log.warning(
            "uplink: simulated, as frames and offload share one cluster", budget=settings.budget.rate
        )
    return Uplink(
        sink,
        clock,
        point,
        topic=settings.offload_topic,
        config=_config(settings, budget, clock, request_timeout_s),
        frontier=frontier,
        share=share,
        gauges=UplinkGauges(metrics.group(UplinkMetrics)),
        more_sinks=more_sinks,
        first_batch=random.randrange(1 << 16),
    )


def _config(
    settings: UplinkProgramSettings,
    budget: RateSchedule | Auto | Volume | None,
    clock: Clock,
    request_timeout_s: float,
) -> AdmissionConfig:
    if budget is None:
        return UNLIMITED
    # A volume's rate is known once Redis has told what was spent of it; until then nothing may leave.
    told = constant(0.0) if isinstance(budget, Volume) else budget
    start_unix_s = settings.budget.schedule_start_unix_s
    origin_s = None if start_unix_s is None else clock.monotonic_s() - (clock.time_ns() / 1e9 - start_unix_s)
    return AdmissionConfig(
        budget=told,
        origin_s=origin_s,
        is_shared=not isinstance(budget, Auto),
        camera_weights=settings.budget.camera_weights,
        request_timeout_s=request_timeout_s,
    )


def _frontier(
    settings: UplinkProgramSettings, shipped_path: Path | None, *, edge_hash: str | None, classes_hash: str
) -> Frontier | None:
    if settings.budget.rate is None:
        return None
    path = settings.budget.frontier
    if path is None:
        shipped = load_frontier(shipped_path) if shipped_path is not None and shipped_path.exists() else None
        if shipped is not None and edge_hash in (None, shipped.edge_hash):
            _log.info("frontier", path="shipped", points=len(shipped.points), data=shipped.data)
            return shipped
        _log.warning(
            "no frontier: a built-in curve of typical costs steers the budget; run saccade calibrate"
        )
        return default_frontier()
    try:
        frontier = load_frontier(path)
        if edge_hash is not None:
            check_models(frontier, edge_hash=edge_hash, classes_hash=classes_hash)
    except (DecodeError, FrontierRefusedError) as error:
        raise SettingsError(f"budget.frontier: {error}") from None
    _log.info("frontier", path=str(path), points=len(frontier.points), data=frontier.data)
    return frontier
