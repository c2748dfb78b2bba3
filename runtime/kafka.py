"""Kafka as workers see it: `Source` reads as a group member, `Sink` writes, with the project's own errors."""

from runtime.kafka_connection import Record, RecordRefused
from runtime.kafka_sink import Sink
from runtime.kafka_source import Source

__all__ = ["Record", "RecordRefused", "Sink", "Source"]
