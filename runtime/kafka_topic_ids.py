"""The ids by which Kafka tells a topic from an earlier one of its name; the client library does not ask for them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import (
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

_TEXT: Final = CompactString("utf-8")
_ID: Final = (("id_high", Int64), ("id_low", Int64))
_TAGS: Final = ("tags", TaggedFields)


class _MetadataResponse(Response):  # type: ignore[misc]  # aiokafka is untyped
    API_KEY = 3
    API_VERSION = 10
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(("node_id", Int32), ("host", _TEXT), ("port", Int32), ("rack", _TEXT), _TAGS),
        ),
        ("cluster_id", _TEXT),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", _TEXT),
                *_ID,
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        _TAGS,
                    ),
                ),
                ("authorized_operations", Int32),
                _TAGS,
            ),
        ),
        ("authorized_operations", Int32),
        _TAGS,
    )


class _MetadataRequest(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = 3
    API_VERSION = 10
    RESPONSE_TYPE = _MetadataResponse
    SCHEMA = Schema(
        ("topics", CompactArray(*_ID, ("topic", _TEXT), _TAGS)),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        _TAGS,
    )


class _TopicIdsRequest(Request[_MetadataRequest]):  # type: ignore[misc]
    API_KEY = 3

    def __init__(self, topics: Iterable[str]) -> None:
        self._topics = sorted(topics)

    def build(self, request_struct_class: type[_MetadataRequest]) -> _MetadataRequest:
        names: list[tuple[int, int, str, dict[int, bytes]]] = [(0, 0, topic, {}) for topic in self._topics]
        return request_struct_class(names, False, False, False, {})


async def topic_ids(client: Any, topics: Iterable[str]) -> dict[str, str]:
    """The id of each topic that exists, as one broker knows it; empty where brokers are older than 2.8.

    Args:
        client: an `AIOKafkaClient` that is connected.

    Raises:
        KafkaError: the broker does not answer.
    """
    try:
        response = await client.send(client.get_random_node(), _TopicIdsRequest(topics))
    except NotImplementedError:  # the library's word for a version that the broker has not
        return {}
    return {
        topic: f"{high % 2**64:016x}{low % 2**64:016x}"
        for error_code, topic, high, low, *_ in response.topics
        if error_code == 0
    }
