"""What a site remembers outside its workers, as six interfaces: labels, leases, the site's board, answers, models,
and traces (`runtime.traces`).

`runtime.redis_store` keeps all in Redis, `runtime.memory_store` in this process; one set of tests holds both
to the same behaviour. Every method raises `TransientError` when the store does not answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar

from runtime.traces import TraceStore
from schemas.answer import ServerAnswer
from schemas.camera_state import CameraState
from schemas.deployment import Deployment, WorkerModels
from schemas.label import Label
from schemas.server_report import ServerReport
from schemas.win_rule import PutResult

T = TypeVar("T")

TableChange = Callable[[dict[str, str], float, float], tuple[Mapping[str, str], T]]
"""(rows by worker, the store's time in s UTC, how many s the store has run) -> (the new rows, a result)."""


class Spent(NamedTuple):
    """Bytes spent in the present period of a volume budget, and the store's time, seconds UTC."""

    num_bytes: int
    at_s: float


class LabelStore(Protocol):
    """The labels of a site, and the clock that decides their deadlines."""

    async def time_ns(self) -> int:
        """The store's clock, ns UTC."""
        ...

    async def check_durability(self) -> list[str]:
        """One line for each of its settings under which labels may be lost."""
        ...

    async def put(self, labels: Sequence[Label]) -> list[PutResult]:
        """Each label was judged by `schemas.win_rule` in turn and, if it won, is there and in its stream.

        Doing it again changes nothing. After a `TransientError` some labels may have been written.
        """
        ...

    async def get_many(self, frames: Sequence[tuple[str, int]]) -> list[Label | None]:
        """The label of each frame (camera, seq), None without one."""
        ...

    async def cameras(self) -> list[str]:
        """The cameras that had a label within `CAMERA_TTL_S`, sorted; the latest `MAX_CAMERAS` of them."""
        ...

    async def newest_seq(self, camera: str) -> int | None:
        """The highest sequence number that has a label, None for an unknown camera."""
        ...

    async def latest(self, camera: str) -> Label | None:
        """The label of the camera's newest frame, None for an unknown camera."""
        ...

    def history(self, camera: str) -> AsyncIterator[Label]:
        """Every label change that the camera's stream still holds, oldest first."""
        ...

    async def watch(self, camera: str | None = None) -> AsyncGenerator[Label, None]:
        """Every label written after the call, of one camera or all, each camera's in order; never ends."""
        ...


class LeaseStore(Protocol):
    """Who may number a camera's frames, and how a site's uplink is divided."""

    async def hold_camera(self, camera: str, owner: str) -> bool:
        """`owner` may number the camera's frames for `CAMERA_LEASE_TTL_S`; False while another may."""
        ...

    async def release_camera(self, camera: str, owner: str) -> None:
        """The camera is free if `owner` held it."""
        ...

    async def change_uplink_table(self, site: str, change: TableChange[T]) -> T:
        """The site's table of edge workers is what `change` made of it, atomically; returns its result.

        `change` is called again when another worker came between.
        """
        ...


class SiteBoard(Protocol):
    """What processes of a site tell each other: reports of servers, states and spent bytes of uplinks."""

    async def publish_reports(self, reports: Sequence[ServerReport]) -> None:
        """Each site reads its report until `SERVER_REPORT_TTL_S` from now or the same server's next one."""
        ...

    async def read_reports(self, site: str) -> list[ServerReport]:
        """The live servers' latest reports for a site, by name of the server."""
        ...

    async def publish_uplink(self, site: str, worker: str, text: str) -> None:
        """Readers see what this edge worker says of its uplink until `UPLINK_STATE_TTL_S` from now."""
        ...

    async def read_uplinks(self, site: str) -> dict[str, str]:
        """What each live edge worker of a site last said of its uplink."""
        ...

    async def publish_cameras(self, site: str, states: Sequence[CameraState]) -> None:
        """Readers see how these cameras of a site are until `CAMERA_STATE_TTL_S` from now or the next states."""
        ...

    async def read_cameras(self, site: str) -> list[CameraState]:
        """How each camera of a site was when its producer last told, by camera."""
        ...

    async def forget_camera(self, site: str, camera: str) -> None:
        """Nobody is told of the camera any more."""
        ...

    async def add_spent(self, site: str, period_s: float, num_bytes: int) -> Spent:
        """What the site has spent of its volume budget in the present period, `num_bytes` more than before.

        Periods of `period_s` begin at multiples of it since 1970, by the store's clock.
        """
        ...


class AnswerBoard(Protocol):
    """The servers' answers on their way back to the edge workers of a site."""

    async def put_answers(self, site: str, answers: Sequence[ServerAnswer]) -> None:
        """The answers follow the earlier ones, for `ANSWERS_TTL_S`."""
        ...

    async def answers_end(self, site: str) -> str:
        """The place after the newest answer."""
        ...

    async def answers_after(self, site: str, place: str, wait_s: float) -> tuple[str, list[ServerAnswer]]:
        """The answers after a place, oldest first, and the place after them.

        Waits for the first, up to `wait_s` or half of the store's time-out.
        """
        ...


class ModelBoard(Protocol):
    """Which pair of models the workers of a store are to run, and which they do run."""

    async def deployment(self) -> Deployment | None:
        """What was deployed last; None where nothing was.

        Raises:
            DecodeError: it cannot be read.
        """
        ...

    async def deploy(self, deployment: Deployment) -> None:
        """Every worker reads this deployment from now on."""
        ...

    async def publish_models(self, models: WorkerModels) -> None:
        """Readers see what this worker runs until `WORKER_MODELS_TTL_S` from now or its next word."""
        ...

    async def read_models(self) -> list[WorkerModels]:
        """What each live worker runs, by its name."""
        ...


class SiteStores(LabelStore, LeaseStore, SiteBoard, AnswerBoard, ModelBoard, TraceStore, Protocol):
    """All that a site remembers, in one place."""
