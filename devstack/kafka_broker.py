"""Apache Kafka as a child process: a KRaft node that is broker and controller, alone or one of several."""

from __future__ import annotations

import asyncio
import subprocess
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devstack.child import GuardedChild
from devstack.jars import broker_jars, java_command
from devstack.locks import Locks
from schemas.errors import StackError

_READY_LINE = "Kafka Server started"
_READY_TIMEOUT_S = 120.0  # 3 s on an idle machine; a log to recover or a busy machine takes longer
_GRACE_S = 5.0
_JVM_OPTIONS = (
    # A young generation of its own memory from the start, collected on one thread: a pause every few seconds of
    # some 10 ms. Collectors of many threads take them from the workers beside; fresh memory made pauses of 100 ms.
    "-Xms256m",
    "-Xmx512m",
    "-Xmn64m",
    "-XX:+UseSerialGC",
    "-XX:+AlwaysPreTouch",
    # The quick compiler alone: ready with 1.7 s of processor time instead of 3, and 13,000 records of 12 kB
    # a second are still more than a pipeline on such a machine makes.
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)

_LOG4J = """\
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=OUT
appender.out.type=Console
appender.out.name=OUT
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
logger.ready.name=kafka.server.KafkaRaftServer
logger.ready.level=INFO
"""


@dataclass(frozen=True, slots=True)
class ExtraListener:
    """A second plaintext listener whose clients are sent to another address: a relay or a shaped link.

    `port` 0 takes any free port; clients that bootstrap through the relay are told
    `advertised_host:advertised_port`.
    """

    advertised_host: str
    advertised_port: int
    port: int = 0


@dataclass(frozen=True, slots=True)
class SecureListener:
    """A SASL_SSL listener with PLAIN credentials, one password for each user.

    `pem_path` holds an unencrypted PKCS #8 private key and its certificate chain for `localhost`. With
    `operator`, users may do nothing but what ACLs allow them; this user, and whoever comes by the plaintext
    listener, may do everything.
    """

    pem_path: Path
    passwords: Mapping[str, str]
    operator: str | None = None
    port: int = 0


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """Which node of a cluster a broker is. Its topics are to be held by three nodes, of which two must answer.

    `controller_ports` holds the port of each node's controller by its number; all of them vote. Whoever comes by
    a plaintext listener may do what no ACL denies.
    """

    number: int
    controller_ports: Mapping[int, int]
    cluster_id: str
    heap_mb: int = 256


ALONE = 1


class KafkaBroker:
    """A real broker on loopback that keeps its ports and data over `kill` and `start`.

    Args:
        run_dir: folder for configuration and log.
        data_dir: folder for topics; formatted when it is empty.
        locks: gives the ports and holds them.
        port: port of the plaintext listener, 0 = any free one.
        extra_listeners: further plaintext listeners; `extra_ports` are theirs, in order.
        node: which one of a cluster it is, whose `controller_ports` are taken already; None = it is alone.
    """

    def __init__(
        self,
        run_dir: Path,
        data_dir: Path,
        locks: Locks,
        *,
        port: int = 0,
        extra_listeners: Sequence[ExtraListener] = (),
        secure_listener: SecureListener | None = None,
        node: ClusterNode | None = None,
    ) -> None:
        self._java = [java_command(), *_JVM_OPTIONS]
        if node is not None:
            self._java += [f"-Xms{node.heap_mb}m", f"-Xmx{node.heap_mb}m"]  # the last one said counts
        self._config_path = run_dir / "kafka.properties"
        self._log4j_path = run_dir / "kafka-log4j2.properties"
        self._data_dir = data_dir
        self._extras = tuple(extra_listeners)
        self._secure = secure_listener
        self.port = locks.take_port(port)
        self._node = node or ClusterNode(ALONE, {ALONE: locks.take_port()}, new_cluster_id())
        self._is_alone = node is None
        self.extra_ports = [locks.take_port(each.port) for each in self._extras]
        self.secure_port = locks.take_port(secure_listener.port) if secure_listener else 0
        jars = broker_jars()
        self._java += [f"-Dlog4j2.configurationFile={self._log4j_path.resolve()}", "-cp", f"{jars}/*"]
        self.log_path = run_dir / "kafka.log"
        self._child = GuardedChild(
            "the embedded Kafka broker",
            [*self._java, "kafka.Kafka", str(self._config_path)],
            self.log_path,
            grace_s=_GRACE_S,
            held_fds=locks.fds,
        )

    @property
    def bootstrap_servers(self) -> str:
        """Address of the plaintext listener."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the broker."""
        return self._child.pid

    async def start(self) -> None:
        """The broker answers clients; its data is what the last run left.

        Raises:
            StackError: it could not be formatted or started, with the last lines of its log.
        """
        self._config_path.parent.mkdir(parents=True, exist_ok=True)
        self._config_path.write_text(self._properties())
        self._log4j_path.write_text(_LOG4J)
        if not (self._data_dir / "meta.properties").exists():
            await asyncio.to_thread(self._format)
        await self._child.start_until(self._is_ready, _READY_TIMEOUT_S)

    async def stop(self) -> None:
        """The broker is gone; asked first, then killed."""
        await self._child.stop()

    async def kill(self) -> None:
        """The broker was killed with SIGKILL; `start` brings it back on the same ports and data."""
        await self._child.kill()

    async def _is_ready(self) -> bool:
        return _READY_LINE in self._child.log_text()

    def _format(self) -> None:
        command = [
            "kafka.tools.StorageTool",
            "format",
            "-t",
            self._node.cluster_id,
            "-c",
            str(self._config_path),
        ]
        result = subprocess.run([*self._java, *command], capture_output=True, text=True, check=False)
        if result.returncode:
            lines = (result.stderr + result.stdout).strip().splitlines()
            raise StackError(f"the broker's data folder {self._data_dir} cannot be formatted: {lines[-1:]}")

    def _properties(self) -> str:
        node = self._node
        listeners = {
            "CLIENT": ("PLAINTEXT", self.port),
            "CONTROLLER": (
                "PLAINTEXT" if self._is_alone else "SASL_PLAINTEXT",
                node.controller_ports[node.number],
            ),
        }
        advertised = {"CLIENT": f"127.0.0.1:{self.port}"}
        for index, (extra, port) in enumerate(zip(self._extras, self.extra_ports, strict=True)):
            listeners[f"EXTRA{index}"] = ("PLAINTEXT", port)
            advertised[f"EXTRA{index}"] = f"{extra.advertised_host}:{extra.advertised_port}"
        if self._secure:
            listeners["SECURE"] = ("SASL_SSL", self.secure_port)
            advertised["SECURE"] = f"localhost:{self.secure_port}"
        settings = {
            "process.roles": "broker,controller",
            "node.id": str(node.number),
            "controller.quorum.voters": ",".join(
                f"{number}@127.0.0.1:{port}" for number, port in node.controller_ports.items()
            ),
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "CLIENT",
            "listeners": ",".join(f"{name}://127.0.0.1:{port}" for name, (_, port) in listeners.items()),
            "advertised.listeners": ",".join(f"{name}://{where}" for name, where in advertised.items()),
            "listener.security.protocol.map": ",".join(f"{n}:{p}" for n, (p, _) in listeners.items()),
            "log.dirs": str(self._data_dir.resolve()),
            **_NODE_SETTINGS,
            **({} if self._is_alone else _CLUSTER_SETTINGS),
            **(_secure_settings(self._secure) if self._secure else {}),
        }
        return "".join(f"{key}={value}\n" for key, value in settings.items())


def _secure_settings(listener: SecureListener) -> dict[str, str]:
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    users = " ".join(f'user_{name}="{password}"' for name, password in listener.passwords.items())
    authorizer = {}
    if listener.operator is not None:
        authorizer = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": f"User:ANONYMOUS;User:{listener.operator}",
        }
    return {
        "listener.name.secure.ssl.keystore.type": "PEM",
        "listener.name.secure.ssl.keystore.location": str(listener.pem_path.resolve()),
        "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
        "listener.name.secure.plain.sasl.jaas.config": (f"{login} {users};"),
        **authorizer,
    }


_NODE_SETTINGS = {
    # After kill -9 the old session must end before the node may register again: 9 s by default.
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "offsets.topic.num.partitions": "4",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
    # Topics with short retention keep their limits only if someone looks more often than every 5 min.
    "log.retention.check.interval.ms": "30000",
    # 128 MB by default, a quarter of this heap, for compaction of one small topic.
    "log.cleaner.dedupe.buffer.size": "16777216",
    # 10 MB for each of three indexes a partition by default; a 64 MB segment needs 131 kB.
    "log.index.size.max.bytes": "1048576",
}

_CLUSTER_SETTINGS = {
    "offsets.topic.replication.factor": "3",
    "min.insync.replicas": "2",
    # A follower that is gone holds acknowledgements up for this long: 30 s by default.
    "replica.lag.time.max.ms": "5000",
    "leader.imbalance.check.interval.seconds": "10",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    # Until the controllers have agreed on the ACLs, none of them knows any: they must be somebody to each other.
    "super.users": "User:controller",
    "sasl.mechanism.controller.protocol": "PLAIN",
    "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
    "listener.name.controller.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        'username="controller" password="loopback" user_controller="loopback";'
    ),
}


def new_cluster_id() -> str:
    """A random cluster id: 22 characters that do not begin with a dash, which Kafka would take for an option."""
    while (found := urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        pass
    return found
