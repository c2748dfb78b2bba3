"""Apache Kafka and Redis as child processes of this one."""

from saccade.embedded.kafka_broker import ExtraListener, SecureListener
from saccade.embedded.stack import EmbeddedStack, embedded_stack

__all__ = ["EmbeddedStack", "ExtraListener", "SecureListener", "embedded_stack"]
