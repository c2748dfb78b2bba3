from collections.abc import Sequence

import pytest
import stamina

from runtime.label_writer import LabelWriter
from runtime.metrics import Metrics
from schemas.errors import SaccadeError, TransientError
from schemas.label import AnswerSource, Label, LabelState
from schemas.win_rule import PutResult

LABEL = Label("", "c", 1, LabelState.FINAL, AnswerSource.EDGE, 2, "two", 0.9, 1_000_000_000, 3_000_000_000)


class FakeStore:
    """Away for as many writes as it is told."""

    def __init__(self, *failures: Exception) -> None:
        self.failures = list(failures)
        self.num_writes = 0

    async def put(self, labels: Sequence[Label]) -> list[PutResult]:
        self.num_writes += 1
        if self.failures:
            raise self.failures.pop(0)
        return [PutResult.WRITTEN] * len(labels)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"saccade_{name}", labels)


async def test_it_writes_until_redis_answers_and_tells_whether_it_is_up() -> None:
    store, metrics = FakeStore(TransientError("away"), TransientError("away")), Metrics("test")
    writer = LabelWriter(store, metrics.consumer, "north")  # type: ignore[arg-type]
    with pytest.raises(TransientError):
        await writer.write_once([LABEL])
    assert value(metrics, "redis_up", site="north") == 0
    with stamina.set_testing(True, attempts=5):
        assert await writer.write([LABEL, LABEL]) == [PutResult.WRITTEN] * 2
    assert store.num_writes == 3
    assert value(metrics, "redis_up", site="north") == 1
    assert value(metrics, "labels_total", state="final", result="written") == 2
    assert value(metrics, "result_latency_seconds_sum", source="edge") == 4.0


async def test_no_labels_are_no_write() -> None:
    store = FakeStore()
    writer = LabelWriter(store, Metrics("test").consumer, "")  # type: ignore[arg-type]
    assert await writer.write([]) == []
    assert store.num_writes == 0


async def test_what_waiting_cannot_mend_reaches_the_caller() -> None:
    writer = LabelWriter(FakeStore(SaccadeError("forbidden")), Metrics("test").consumer, "")  # type: ignore[arg-type]
    with pytest.raises(SaccadeError, match="forbidden"):
        await writer.write([LABEL])
