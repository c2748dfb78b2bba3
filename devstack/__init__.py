"""Apache Kafka and Redis as child processes of this one."""

from devstack.kafka_broker import ExtraListener, SecureListener
from devstack.stack import EmbeddedStack, embedded_stack

__all__ = ["EmbeddedStack", "ExtraListener", "SecureListener", "embedded_stack"]
