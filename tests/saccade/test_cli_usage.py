"""Wrong usage and wrong settings end with status 2 and one line that names them; settings are shown whole."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from runtime.redis_connection import RedisConnection

ROOT = Path(__file__).parents[2]


def test_the_version_is_that_of_the_package(cli: Any) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    ran = cli("--version")
    assert (ran.status, ran.out) == (0, f"saccade {project['version']}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nonsense"], "nonsense"),
        (["label", "gate", "seven"], "'seq'"),
        (["label", "gate"], "'seq'"),
        (["watch", "--limit", "0"], "--limit"),
        (["produce"], "NAME=SOURCE"),
        (["stack", "--kafka-port", "70000"], "65535"),
        (["demo", "--seconds", "0"], "--seconds"),
        (["demo", "--seconds", "inf"], "--seconds"),
        (["demo", "--seconds", "nan"], "--seconds"),
        (["demo", "--fps", "inf"], "--fps"),
        (["simulate", "--seconds", "inf"], "--seconds"),
        (["simulate", "--fps", "inf"], "--fps"),
        (["simulate", "--fps", "nan"], "--fps"),
        (["calibrate", "--stream", "--fps", "inf"], "--fps"),
    ],
)
def test_wrong_usage_is_status_2_and_says_which_part(cli: Any, arguments: list[str], told: str) -> None:
    ran = cli(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["config", "check", "--set", "edge.taau=1"], "edge.taau: no such setting"),
        (["config", "check", "--set", "edge.tau"], "want SECTION.KEY=VALUE"),
        (["config", "check", "--set", "edge=3"], "edge"),
        (["config", "check", "--kafka", "nowhere"], "HOST:PORT"),
        (["config", "check", "--redis", "http://x"], "redis.url"),
        (["config", "check", "--set", "kafka.security_protocol=SASL_SSL"], "sasl_mechanism is missing"),
        (["config", "check", "--config", "/nowhere.toml"], "/nowhere.toml"),
        (["watch", "--set", "redis.urll=x"], "redis.urll: no such setting"),
        (["edge", "--budget", "12 parsecs"], "budget.rate"),
        (["edge", "--tau", "-1"], "edge.tau"),
        (["edge", "--delta", "1.5"], "edge.delta"),
        (["edge", "--codec", "gif"], "'gif' is not one of avif, jpeg, raw"),
        (["edge", "--quality", "101"], "edge.quality"),
        (["serve", "--threads", "0"], "server.threads"),
        (["demo", "--budget", "12 parsecs"], "--budget"),
        (["demo", "--kafka", "127.0.0.1:9092"], "--kafka and --redis"),
        (["demo", "--camera", "gate=/no/such/clip.mp4"], "/no/such/clip.mp4"),
        (["produce", "--camera", "gate=/no/such/folder"], "/no/such/folder"),
        (["produce", "--camera", "rtsp://host/1"], "NAME=SOURCE"),
        (["produce", "--camera", "gate=scenes:1", "--camera", "gate=scenes:2"], "'gate' twice"),
        (["produce", "--camera", "gate=scenes:1", "--drop", "sideways"], "producer.drop"),
        (["produce", "--camera", "gate=scenes:1", "--limit", "0"], "limit 0"),
    ],
)
def test_wrong_settings_are_status_2_and_one_line(cli: Any, arguments: list[str], told: str) -> None:
    ran = cli(*arguments)
    assert (ran.status, ran.out) == (2, "")
    assert told in ran.reason


def test_an_unknown_key_in_the_file_or_the_environment_is_status_2(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "saccade.toml"
    config.write_text("[edge]\ntauu = 1\n")
    ran = cli("config", "check", "--config", config)
    assert (ran.status, ran.reason) == (2, "saccade: edge.tauu: no such setting; did you mean edge.tau?")
    monkeypatch.setenv("SACCADE__EDGE__DELTTA", "1")
    ran = cli("config", "check")
    assert (ran.status, ran.reason) == (
        2,
        "saccade: SACCADE__EDGE__DELTTA: no such setting; did you mean SACCADE__EDGE__DELTA?",
    )


def test_flags_win_over_the_environment_and_that_over_the_file(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "saccade.toml"
    config.write_text("[edge]\ntau = 0.1\ndelta = 0.2\nquality = 33\n")
    monkeypatch.setenv("SACCADE__EDGE__DELTA", "0.3")
    monkeypatch.setenv("SACCADE__EDGE__QUALITY", "44")
    ran = cli("config", "show", "--json", "--config", config, "--set", "edge.quality=55")
    (tree,) = ran.rows
    assert (ran.status, ran.err) == (0, "")
    assert [tree["edge"][key] for key in ("tau", "delta", "quality")] == [0.1, 0.3, 55]


def test_config_show_prints_every_setting_and_no_secret(cli: Any) -> None:
    secrets = [
        "--set", "kafka.security_protocol=SASL_PLAINTEXT", "--set", "kafka.sasl_mechanism=PLAIN",
        "--set", "kafka.sasl_plain_username=site", "--set", "kafka.sasl_plain_password=hunter2",
        "--redis", "redis://user:hunter2@example.org:6379/0",
    ]  # fmt: skip
    as_json, plain = cli("config", "show", "--json", *secrets), cli("config", "show", *secrets)
    (tree,) = as_json.rows
    assert tree["kafka"]["sasl_plain_username"] == "site"
    assert "example.org" in tree["redis"]["url"]
    assert {"edge", "server", "producer", "budget", "metrics", "log", "topics"} <= set(tree)
    for ran in (as_json, plain):
        assert ran.status == 0
        assert "hunter2" not in ran.out + ran.err
    assert len(plain.out.splitlines()) > 60
    assert all(" = " in line for line in plain.out.splitlines())


def test_config_check_of_good_settings_is_status_0_and_silent_on_standard_output(cli: Any) -> None:
    ran = cli("config", "check")
    assert (ran.status, ran.out, ran.reason) == (0, "", "settings are valid")


def test_help_and_no_arguments_list_every_command(cli: Any) -> None:
    commands = "demo stack produce edge serve watch label top topics dlq config evaluate calibrate simulate"
    ran = cli("--help")
    assert ran.status == 0
    for command in commands.split():
        assert command in ran.out
    assert cli().status == 2


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_a_question_without_an_answer_is_status_130_without_a_traceback(
    cli: Any, monkeypatch: pytest.MonkeyPatch, end: type[BaseException]
) -> None:
    def ended(*_: object, **__: object) -> str:
        raise end

    monkeypatch.setattr("getpass.getpass", ended)
    ran = cli("page", "--hash-password")
    assert (ran.status, ran.err.strip()) == (130, "")


@pytest.mark.parametrize(
    "arguments", [["watch", "--json"], ["label", "gate", "1", "--json"], ["top", "--json"]]
)
def test_readers_without_redis_fail_with_status_1_and_one_line(
    cli: Any, closed_port: int, arguments: list[str]
) -> None:
    ran = cli(*arguments, "--redis", f"redis://127.0.0.1:{closed_port}/0")
    assert (ran.status, ran.out) == (1, "")
    assert "does not answer" in ran.reason
    assert "--redis URL" in ran.reason


@pytest.mark.parametrize(
    "arguments",
    [
        ["topics", "check", "--json"],
        ["topics", "create", "--json"],
        ["dlq", "list", "--json"],
        ["dlq", "replay", "--json"],
    ],
)
def test_commands_without_kafka_fail_with_status_1_and_one_line(
    cli: Any, closed_port: int, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("runtime.kafka_admin.ADMIN_START_TIMEOUT_S", 0.2)
    monkeypatch.setattr("runtime.kafka_sink.START_TIMEOUT_S", 0.2)
    ran = cli(*arguments, "--kafka", f"127.0.0.1:{closed_port}")
    assert (ran.status, ran.out) == (1, "")
    assert f"127.0.0.1:{closed_port}" in ran.reason


@pytest.mark.parametrize("lost", [True, False])
def test_config_check_asks_each_redis_whether_it_may_lose_labels(
    cli: Any, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    asked: list[str] = []

    async def durability(connection: RedisConnection) -> list[str]:
        asked.append(repr(connection))
        return ["appendfsync is 'everysec', should be 'always'"] if lost and "south" in asked[-1] else []

    monkeypatch.setattr(RedisConnection, "check_durability", durability)
    by_site = json.dumps({"south": "redis://south:6379/0"})
    ran = cli("config", "check", "--online", "--set", f"server.redis_by_site={by_site}")
    assert len(asked) == 2
    assert (ran.status, "everysec" in ran.out) == ((1, True) if lost else (0, False))
