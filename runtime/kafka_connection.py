"""What all Kafka clients share: records, connection arguments with TLS and SASL, start and translated errors.

Only the modules `runtime.kafka*` import aiokafka, and nothing of it leaves them: library errors become
`TransientError` (worth a retry), `RecordRefused` (this record never gets in) or another `SaccadeError`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiokafka.client
import aiokafka.conn
import stamina
from aiokafka.conn import AIOKafkaConnection, CloseReason, create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    BrokerResponseError,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    RecordListTooLargeError,
    SaslAuthenticationFailed,
    SecurityDisabled,
    TopicAuthorizationFailedError,
    UnknownProducerId,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from runtime.connections import KafkaSettings
from runtime.log import get_logger
from schemas.errors import SaccadeError, SettingsError, StackError, TransientError

START_TIMEOUT_S = 30.0
"""How long a starting client waits for a broker that is starting too."""
CLOSE_TIMEOUT_S = 5.0
_CANCEL_AGAIN_S = 0.2
_START_ENDS_S = 1.0
_COORDINATOR_TASKS = (
    "_coordination_task",
    "_heartbeat_task",
    "_commit_refresh_task",
    "_reset_committed_task",
)

_log = get_logger(__name__)

_REFUSES_CLIENT = (
    AuthenticationFailedError,
    AuthenticationMethodNotSupported,
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    IllegalSaslStateError,
    SaslAuthenticationFailed,
    SecurityDisabled,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
)
_LOST_SEQUENCE = (
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownProducerId,
)


class _AskingOnly(MetadataRequest):  # type: ignore[misc]  # aiokafka is untyped
    """Asks about topics and makes none.

    The library's own request lets a broker with `auto.create.topics.enable` make a topic that is missing, with
    one partition and the broker's limits.
    """

    def __init__(self, topics: list[str] | None = None) -> None:
        super().__init__(topics, allow_auto_topic_creation=False)


aiokafka.client.MetadataRequest = _AskingOnly


class _Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka is untyped
    """A connection that is gone says so as such, whatever the event loop makes of it.

    Where a broker has just died uvloop refuses to write with a RuntimeError, which the library lets out: to a
    worker it would be a fault of its own, which ends it.
    """

    def send(self, *request: Any, **how: Any) -> Any:
        with self._gone_as_such():
            return super().send(*request, **how)

    def _send_sasl_token(self, *token: Any, **how: Any) -> Any:
        with self._gone_as_such():
            return super()._send_sasl_token(*token, **how)

    @contextmanager
    def _gone_as_such(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


aiokafka.conn.AIOKafkaConnection = _Connection


class Passing(Exception):  # noqa: N818 - reads as what it is
    """What a client tries may work at another time; `attempts` then makes a pause."""


_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


def attempts() -> AsyncIterator[stamina.Attempt]:
    """One after the other for ever, with growing, jittered pauses after each `Passing`."""
    return stamina.retry_context(
        on=Passing,
        attempts=None,
        timeout=None,
        wait_initial=_FIRST_PAUSE_S,
        wait_max=_LONGEST_PAUSE_S,
        wait_jitter=_FIRST_PAUSE_S,
    )


class RecordRefused(SaccadeError):  # noqa: N818 - reads as what happened
    """The client or the broker refuses this one record for good, such as for its size."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as the broker holds it; a missing value is empty bytes."""

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    unreadable: str | None = None
    """Why it must not be opened. An empty one stands for a whole batch that nobody can read."""


def record_of(found: Any, unreadable: str | None = None) -> Record:
    """The record that the client library found."""
    return Record(
        topic=found.topic,
        partition=found.partition,
        offset=found.offset,
        timestamp_ms=found.timestamp,
        key=found.key,
        value=found.value or b"",
        headers=tuple((name, value or b"") for name, value in found.headers),
        unreadable=unreadable,
    )


def connection_arguments(kafka: KafkaSettings) -> dict[str, Any]:
    """What every client of this cluster is built with: addresses, TLS, SASL and timeouts.

    Raises:
        SettingsError: a certificate or key file cannot be used.
    """
    password = kafka.sasl_plain_password
    return {
        "bootstrap_servers": kafka.bootstrap_servers.split(","),
        "client_id": kafka.client_id,
        "request_timeout_ms": kafka.request_timeout_ms,
        "retry_backoff_ms": kafka.retry_backoff_ms,
        "metadata_max_age_ms": kafka.metadata_max_age_ms,
        "security_protocol": kafka.security_protocol,
        "ssl_context": _ssl_context(kafka) if kafka.uses_tls else None,
        "sasl_mechanism": kafka.sasl_mechanism or "PLAIN",
        "sasl_plain_username": kafka.sasl_plain_username,
        "sasl_plain_password": password.get_secret_value() if password else None,
    }


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=kafka.ssl_cafile)
        context.check_hostname = kafka.ssl_check_hostname
        if kafka.ssl_certfile is not None:
            password = kafka.ssl_password.get_secret_value() if kafka.ssl_password else None
            context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile, password)
    except OSError as error:  # ssl.SSLError is one
        raise SettingsError(
            f"kafka.ssl_cafile {kafka.ssl_cafile}, ssl_certfile {kafka.ssl_certfile}: {error}"
        ) from None
    return context


def is_about_the_record(error: BaseException) -> bool:
    """True when the broker's answer to a batch may be the fault of a record in it.

    Everything else passes, whatever the broker says of this client, its sequence or itself.
    """
    passes = getattr(error, "retriable", False) or isinstance(error, (*_REFUSES_CLIENT, *_LOST_SEQUENCE))
    return isinstance(error, BrokerResponseError) and not passes


def translated(error: BaseException, doing: str) -> SaccadeError:
    """The library's error in the project's own tree; `doing` says what failed.

    A size that is refused is the record's own fault. Whatever else a broker says may be put right at the
    broker, and is worth another try.
    """
    what = f"Kafka: {doing}: {type(error).__name__} {error}"
    if isinstance(error, (MessageSizeTooLargeError, RecordListTooLargeError)):
        return RecordRefused(what)
    return TransientError(what)


async def _check_reachable(kafka: KafkaSettings) -> None:
    """Returns when a broker accepts connections; the library's clients would log an error at each try.

    Raises:
        KafkaConnectionError: none does.
    """
    for server in kafka.bootstrap_servers.split(","):
        host, _, port = server.strip().rpartition(":")
        try:
            async with asyncio.timeout(kafka.request_timeout_ms / 1000):
                _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except (OSError, TimeoutError, UnicodeError):  # the last: a name that no server can have
            continue
        writer.close()
        return
    raise KafkaConnectionError(f"no connection to {kafka.bootstrap_servers}")


async def _check_refusal(kafka: KafkaSettings) -> None:
    """Returns unless the first broker turns this client away for good, which the library's clients only log.

    Raises:
        SaccadeError: wrong credentials, or a certificate that is not trusted.
    """
    if kafka.security_protocol == "PLAINTEXT":
        return
    arguments = connection_arguments(kafka)
    host, _, port = arguments.pop("bootstrap_servers")[0].strip().rpartition(":")
    for name in ("retry_backoff_ms", "metadata_max_age_ms"):
        del arguments[name]
    try:
        connection = await create_conn(host, int(port), **arguments)
    except (ssl.SSLCertVerificationError, KafkaError) as error:
        if not getattr(error, "retriable", False):
            what = f"Kafka at {host}:{port} and this client refuse each other ({kafka.security_protocol})"
            raise SaccadeError(f"{what}: {error}") from None
    except (OSError, TimeoutError):
        return
    else:
        connection.close()


class _Client(Protocol):
    async def start(self) -> None: ...
    async def stop(self) -> None: ...


C = TypeVar("C", bound=_Client)


async def ended(tasks: Collection[asyncio.Future[Any]]) -> None:
    """The library's tasks are done, cancelled as often as that takes.

    Once is not enough: a cancellation that meets the library in a wait for a task that it has cancelled itself is
    lost, and a task that waits for another one only hands its cancellation on.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_AGAIN_S)


async def stop(client: Any, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
    """The client, its tasks and connections are closed, whatever state its broker is in.

    It has `timeout_s` to do so in order, and is then cut off; cut off at once where the caller is cancelled.

    A consumer of aiokafka (0.14) lets the cancellation of its own fetches out of `stop`, as if the caller had
    been cancelled, and leaves its connections open: hence a task of its own, and the rest is done here.
    """
    stopping = asyncio.ensure_future(client.stop())
    try:
        await asyncio.wait([stopping], timeout=timeout_s)
    finally:
        await ended([stopping])
        if stopping.cancelled() or stopping.exception() is not None:
            _log.info("closed a Kafka client without its broker's answer")
            await _cut_off(client)


async def _cut_off(client: Any) -> None:
    """None of the client's tasks runs, and its connections are gone, with what they had to send."""
    fetcher, coordinator = (getattr(client, name, None) for name in ("_fetcher", "_coordinator"))
    tasks = [getattr(coordinator, name, None) for name in _COORDINATOR_TASKS]
    if fetcher is not None:
        tasks += [fetcher._fetch_task, *fetcher._pending_tasks]
    await ended([task for task in tasks if task is not None])
    inner = getattr(client, "_client", None) or client.client
    for connection in inner._conns.values():
        transport = getattr(connection._protocol, "_transport", None)  # there also where it has been closed
        if transport is not None:
            transport.abort()
    # It gathers futures that may have been cancelled with an earlier try.
    closing = asyncio.ensure_future(inner.close())
    await asyncio.wait([closing], timeout=_START_ENDS_S)
    await ended([closing])
    if not closing.cancelled():
        closing.exception()


async def started(make: Callable[[], C], kafka: KafkaSettings, timeout_s: float = START_TIMEOUT_S) -> C:
    """A connected client, made anew for each try.

    Raises:
        TransientError: no broker answered for `timeout_s`.
        StackError: a topic does not exist.
        SaccadeError: the brokers refuse this client.
    """
    with _translated_start(kafka):
        async for attempt in stamina.retry_context(
            on=KafkaConnectionError, attempts=None, timeout=timeout_s, wait_initial=0.2, wait_max=2.0
        ):
            with attempt:
                client = await _open(make, kafka)
    return client


async def opened(make: Callable[[], C], kafka: KafkaSettings) -> C:
    """A connected client, after one try; raises as `started`."""
    with _translated_start(kafka):
        return await _open(make, kafka)


async def _open(make: Callable[[], C], kafka: KafkaSettings) -> C:
    await _check_reachable(kafka)
    client = make()
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except BaseException as error:
        # Cancelled, the library loses the connection that it asks for the cluster: it may finish first.
        await asyncio.wait([starting], timeout=_START_ENDS_S)
        await ended([starting])
        await stop(client)
        if isinstance(error, KafkaConnectionError):
            await _check_refusal(kafka)
        raise
    return client


@contextmanager
def _translated_start(kafka: KafkaSettings) -> Iterator[None]:
    where = kafka.bootstrap_servers
    try:
        yield
    except KafkaConnectionError:
        raise TransientError(
            f"Kafka at {where} does not answer: start it (saccade stack starts one), or name another "
            "with --kafka HOST:PORT or kafka.bootstrap_servers"
        ) from None
    except UnknownTopicOrPartitionError:
        raise StackError(f"Kafka at {where} lacks a topic: saccade topics create makes it") from None
    except KafkaError as error:
        raise translated(error, f"connecting to {where}") from None
