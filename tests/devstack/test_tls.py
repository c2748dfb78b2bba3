"""Kafka over SASL_SSL and Redis over TLS with an authority of their own, and each role with its own rights."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.protocol.admin import CreateAclsRequest
from cryptography.hazmat.primitives import serialization
from pydantic import SecretStr

from devstack import SecureListener, embedded_stack
from devstack.locks import Locks
from devstack.redis_server import RedisServer, redis_command
from devstack.settings import Settings, load_settings
from edge_workers.worker import run_edge
from producers.camera import CameraSpec
from producers.run import run_producers
from runtime.connections import KafkaSettings
from runtime.kafka_admin import create_topics, pipeline_topics, read_all
from runtime.kafka_sink import Sink
from runtime.kafka_source import KafkaSource
from runtime.redis_store import RedisStore
from schemas.answer import ServerAnswer
from schemas.camera_state import CameraState
from schemas.deployment import Deployment, Pair
from schemas.errors import SaccadeError, TransientError
from schemas.label import AnswerSource as LabelSource
from schemas.label import Label, LabelState
from server_workers.worker import run_server

pytestmark = pytest.mark.stack

PASSWORD = "correct horse"


def write_keystore(authority: trustme.CA, path: Path) -> trustme.LeafCert:
    """The broker's PEM file: Kafka wants the key as PKCS #8."""
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + b"".join(pem.bytes() for pem in certificate.cert_chain_pems)
    )
    return certificate


@asynccontextmanager
async def tls_relay(certificate: trustme.LeafCert, port: int) -> AsyncIterator[int]:
    """A port that speaks TLS and passes on to a plain one: the bundled redis-server is built without TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate.configure_cert(context)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plain_reader, plain_writer = await asyncio.open_connection("127.0.0.1", port)
        async with asyncio.TaskGroup() as group:
            group.create_task(copy(reader, plain_writer))
            group.create_task(copy(plain_reader, writer))

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        try:
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()
        except ConnectionError:
            pass
        finally:
            sink.close()

    async with await asyncio.start_server(relay, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


def make_settings(stack: Any, redis_port: int, cafile: Path, password: str) -> Settings:
    kafka = {
        "bootstrap_servers": stack.secure_bootstrap_servers,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "site",
        "sasl_plain_password": password,
        "ssl_cafile": str(cafile),
        "request_timeout_ms": 2_000,
    }
    redis = {"url": f"rediss://localhost:{redis_port}/0", "ssl_ca_certs": str(cafile)}
    topics = {"partitions": 2}
    return load_settings(None, {"kafka": kafka, "redis": redis, "topics": topics}, environ={})


@asynccontextmanager
async def secure_place(folder: Path) -> AsyncIterator[tuple[Any, int, Path]]:
    """A stack whose Kafka wants SASL_SSL, the TLS port of its Redis, and the authority's file."""
    authority = trustme.CA()
    cafile = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(cafile))
    certificate = write_keystore(authority, folder / "broker.pem")
    listener = SecureListener(folder / "broker.pem", {"site": PASSWORD})
    async with (
        embedded_stack(folder / "run", topics=False, secure_listener=listener) as stack,
        tls_relay(certificate, stack.redis.port) as redis_port,
    ):
        yield stack, redis_port, cafile


async def test_a_record_and_a_label_go_round_over_tls_and_a_stranger_is_turned_away(tmp_path: Path) -> None:
    async with secure_place(tmp_path) as (stack, redis_port, cafile):
        settings = make_settings(stack, redis_port, cafile, PASSWORD)
        await create_topics(settings.kafka, pipeline_topics(settings))
        async with Sink(settings.kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000) as sink:
            await (await sink.send("frames", b"over TLS", partition=1))
        async with KafkaSource(settings.kafka, ["frames"], group_id="edge") as source:
            (record,) = await source.getmany(10, 10.0)
        assert record.value == b"over TLS"

        label = Label("", "gate", 1, LabelState.FINAL, LabelSource.SERVER, 2, "car", 0.5, 1, 2)
        async with RedisStore(settings.redis) as store:
            assert await store.put([label]) == ["WRITTEN"]
            assert await store.get("gate", 1) == label

        other = tmp_path / "other.pem"
        trustme.CA().cert_pem.write_to_path(str(other))
        stranger = make_settings(stack, redis_port, other, PASSWORD)
        async with RedisStore(stranger.redis) as store:
            with pytest.raises(TransientError, match="certificate verify failed"):
                await store.get("gate", 1)
        wrong = make_settings(stack, redis_port, cafile, "wrong")
        for refused, why in ((wrong, "Authentication failed"), (stranger, "certificate verify failed")):
            with pytest.raises(SaccadeError, match=rf"refuse each other \(SASL_SSL\): .*{why}") as caught:
                await anext(aiter(read_all(refused.kafka, "frames")))
            assert not isinstance(caught.value, TransientError)


async def test_the_whole_pipeline_runs_over_tls(tmp_path: Path, tiny_model: Path) -> None:
    async with secure_place(tmp_path) as (stack, redis_port, cafile):
        settings = make_settings(stack, redis_port, cafile, PASSWORD)
        settings = changed(
            settings,
            producer={"state_dir": tmp_path / "state"},
            edge={"model": str(tiny_model), "threads": 1, "tau": 0.0, "max_latency_ms": 600_000},
            server={"model": str(tiny_model), "threads": 1},
            metrics={"port": None},
        )
        await create_topics(settings.kafka, pipeline_topics(settings))
        stop = asyncio.Event()
        camera = CameraSpec.parse("gate=scenes:2900000021?width=320&height=240", fps=0, limit=5)
        async with RedisStore(settings.redis) as store, asyncio.TaskGroup() as group:
            group.create_task(run_edge(settings, stop))
            group.create_task(run_server(settings, stop))
            await run_producers(settings, [camera], stop=asyncio.Event())
            finals: set[int] = set()
            async with asyncio.timeout(60):
                while finals != set(range(5)):
                    await asyncio.sleep(0.05)
                    finals |= {each.seq async for each in store.history("gate") if each.source == "server"}
            stop.set()


ROOT = Path(__file__).parent.parent.parent
ROLES = ("producer", "edge", "server", "page", "operator")
REDIS_VERSION = subprocess.run(
    [redis_command(), "--version"], capture_output=True, text=True, check=True
).stdout
HAS_READ_ONLY_KEYS = int(REDIS_VERSION.partition("v=")[2].partition(".")[0]) >= 7
RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
OPERATIONS = {"Read": 3, "Write": 4, "Create": 5, "Alter": 7, "Describe": 8, "DescribeConfigs": 10}
LITERAL = ALLOW = 3


async def give_rights(kafka: KafkaSettings, lines: list[str]) -> None:
    """As `compose/security/apply-kafka-acls.sh` does with the command that the embedded broker lacks."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    await admin.start()
    try:
        for line in lines:
            user, operation, resource, name = line.split()
            request = CreateAclsRequest(
                RESOURCES[resource], name, LITERAL, f"User:{user}", "*", OPERATIONS[operation], ALLOW
            )
            response = await admin._client.send(admin._client.get_random_node(), request)
            assert [code for code, _ in response.creation_responses] == [0], line
    finally:
        await admin.close()


def rights() -> list[str]:
    text = (ROOT / "compose" / "security" / "kafka-acls.txt").read_text()
    return [line for line in text.splitlines() if not line.startswith("#")]


@dataclass(frozen=True)
class Place:
    """A broker that allows what the ACLs say, a Redis with users, and settings for each role."""

    plain: KafkaSettings
    roles: dict[str, Settings]

    def __getitem__(self, role: str) -> Settings:
        return self.roles[role]


@asynccontextmanager
async def guarded_place(folder: Path, tiny_model: Path) -> AsyncIterator[Place]:
    authority = trustme.CA()
    cafile = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(cafile))
    certificate = write_keystore(authority, folder / "broker.pem")
    passwords = {role: f"{role}-secret" for role in ROLES}
    users = (ROOT / "compose" / "security" / "redis-users.acl").read_text()
    if not HAS_READ_ONLY_KEYS:
        users = users.replace("%R~", "~")
    for role in (*ROLES, "reader"):
        users = users.replace(f"{role.upper()}_PASSWORD", f"{role}-secret")
    (folder / "users.acl").write_text(users)
    locks = Locks()
    redis = RedisServer(folder, folder / "redis", locks, acl_file=folder / "users.acl")
    await redis.start()
    try:
        listener = SecureListener(folder / "broker.pem", passwords, operator="operator")
        async with (
            embedded_stack(folder / "run", topics=False, secure_listener=listener) as stack,
            tls_relay(certificate, redis.port) as redis_port,
        ):
            roles = {}
            for role in (*ROLES, "reader"):
                settings = make_settings(stack, redis_port, cafile, f"{role}-secret")
                roles[role] = changed(
                    settings,
                    kafka={"sasl_plain_username": role},
                    redis={"username": role, "password": SecretStr(f"{role}-secret")},
                    producer={"state_dir": folder / "state"},
                    edge={"model": str(tiny_model), "threads": 1, "tau": 0.0, "max_latency_ms": 600_000},
                    server={"model": str(tiny_model), "threads": 1},
                    metrics={"port": None},
                )
            plain = KafkaSettings(bootstrap_servers=stack.bootstrap_servers)
            await create_topics(plain, pipeline_topics(roles["operator"]))
            await give_rights(plain, rights())
            yield Place(plain, roles)
    finally:
        await redis.stop()
        locks.release()


async def test_each_role_does_its_work_with_its_own_rights_and_no_more(
    tmp_path: Path, tiny_model: Path
) -> None:
    async with guarded_place(tmp_path, tiny_model) as place:
        stop = asyncio.Event()
        camera = CameraSpec.parse("gate=scenes:2900000021?width=320&height=240", fps=0, limit=5)
        async with RedisStore(place["reader"].redis) as store, asyncio.TaskGroup() as group:
            group.create_task(run_edge(place["edge"], stop))
            group.create_task(run_server(place["server"], stop))
            await run_producers(place["producer"], [camera], stop=asyncio.Event())
            finals: set[int] = set()
            async with asyncio.timeout(60):
                while finals != set(range(5)):
                    await asyncio.sleep(0.05)
                    finals |= {each.seq async for each in store.history("gate") if each.source == "server"}
            stop.set()

        sizes = {"max_request_bytes": 1_000, "max_in_flight_bytes": 1_000}
        for role, topic in (
            ("producer", "offload"), ("producer", "frames.dead"), ("edge", "frames"), ("edge", "offload.dead"),
            ("server", "frames"), ("server", "offload"), ("page", "frames"),
        ):  # fmt: skip
            async with Sink(place[role].kafka, in_background=True, **sizes) as sink:
                sending = asyncio.ensure_future(sink.send(topic, b"x"))
                await refused(sink, sending)
        for role, topic, group_id in (
            ("producer", "frames", "saccade-edge"), ("edge", "offload", "saccade-edge"),
            ("edge", "frames", "saccade-server"), ("server", "frames", "saccade-server"),
            ("page", "frames", "saccade-edge"),
        ):  # fmt: skip
            async with KafkaSource(
                place[role].kafka, [topic], group_id=group_id, in_background=True
            ) as source:
                async with asyncio.timeout(20.0):
                    while source.trouble in (None, "not connected yet"):
                        assert await source.getmany(1, 0.1) == []
                assert "Authorization" in source.trouble or "lacks a topic" in source.trouble

        await rights_of_the_boards(place)
        label = Label("", "gate", 9, LabelState.FINAL, LabelSource.SERVER, 2, "car", 0.5, 1, 2)
        for role in ("producer", "reader"):
            async with RedisStore(place[role].redis) as store:
                with pytest.raises(TransientError, match=r"refuses|NOPERM|can't run|ACL"):
                    await store.put([label])


async def rights_of_the_boards(place: Place) -> None:
    """What a role does not wait for is allowed, too: a refusal would only show as something that never comes."""
    state = CameraState("gate", "online", "scenes:1", 1, 5.0, 1, 1, 0)
    async with AsyncExitStack() as stack:
        stores = {
            role: await stack.enter_async_context(RedisStore(settings.redis))
            for role, settings in place.roles.items()
        }
        await stores["producer"].publish_cameras("", [state])
        for role in ("page", "reader"):
            assert [each.camera for each in await stores[role].read_cameras("")] == ["gate"]
        await stores["producer"].forget_camera("", "gate")
        await stores["edge"].change_uplink_table("", lambda rows, *_: (rows, None))
        start = await stores["edge"].answers_end("")
        await stores["server"].put_answers("", [ServerAnswer("gate", 1, (0,), (0.9,))])
        _, answers = await stores["edge"].answers_after("", start, 5.0)
        assert [each.seq for each in answers] == [1]
        with pytest.raises(TransientError, match=r"refuses|NOPERM|ACL"):
            await stores["producer"].put_answers("", answers)
        deployment = Deployment(1, Pair("/models/pair"), Pair(""))
        await stores["operator"].deploy(deployment)
        for role in ("edge", "server"):
            assert await stores[role].deployment() == deployment
            if HAS_READ_ONLY_KEYS:
                with pytest.raises(TransientError, match=r"refuses|NOPERM|ACL"):
                    await stores[role].deploy(deployment)


async def refused(sink: Sink, sending: asyncio.Future[asyncio.Future[object]]) -> None:
    """Nothing that it sends gets in, and it says why."""
    async with asyncio.timeout(20.0):
        while not any(word in str(sink.trouble) for word in ("Authoriz", "see topic")):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    sending.cancel()
    assert sink.num_accepted == 0


async def test_a_right_that_is_given_later_lets_what_waits_through(tmp_path: Path, tiny_model: Path) -> None:
    async with (
        guarded_place(tmp_path, tiny_model) as place,
        Sink(
            place["page"].kafka, max_request_bytes=1_000, max_in_flight_bytes=1_000, in_background=True
        ) as sink,
    ):
        sending = asyncio.ensure_future(sink.send("frames", b"late", partition=0))
        async with asyncio.timeout(20.0):
            while "Authoriz" not in str(sink.trouble):  # noqa: ASYNC110 - the sink tries in its own task
                await asyncio.sleep(0.05)
            await give_rights(place.plain, ["page Write topic frames"])
            await (await sending)
        assert sink.trouble is None


def changed(settings: Settings, **sections: dict[str, Any]) -> Settings:
    """The settings with other values in some sections."""
    return settings.model_copy(
        update={name: getattr(settings, name).model_copy(update=values) for name, values in sections.items()}
    )
