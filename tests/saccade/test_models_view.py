"""`saccade models`: what a person and a program read, and how long a deployment is waited for."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import saccade.commands.models
from runtime.memory_store import MemoryStore
from saccade.commands.models import _deploy, pair_of, started_with
from saccade.models_view import deployment_line, model_rows, standing_line
from schemas.deployment import Deployment, Pair, Role, WorkerModels
from schemas.errors import SaccadeError

SERVER = WorkerModels("h:1:aa", Role.SERVER, "large", "5e" * 16, "c0" * 8, ("5e" * 16, "5d" * 16), 2)
EDGE = WorkerModels("h:2:bb", Role.EDGE, "small", "ed" * 16, "c0" * 8)
DEPLOYMENT = Deployment(2, Pair("/pairs/1"), Pair(""))


def test_a_person_reads_one_line_a_worker() -> None:
    header, server, edge = model_rows([SERVER, replace(EDGE, trouble="no file", failed=True)], as_json=False)
    assert header.split()[:3] == ["worker", "role", "model"]
    assert server.split() == ["h:1:aa", "server", "large", "and", "1", "older", "5e5e5e5e", "c0c0c0c0", "2"]
    assert edge.endswith("as started  failed: no file")


def test_a_program_reads_one_object_a_worker() -> None:
    found = [json.loads(row) for row in model_rows([SERVER, EDGE], as_json=True)]
    assert [each["role"] for each in found] == ["server", "edge"]


def test_what_is_deployed_is_one_line() -> None:
    assert "nothing is deployed" in deployment_line(None)
    assert (
        deployment_line(DEPLOYMENT) == "deployment 2: /pairs/1; before it: what each worker was started with"
    )
    assert standing_line(EDGE, DEPLOYMENT) == "edge h:2:bb: has not read it yet"
    assert standing_line(SERVER, DEPLOYMENT) == "server h:1:aa: runs it"
    failed = replace(EDGE, generation=2, trouble="no file", failed=True)
    assert standing_line(failed, DEPLOYMENT) == "edge h:2:bb: failed: no file"


def test_what_workers_were_started_with_is_known_as_far_as_they_agree() -> None:
    other = replace(EDGE, worker="h:3:cc", weights="ee" * 16)
    assert started_with([SERVER, EDGE]) == Pair("", EDGE.weights, SERVER.weights, EDGE.classes)
    assert started_with([SERVER, EDGE, other]) == Pair("", "", SERVER.weights, EDGE.classes)
    assert started_with([]) == Pair("")


async def test_a_deployment_is_waited_for_and_each_worker_is_told_about(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saccade.commands.models, "_ASK_S", 0.001)
    store: Any = MemoryStore()
    await store.publish_models(SERVER)
    await store.publish_models(EDGE)
    waiting = asyncio.create_task(_deploy(store, DEPLOYMENT))
    async with asyncio.timeout(10):
        while await store.deployment() != DEPLOYMENT:  # noqa: ASYNC110 - a store tells nobody of a deployment
            await asyncio.sleep(0.001)
        await store.publish_models(replace(EDGE, generation=2))
        await waiting
    told = capsys.readouterr().out.splitlines()
    assert told[0] == deployment_line(DEPLOYMENT)
    assert told[-1] == "edge h:2:bb: runs it"
    await store.publish_models(replace(EDGE, generation=3, trouble="no file", failed=True))
    await store.publish_models(replace(SERVER, generation=3))
    with pytest.raises(SaccadeError, match="saccade models back"):
        await _deploy(store, DEPLOYMENT.taken_back())


def test_a_folder_without_a_pair_is_named(tmp_path: Path) -> None:
    with pytest.raises(SaccadeError, match=r"no pair, which is edge\.safetensors and server\.safetensors"):
        pair_of(tmp_path)
