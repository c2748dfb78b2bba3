"""Kafka as workers see it: `KafkaSource` reads as a group member, `Sink` writes, with the project's own errors."""

from runtime.kafka_connection import Record, RecordRefused
from runtime.kafka_sink import Sink
from runtime.kafka_source import KafkaSource

__all__ = ["KafkaSource", "Record", "RecordRefused", "Sink"]
