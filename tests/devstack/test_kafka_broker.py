"""The embedded broker's cluster id."""

from __future__ import annotations

import uuid

import pytest

from devstack.kafka_broker import new_cluster_id


def test_a_cluster_id_never_begins_with_a_dash_which_kafka_takes_for_an_option(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = iter([uuid.UUID(bytes=b"\xf8" * 16), uuid.UUID(bytes=b"\x01" * 16)])
    monkeypatch.setattr(uuid, "uuid4", lambda: next(drawn))
    assert new_cluster_id() == "AQEBAQEBAQEBAQEBAQEBAQ"
