"""Topics as the settings want them, and reading a topic from its beginning to its present end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, NoError, TopicAlreadyExistsError, for_code

from runtime.connections import KafkaSettings
from runtime.kafka_connection import Record, connection_arguments, record_of, started, stop, translated
from runtime.kafka_fetch import safe_consumer
from runtime.settings import ProgramSettings
from schemas.errors import StackError, TransientError
from schemas.topics import TopicSpec, frames_specs, offload_specs

ADMIN_START_TIMEOUT_S = 10.0
_READ_STALL_S = 15.0
_READ_POLL_MS = 500


def pipeline_topics(settings: ProgramSettings) -> tuple[TopicSpec, ...]:
    """`frames`, `offload` and their dead-letter topics as the settings want them."""
    topics = settings.topics
    frames = frames_specs(
        name=topics.frames,
        partitions=topics.partitions,
        max_frame_bytes=settings.producer.max_frame_bytes,
        disk_bytes=topics.frames_disk_bytes,
    )
    offload = offload_specs(
        name=settings.offload_topic,
        partitions=topics.partitions,
        max_offload_bytes=settings.edge.max_offload_bytes,
    )
    return (*frames, *offload)


async def create_pipeline_topics(settings: ProgramSettings) -> list[str]:
    """Each cluster has the topics that the pipeline keeps there; returns the names of those that were made.

    Raises: as `create_topics`.
    """
    made = []
    for kafka, specs in _by_cluster(settings):
        made += await create_topics(kafka, specs, replication_factor=settings.topics.replication_factor)
    return made


async def check_pipeline_topics(settings: ProgramSettings) -> list[str]:
    """One line for each difference between the topics and the settings; raises as `check_topics`."""
    return [problem for kafka, specs in _by_cluster(settings) for problem in await check_topics(kafka, specs)]


def _by_cluster(settings: ProgramSettings) -> list[tuple[KafkaSettings, tuple[TopicSpec, ...]]]:
    specs = pipeline_topics(settings)
    if settings.offload_kafka is None:
        return [(settings.kafka, specs)]
    return [(settings.kafka, specs[:2]), (settings.offload_kafka, specs[2:])]


async def create_topics(
    kafka: KafkaSettings, specs: Sequence[TopicSpec], *, replication_factor: int = 1
) -> list[str]:
    """Every topic exists and each partition has a leader; returns the names of those that were made.

    A topic that exists stays as it is: `check_topics` tells how it differs.

    Raises:
        TransientError: no broker answers, or a leader is missing for too long.
        StackError: the broker refuses a topic.
    """
    async with _admin(kafka) as admin:
        wanted = [
            NewTopic(spec.name, spec.partitions, replication_factor, topic_configs=dict(spec.config))
            for spec in specs
        ]
        response = await admin.create_topics(wanted)
        made = []
        for name, code, message in response.topic_errors:
            error = for_code(code)
            if error is NoError:
                made.append(name)
            elif error is not TopicAlreadyExistsError:
                raise StackError(f"Kafka refuses topic {name!r}: {message or error.__name__}")
        await _wait_for_leaders(admin, {spec.name for spec in specs}, kafka.request_timeout_ms / 1000)
        return made


async def check_topics(kafka: KafkaSettings, specs: Sequence[TopicSpec]) -> list[str]:
    """One line for each difference between the topics and `specs`; empty when all is well.

    Raises:
        TransientError: no broker answers.
    """
    async with _admin(kafka) as admin:
        existing = set(await admin.list_topics())
        problems = [f"topic {s.name}: does not exist" for s in specs if s.name not in existing]
        present = [spec for spec in specs if spec.name in existing]
        if not present:
            return problems
        found = {topic["topic"]: topic for topic in await admin.describe_topics([s.name for s in present])}
        configs = await _configs(admin, present)
        for spec in present:
            count = len(found[spec.name]["partitions"])
            if count != spec.partitions:
                problems.append(f"topic {spec.name}: {count} partitions, should be {spec.partitions}")
            if spec.name in configs:  # else this client may not ask
                problems += _config_problems(spec, configs[spec.name])
        return problems


async def read_all(kafka: KafkaSettings, topic: str) -> AsyncIterator[Record]:
    """Every record from the beginning to where each partition ends when this is called; joins no group.

    Raises:
        StackError: the topic does not exist.
        TransientError: the broker does not answer for a while.
    """

    def make() -> Any:
        return safe_consumer(
            **connection_arguments(kafka),
            auto_offset_reset="earliest",
            max_partition_fetch_bytes=8 * 1024 * 1024,
        )

    async with _admin(kafka) as admin:
        if topic not in await admin.list_topics():
            raise StackError(f"Kafka has no topic {topic!r}: saccade topics create makes it")
        (description,) = await admin.describe_topics([topic])
    partitions = [KafkaTopicPartition(topic, part["partition"]) for part in description["partitions"]]
    consumer = await started(make, kafka, ADMIN_START_TIMEOUT_S)
    try:
        async for record in _read(consumer, partitions):
            yield record
    except (TimeoutError, KafkaError) as error:
        raise translated(error, f"reading all of {topic}") from None
    finally:
        await stop(consumer)


async def _read(consumer: Any, partitions: list[KafkaTopicPartition]) -> AsyncIterator[Record]:
    consumer.assign(partitions)
    begins = await consumer.beginning_offsets(partitions)
    ends = await consumer.end_offsets(partitions)
    unread = {each for each in partitions if begins[each] < ends[each]}
    consumer.pause(*(each for each in partitions if each not in unread))
    await consumer.seek_to_beginning(*unread) if unread else None
    while unread:
        async with asyncio.timeout(_READ_STALL_S):
            found: dict[KafkaTopicPartition, list[Any]] = {}
            while not found and unread:
                found = await consumer.getmany(timeout_ms=_READ_POLL_MS)
                # By position: the last record before the end may have been trimmed by retention.
                done = [each for each in unread if await consumer.position(each) >= ends[each]]
                unread.difference_update(done)
                consumer.pause(*done)
        for partition, records in found.items():
            for record in records:
                if record.offset < ends[partition]:
                    yield record_of(record)


@asynccontextmanager
async def _admin(kafka: KafkaSettings) -> AsyncIterator[Any]:
    arguments = connection_arguments(kafka)
    admin = await started(lambda: _Admin(**arguments), kafka, ADMIN_START_TIMEOUT_S)
    try:
        yield admin
    except (TimeoutError, KafkaError) as error:
        raise translated(error, f"administering {kafka.bootstrap_servers}") from None
    finally:
        await stop(admin)


class _Admin(AIOKafkaAdminClient):  # type: ignore[misc]  # aiokafka is untyped
    """The library's admin client, which calls `close` what its other clients call `stop`."""

    async def stop(self) -> None:
        await self.close()


async def _wait_for_leaders(admin: Any, names: set[str], timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                found = await admin.describe_topics(sorted(names))
                leaders = [part["leader"] for topic in found for part in topic["partitions"]]
                if all(topic["partitions"] for topic in found) and all(leader >= 0 for leader in leaders):
                    return
                await asyncio.sleep(0.05)  # the broker tells nobody when a leader is elected
    except TimeoutError:
        raise TransientError(
            f"Kafka: topics {sorted(names)} have no leaders after {timeout_s:.0f} s"
        ) from None


async def _configs(admin: Any, specs: Iterable[TopicSpec]) -> dict[str, dict[str, str]]:
    resources = [ConfigResource(ConfigResourceType.TOPIC, spec.name) for spec in specs]
    responses = await admin.describe_configs(resources)
    return {
        resource[3]: {entry[0]: entry[1] for entry in resource[4]}
        for response in responses
        for resource in response.resources
        if resource[0] == 0
    }


def _config_problems(spec: TopicSpec, found: dict[str, str]) -> list[str]:
    problems = []
    for key, wanted in spec.config.items():
        value = found.get(key, "")
        larger_is_fine = key == "max.message.bytes" and value.isdigit() and int(value) >= int(wanted)
        if value != wanted and not larger_is_fine:
            problems.append(f"topic {spec.name}: {key} is {value or 'not set'}, should be {wanted}")
    return problems
