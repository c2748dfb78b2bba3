"""A marked secret in every place where one can be given comes out nowhere."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
MARK = "zk7mark"
NOBODY = "127.0.0.1:1"
CONFIG = f"""\
[kafka]
bootstrap_servers = "{NOBODY}"
security_protocol = "SASL_PLAINTEXT"
sasl_mechanism = "PLAIN"
sasl_plain_username = "edge"
sasl_plain_password = "{MARK}-kafka"
request_timeout_ms = 1000
[redis]
url = "redis://user:{MARK}-redis@{NOBODY}/0"
timeout_s = 0.5
[server]
redis_by_site = {{ north = "redis://:{MARK}-north@{NOBODY}/0" }}
[events]
webhook_url = "https://hook.example/{MARK}-hook"
webhook_secret = "{MARK}-signature"
mqtt_password = "{MARK}-mqtt"
"""
CAMERA = f"gate=rtsp://viewer:{MARK}-camera@{NOBODY}/stream"


def output(
    *arguments: str, config: Path, environment: dict[str, str] | None = None, ended_after_s: float = 60.0
) -> str:
    """Everything that the command writes; it may fail, and it is ended that long after its first line."""
    command = [sys.executable, "-m", "saccade", *arguments, "--config", str(config)]
    around = {
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
        "HOME": str(config.parent),
        "COLUMNS": "300",
        **(environment or {}),
    }
    with subprocess.Popen(
        command,
        env=around,
        cwd=config.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()  # however long a busy machine takes to start it
        end = threading.Timer(ended_after_s, process.kill)
        end.start()
        try:
            return first + process.stdout.read()
        finally:
            end.cancel()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "saccade.toml"
    path.write_text(CONFIG)
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("config", "show"),
        ("config", "show", "--json"),
        ("config", "check"),
        ("config", "check", "--set", "kafka.sasl_mechanism=NONE"),
        ("config", "check", "--set", f"redis.password={MARK}-twice"),
        ("config", "check", "--set", f"redis.url=redis://:{MARK}/#?[@host"),
        ("config", "check", "--set", f"kafka.sasl_plain_passwort={MARK}-typo"),
        ("label", "gate", "1"),
        ("top", "--json"),
        ("produce", "--camera", CAMERA),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_no_secret_is_in_what_a_command_writes(arguments: tuple[str, ...], config: Path) -> None:
    told = output(*arguments, config=config, ended_after_s=2.0)
    assert told.strip()
    assert MARK not in told


def test_the_settings_with_all_their_secrets_are_sound(config: Path) -> None:
    assert "settings are valid" in output("config", "check", config=config)


def test_a_secret_from_the_environment_is_hidden_too(config: Path) -> None:
    given = {"SACCADE__KAFKA__SASL_PLAIN_PASSWORD": f"{MARK}-environment"}
    told = output("config", "show", config=config, environment=given)
    assert "sasl_plain_password" in told
    assert MARK not in told
