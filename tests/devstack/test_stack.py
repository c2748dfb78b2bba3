"""The embedded stack as a whole: several at once, its end with its parent, content that outlives a kill."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devstack import EmbeddedStack, ExtraListener, embedded_stack
from devstack.settings import load_settings
from runtime.connections import KafkaSettings, RedisSettings
from runtime.kafka_admin import check_topics, create_topics, pipeline_topics, read_all
from runtime.kafka_sink import Sink
from runtime.redis_store import RedisStore
from schemas.errors import StackError
from schemas.label import AnswerSource, Label, LabelState
from schemas.topics import TopicSpec

pytestmark = pytest.mark.stack

LABEL = Label(
    site="",
    camera="gate",
    seq=7,
    state=LabelState.FINAL,
    source=AnswerSource.EDGE,
    label=1,
    name="car",
    confidence=0.5,
    captured_ns=1,
    labelled_ns=2,
)


@contextlib.contextmanager
def stack_process(run_dir: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """A stack under a parent of its own, and the addresses that it printed."""
    command = [sys.executable, "-m", "devstack", "up", "--run-dir", str(run_dir), *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, json.loads(process.stdout.readline())
        finally:
            process.kill()


def wait_until_gone(pid: int, timeout_s: float) -> bool:
    """True once the process with this id has ended."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], timeout_s)[0])
    finally:
        os.close(fd)


async def put_content(addresses: dict[str, Any]) -> None:
    kafka = KafkaSettings(bootstrap_servers=addresses["bootstrap_servers"])
    await create_topics(kafka, [TopicSpec("kept", 2, {})])
    async with Sink(kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000) as sink:
        await (await sink.send("kept", b"record", partition=1))
    async with RedisStore(RedisSettings(url=addresses["redis_url"])) as store:
        assert await store.put([LABEL]) == ["WRITTEN"]


async def check_content(addresses: dict[str, Any]) -> None:
    kafka = KafkaSettings(bootstrap_servers=addresses["bootstrap_servers"])
    assert [record.value async for record in read_all(kafka, "kept")] == [b"record"]
    async with RedisStore(RedisSettings(url=addresses["redis_url"])) as store:
        assert await store.get("gate", 7) == LABEL


@pytest.mark.skipif(sys.platform != "linux", reason="waits by Linux process descriptors")
async def test_children_die_with_a_killed_parent_and_the_content_is_there_for_the_next(
    tmp_path: Path,
) -> None:
    options = ("--no-topics", "--data", str(tmp_path / "data"))
    with stack_process(tmp_path / "run", *options) as (parent, addresses):
        await put_content(addresses)
        parent.send_signal(signal.SIGKILL)
    # At once, while the children are still ending: the next one waits for the folder.
    with stack_process(tmp_path / "run", *options) as (parent, again):
        assert wait_until_gone(addresses["kafka_pid"], 0.0)
        assert wait_until_gone(addresses["redis_pid"], 0.0)
        await check_content(again)
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(20.0) == 0
    assert wait_until_gone(again["kafka_pid"], 0.0)
    assert wait_until_gone(again["redis_pid"], 0.0)


async def test_an_occupied_run_folder_is_one_clear_line(tmp_path: Path, stack: EmbeddedStack) -> None:
    first = EmbeddedStack(tmp_path)
    with pytest.raises(StackError, match=rf"is occupied .*process {os.getpid()}.*choose another folder"):
        EmbeddedStack(tmp_path)
    with pytest.raises(StackError, match="is occupied"):
        EmbeddedStack(tmp_path / "other", data=tmp_path)
    await first.kill()
    await EmbeddedStack(tmp_path).kill()


def test_a_run_folder_keeps_what_no_stack_has_made(tmp_path: Path) -> None:
    for name in ("data", "stack-content"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "image.jpg").write_bytes(b"mine")
    with pytest.raises(StackError, match="stack-content is no content of a stack"):
        EmbeddedStack(tmp_path)
    assert (tmp_path / "stack-content" / "image.jpg").exists()
    (tmp_path / "stack-content").rename(tmp_path / "mine")
    asyncio.run(EmbeddedStack(tmp_path).kill())
    assert not (tmp_path / "stack-content").exists()
    assert (tmp_path / "data" / "image.jpg").exists()


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path, stack: EmbeddedStack) -> None:
    with pytest.raises(StackError, match=rf"port {stack.kafka.port} is in use"):
        EmbeddedStack(tmp_path, kafka_port=stack.kafka.port)
    await EmbeddedStack(tmp_path).kill()


async def test_stacks_beside_each_other_have_ports_topics_and_folders_of_their_own(
    tmp_path: Path, stack: EmbeddedStack
) -> None:
    async with embedded_stack(tmp_path / "one") as other:
        ports = {other.kafka.port, other.redis.port, stack.kafka.port, stack.redis.port}
        assert len(ports) == 4
        settings = load_settings(None, {"kafka": {"bootstrap_servers": other.bootstrap_servers}}, environ={})
        assert await check_topics(settings.kafka, pipeline_topics(settings)) == []
        assert len(await check_topics(_kafka(stack.bootstrap_servers), pipeline_topics(settings))) == 4
        pids = other.kafka_pid, other.redis_pid
    assert not (tmp_path / "one" / "stack-content").exists()
    assert all(wait_until_gone(pid, 0.0) for pid in pids)


def _kafka(bootstrap_servers: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=bootstrap_servers)


async def test_each_part_comes_back_on_its_port_with_its_content_and_clients_of_a_relay_stay_on_it(
    tmp_path: Path,
) -> None:
    relayed_bytes = 0

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream_reader, upstream_writer = await asyncio.open_connection(*where)

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            nonlocal relayed_bytes
            try:
                while data := await source.read(65536):
                    relayed_bytes += len(data)
                    sink.write(data)
                    await sink.drain()
            except ConnectionError:
                pass
            finally:
                sink.close()

        async with asyncio.TaskGroup() as group:
            group.create_task(copy(reader, upstream_writer))
            group.create_task(copy(upstream_reader, writer))

    where: tuple[str, int] = ("127.0.0.1", 0)
    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        relay_port = server.sockets[0].getsockname()[1]
        listener = ExtraListener("127.0.0.1", relay_port)
        async with embedded_stack(tmp_path, topics=False, extra_listener=listener) as own:
            host, _, port = own.extra_bootstrap_servers.rpartition(":")
            where = host, int(port)
            through_relay = {"bootstrap_servers": f"127.0.0.1:{relay_port}", "redis_url": own.redis_url}
            await put_content(through_relay)
            assert relayed_bytes > 500
            before = own.bootstrap_servers, own.redis_url
            async with asyncio.TaskGroup() as group:
                group.create_task(own.kill_kafka())
                group.create_task(own.kill_redis())
            async with asyncio.TaskGroup() as group:
                group.create_task(own.start_kafka())
                group.create_task(own.start_redis())
            assert (own.bootstrap_servers, own.redis_url) == before
            await check_content({"bootstrap_servers": before[0], "redis_url": before[1]})
            at_rest = relayed_bytes
            await check_content(through_relay)
            assert relayed_bytes > at_rest + 500


async def test_a_broker_that_cannot_start_says_why_in_one_line_and_leaves_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "kafka").mkdir(parents=True)
    (data / "kafka" / "meta.properties").write_text("version=1\nnode.id=99\ncluster.id=x\n")
    stack = EmbeddedStack(tmp_path / "run", data=data)
    with pytest.raises(StackError, match="the embedded Kafka broker ended at its start"):
        await stack.start()
    assert wait_until_gone(stack.redis_pid, 0.0)
    await EmbeddedStack(tmp_path / "run", data=data).kill()
