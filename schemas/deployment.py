"""Which pair of models a site's workers are to run, and what each of them says that it runs.

Written to Redis by `saccade models` (the deployment) and by each worker each second (its models); read by both.
The decisions that keep edge and server in step are here: pure functions of what was read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any, Final

from schemas.errors import ModelError, decodes
from schemas.fields import Fields
from schemas.limits import MAX_NAME_CHARS

MAX_PATH_CHARS: Final = 4_096
MAX_TROUBLE_CHARS: Final = 400
_MAX_SERVED: Final = 16
_MAX_GENERATION: Final = 2**53


class Role(StrEnum):
    """What a worker is in a pair."""

    EDGE = "edge"
    SERVER = "server"


class Standing(StrEnum):
    """How a worker stands to a deployment."""

    UNAWARE = "has not read it yet"
    UNDER_WAY = "under way"
    FAILED = "failed"
    RUNS = "runs it"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models that belong together.

    `folder` holds edge.safetensors and server.safetensors on every worker's machine; empty means what a worker was
    started with. The hashes are those of the weights and of the class list; one that is not known is empty.
    """

    folder: str
    edge_hash: str = ""
    server_hash: str = ""
    classes_hash: str = ""

    def hash_of(self, role: Role) -> str:
        """The weights that a worker of this role runs."""
        return self.edge_hash if role is Role.EDGE else self.server_hash

    def check(self, role: Role, weights_hash: str, classes_hash: str) -> None:
        """Return where a loaded model is the pair's.

        Raises:
            ModelError: its weights or classes are others, so that edge and server would not belong together.
        """
        for what, found, expected in (
            ("weights", weights_hash, self.hash_of(role)),
            ("classes", classes_hash, self.classes_hash),
        ):
            if expected and found != expected:
                raise ModelError(
                    f"the {role} model of {self.folder or 'the settings'}: its {what} have the hash {found[:16]}, "
                    f"deployed was {expected[:16]}; is the same folder on this machine?"
                )


@dataclass(frozen=True, slots=True)
class Deployment:
    """`pair` is to run; it follows `before`. Each change of mind is a new `generation`."""

    generation: int
    pair: Pair
    before: Pair

    def followed_by(self, pair: Pair) -> Deployment:
        """The deployment of another pair; of the same pair once more, it is tried again."""
        return Deployment(self.generation + 1, pair, self.before if pair == self.pair else self.pair)

    def taken_back(self) -> Deployment:
        """The deployment of the pair before; taken back in turn it is this one's again."""
        return self.followed_by(self.before)


@dataclass(frozen=True, slots=True)
class WorkerModels:
    """What one worker runs.

    `weights` and `classes` are hashes of the model in use, `serves` the weights of all models that a server holds.
    `generation` is that of the deployment that it follows, 0 without one. `trouble` says why it does not run the
    pair of that generation yet, or cannot; `failed` tells these apart.
    """

    worker: str
    role: Role
    model: str
    weights: str
    classes: str
    serves: tuple[str, ...] = ()
    generation: int = 0
    trouble: str = ""
    failed: bool = False


def may_switch(pair: Pair, workers: Iterable[WorkerModels]) -> bool:
    """Whether an edge may run the pair: every live server holds its partner, so that no record is refused.

    Without a live server nobody can refuse one: a server that comes takes the deployed pair before it reads.
    """
    return all(
        pair.server_hash in worker.serves or not pair.server_hash
        for worker in workers
        if worker.role is Role.SERVER
    )


def starting_pair(deployment: Deployment | None, role: Role, workers: Sequence[WorkerModels]) -> Pair:
    """The pair that a worker begins with; it follows the deployment from there.

    While a change is under way that is the pair before: an edge's as long as a server lacks the new one, a server's as
    long as an edge may ask with the old class list.
    """
    if deployment is None:
        return Pair("")
    pair, before = deployment.pair, deployment.before
    if role is Role.EDGE:
        return pair if may_switch(pair, workers) else before
    asked = {worker.classes for worker in workers if worker.role is Role.EDGE}
    is_old_asked = before.classes_hash != pair.classes_hash and before.classes_hash in asked
    return before if is_old_asked else pair


def unneeded(
    held: Sequence[str], workers: Iterable[WorkerModels], *, asked_of_late: Iterable[str] = ()
) -> set[int]:
    """The places in `held` of models that no record can ask for any more.

    Args:
        held: the class lists of a server's models, newest first. Of two with the same list the newer one answers.
        workers: what runs now.
        asked_of_late: class lists of which records came so lately that more may be on their way.
    """
    asked = {worker.classes for worker in workers if worker.role is Role.EDGE} | set(asked_of_late)
    return {
        place
        for place, classes in enumerate(held)
        if place > 0 and (classes in held[:place] or classes not in asked)
    }


def standing(worker: WorkerModels, deployment: Deployment) -> Standing:
    """How a worker stands to what is deployed."""
    if worker.generation != deployment.generation:
        return Standing.UNAWARE
    if worker.failed:
        return Standing.FAILED
    return Standing.UNDER_WAY if worker.trouble else Standing.RUNS


def is_decided(workers: Iterable[WorkerModels], deployment: Deployment) -> bool:
    """Whether nothing more will change: a server that cannot take the pair keeps all edges from it."""
    known = [(worker.role, standing(worker, deployment)) for worker in workers]
    open_states = (Standing.UNAWARE, Standing.UNDER_WAY)
    if (Role.SERVER, Standing.FAILED) in known:
        return not any(role is Role.SERVER and each in open_states for role, each in known)
    return not any(each in open_states for _, each in known)


def encode_deployment(deployment: Deployment) -> str:
    """The deployment as one line of JSON."""
    return json.dumps(asdict(deployment), separators=(",", ":"))


@decodes
def decode_deployment(text: str) -> Deployment:
    """The deployment of `encode_deployment`; raises `DecodeError` naming the field."""
    fields = Fields.of_json("deployment", text)
    return Deployment(
        generation=fields.integer("generation", 1, _MAX_GENERATION),
        pair=_pair(fields, "pair"),
        before=_pair(fields, "before"),
    )


def encode_worker_models(models: WorkerModels) -> str:
    """The worker's models as one line of JSON; a long trouble is cut."""
    plain = asdict(replace(models, trouble=models.trouble[:MAX_TROUBLE_CHARS]))
    return json.dumps(plain, separators=(",", ":"))


@decodes
def decode_worker_models(text: str) -> WorkerModels:
    """The models of `encode_worker_models`; raises `DecodeError` naming the field."""
    fields = Fields.of_json("worker's models", text)
    serves = Fields("worker's serves", dict(_numbered(fields.sequence("serves", _MAX_SERVED))))
    return WorkerModels(
        worker=fields.text("worker", MAX_NAME_CHARS),
        role=Role(fields.choice("role", frozenset(Role))),
        model=fields.text("model", MAX_PATH_CHARS),
        weights=fields.text("weights", MAX_NAME_CHARS),
        classes=fields.text("classes", MAX_NAME_CHARS),
        serves=tuple(serves.text(name, MAX_NAME_CHARS) for name in serves.values),
        generation=fields.integer("generation", 0, _MAX_GENERATION),
        trouble=fields.text("trouble", MAX_TROUBLE_CHARS),
        failed=fields.boolean("failed"),
    )


def _pair(fields: Fields, name: str) -> Pair:
    each = Fields.of(f"{fields.what}.{name}", fields.values.get(name))
    hashes = ("edge_hash", "server_hash", "classes_hash")
    return Pair(each.text("folder", MAX_PATH_CHARS), *(each.text(one, MAX_NAME_CHARS) for one in hashes))


def _numbered(items: Sequence[Any]) -> Iterable[tuple[str, Any]]:
    return ((str(place), item) for place, item in enumerate(items))
