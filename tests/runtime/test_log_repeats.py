"""Repeated messages of a library are written once in a while."""

from __future__ import annotations

import io
import logging

from runtime.log import configure_logging
from runtime.log_repeats import RepeatFilter
from runtime.settings import LogSettings


def make_record(name: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(name, logging.ERROR, "file.py", 1, message, arguments, None)


def test_a_kind_of_message_passes_once_in_the_interval_and_counts_the_rest() -> None:
    now_s = 100.0
    repeats = RepeatFilter("aiokafka", 10.0, clock=lambda: now_s)
    assert repeats.filter(make_record("aiokafka.conn", "no connection to %s", "a:1"))
    for _ in range(5):
        assert not repeats.filter(make_record("aiokafka.conn", "no connection to %s", "b:2"))
    assert repeats.filter(make_record("aiokafka.conn", "another kind"))
    now_s = 110.0
    late = make_record("aiokafka.conn", "no connection to %s", "c:3")
    assert repeats.filter(late)
    assert late.getMessage() == "no connection to c:3 (and 5 like it before)"
    now_s = 120.0
    again = make_record("aiokafka.conn", "no connection to %s", "d:4")
    assert repeats.filter(again)
    assert again.getMessage() == "no connection to d:4"


def test_other_loggers_always_pass() -> None:
    repeats = RepeatFilter("aiokafka")
    for _ in range(3):
        assert repeats.filter(make_record("aiokafkaesque", "same"))
        assert repeats.filter(make_record("producers.run", "same"))


def test_the_process_log_holds_aiokafkas_repetitions_back() -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    try:
        configure_logging(LogSettings(format="json"), stream)
        for _ in range(20):
            logging.getLogger("aiokafka.client").error("Unable connect to node with id %s", 1)
    finally:
        root.handlers[:], root.level = before
    assert stream.getvalue().count("Unable connect") == 1
