"""Logs: structured, on stderr, and never with the credentials of a URL."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Literal

import pytest
import structlog

from runtime.log import RepeatFilter, configure_logging, get_logger
from runtime.redact import redact, redact_url
from runtime.settings import LogSettings

CAMERA = "rtsp://admin:pa/ss@w0rd@10.0.0.7:554/stream?channel=1&token=t0ps3cret"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rtsp://u:p@h/x", "rtsp://***@h/x"),
        ("redis://:p@h:1/0", "redis://***@h:1/0"),
        ("http://h/cgi?user=me&pwd=x&fps=5", "http://h/cgi?user=***&pwd=***&fps=5"),
        ("rtsp://h:554/stream", "rtsp://h:554/stream"),
        ("redis://:it's@h:1/0", "redis://***@h:1/0"),
        ('rtsp://u:a"b@h/x and more', "rtsp://***@h/x and more"),
        ("http://h/x?token=it's&fps=5", "http://h/x?token=***&fps=5"),
        ("http://h/x?api_key=s&apikey=s&fps=5", "http://h/x?api_key=***&apikey=***&fps=5"),
        ("http://h/x?access_token=s&sig=s", "http://h/x?access_token=***&sig=***"),
        ("http://h/x?loginuse=s&loginpas=s", "http://h/x?loginuse=***&loginpas=***"),
        ("http://h/x?a=1;X-Amz-Credential=s&usr=s", "http://h/x?a=1;X-Amz-Credential=***&usr=***"),
        ("http://h/x?username=s&user_agent=b&channel=1", "http://h/x?username=***&user_agent=b&channel=1"),
        ("keys=3 token=2; author=me, why? pass=1", "keys=3 token=2; author=me, why? pass=1"),
        ("mail me@home", "mail me@home"),
        ("'rtsp://u:p@h' and 'rtsp://v:q@i'", "'rtsp://***@h' and 'rtsp://***@i'"),
    ],
)
def test_credentials_of_urls_are_hidden(text: str, expected: str) -> None:
    assert redact(text) == expected


def test_a_url_alone_may_hold_a_space_in_its_password() -> None:
    assert redact_url("redis://:my secret@h:1/0") == "redis://***@h:1/0"
    assert redact_url("no URL, me@home") == "no URL, me@home"


def test_a_line_of_json_is_json_whatever_is_hidden_in_it() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="json"), stream)
    get_logger("test").warning(
        "lost", url="redis://:it's\"me@h", seen={"http://h/?token=a": 1}, why=OSError("x")
    )
    line = json.loads(stream.getvalue())
    assert (line["url"], line["seen"], line["why"]) == ("redis://***@h", {"http://h/?token=***": 1}, "x")


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_credential_reaches_a_log_by_any_way(style: Literal["json", "console"]) -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format=style), stream)
    log = get_logger("test")
    log.warning("cannot open", source=CAMERA, tried=[CAMERA], error=OSError(f"no route to {CAMERA}"))
    log.error(f"gave up on {CAMERA}")
    logging.getLogger("av").warning("error in %s", CAMERA)
    try:
        int(CAMERA)
    except ValueError:
        log.exception("failed")
    written = stream.getvalue()
    assert written.count("10.0.0.7") >= 5
    for secret in ("admin", "ss@w0rd", "w0rd", "t0ps3cret"):
        assert secret not in written


def test_json_lines_carry_fields_level_time_module_and_context() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(format="json"), stream)
    with structlog.contextvars.bound_contextvars(role="edge"):
        get_logger("edge.intake").info("assigned", partitions=3)
    event = json.loads(stream.getvalue())
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "assigned", "partitions": 3, "level": "info", "logger": "edge.intake", "role": "edge"
    }  # fmt: skip


def test_the_level_holds_for_our_logs_and_libraries() -> None:
    stream = io.StringIO()
    configure_logging(LogSettings(level="warning"), stream)
    get_logger("a").info("quiet")
    logging.getLogger("b").info("quiet")
    get_logger("a").warning("loud")
    assert "quiet" not in stream.getvalue()
    assert "loud" in stream.getvalue()


def test_logs_go_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings())
    get_logger("a").warning("here")
    captured = capsys.readouterr()
    assert "here" in captured.err
    assert captured.out == ""


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
