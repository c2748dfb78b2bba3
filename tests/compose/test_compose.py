"""The compose files: accepted by Docker where it is there, consistent with images, settings and rooms."""

from __future__ import annotations

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from devstack.settings import load_settings
from schemas.redis_keys import DEPLOYMENT

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "compose"
ROLES = ("producer", "edge", "server", "page")
VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def load(name: str) -> dict[str, Any]:
    """A compose file with its variables at their defaults."""
    text = VARIABLE.sub(lambda match: match.group(2) or "", (FOLDER / name).read_text())
    document: dict[str, Any] = yaml.safe_load(text)
    return document


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = load("compose.yaml")["services"]
    return found


def has_compose() -> bool:
    docker = shutil.which("docker")
    if docker is None:
        return False
    return subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not has_compose(), reason="docker compose is not installed")
@pytest.mark.parametrize("overlays", [(), ("compose.gpu.yaml",)])
def test_docker_accepts_the_files(overlays: tuple[str, ...]) -> None:
    files = [part for name in ("compose.yaml", *overlays) for part in ("-f", str(FOLDER / name))]
    options = ["--env-file", str(FOLDER / ".env.example"), "--profile", "metrics"]
    result = subprocess.run(
        ["docker", "compose", *files, *options, "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_who_waits_for_health_waits_for_a_service_that_reports_it(services: dict[str, Any]) -> None:
    for name, service in services.items():
        for other, how in service.get("depends_on", {}).items():
            assert other in services, f"{name} depends on {other}"
            if how["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], f"{name} waits for {other}"
    for role in ROLES:
        assert "service_healthy" in str(services[role]["depends_on"])
        assert "healthcheck" not in services[role], "the image's own counts"


def test_own_containers_can_do_little_to_the_machine(services: dict[str, Any]) -> None:
    for role in (*ROLES, "topics"):
        service = services[role]
        assert service["user"] == "1000:1000"
        assert service["read_only"] is True
        assert service["init"] is True
        assert service["tmpfs"] == ["/tmp"]
        assert service["cap_drop"] == ["ALL"]


def test_a_container_is_given_the_time_to_drain(services: dict[str, Any]) -> None:
    settings = load_settings(None, None, {})
    for role, drain_s in (
        ("producer", settings.producer.drain_s),
        ("edge", settings.edge.drain_s),
        ("server", settings.server.drain_s),
    ):
        assert int(services[role]["stop_grace_period"].removesuffix("s")) > drain_s


def test_the_page_is_open_to_this_machine_and_to_signed_in_users_only(services: dict[str, Any]) -> None:
    page = services["page"]
    assert [port.rpartition(":")[0] for port in page["ports"]] == ["127.0.0.1:8800"]
    assert ["--users", "/run/secrets/page-users"] in [page["command"][at : at + 2] for at in range(5)]
    assert page["secrets"] == ["page-users"]


def test_frames_for_teaching_outlive_the_page(services: dict[str, Any]) -> None:
    page = services["page"]
    flag, file = page["command"][-2:]
    (volume,) = page["volumes"]
    folder = volume.partition(":")[2]
    assert (flag, Path(file).parent) == ("--harvest", Path(folder))
    assert f"chown saccade {folder}" in (FOLDER / "page.Dockerfile").read_text()


def test_workers_can_be_scaled(services: dict[str, Any]) -> None:
    for role in ("edge", "server"):
        assert not {"container_name", "ports", "volumes", "hostname"} & set(services[role])


def test_every_role_has_an_image_of_its_own_that_copies_what_is_there(services: dict[str, Any]) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    images = set()
    for role in ROLES:
        build = services[role]["build"]
        images.add(services[role]["image"])
        path = FOLDER / build["context"] / build["dockerfile"]
        for line in path.read_text().splitlines():
            if line.startswith("COPY ") and "--from=" not in line:
                *sources, _ = line.split()[1:]
                for source in sources:
                    assert (ROOT / source).exists(), f"{path}: {source}"
                    assert f"!{source.partition('/')[0]}" in ignored, f".dockerignore keeps {source} away"
    assert len(images) == len(ROLES)


def test_the_containers_settings_are_settings(services: dict[str, Any]) -> None:
    gpu = load("compose.gpu.yaml")["services"]
    assert set(gpu) <= set(services)
    for role in ROLES:
        environ = services[role]["environment"] | gpu.get(role, {}).get("environment", {})
        settings = load_settings(None, None, environ)
        assert settings.kafka.bootstrap_servers == "kafka:9092"
        assert settings.redis.url == "redis://redis:6379/0"
        assert (settings.metrics.host, settings.metrics.port) == ("0.0.0.0", 9100)
    assert load_settings(None, None, gpu["server"]["environment"]).server.device == "cuda"


def test_labels_are_on_disk_before_they_are_answered(services: dict[str, Any]) -> None:
    command = services["redis"]["command"]
    options = dict(zip(command[1::2], command[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"


def test_the_example_environment_names_every_variable_with_its_default() -> None:
    lines = (FOLDER / ".env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    used = dict(VARIABLE.findall((FOLDER / "compose.yaml").read_text()))
    assert example == used


def test_what_holds_secrets_is_neither_committed_nor_sent_to_the_builder() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/compose/.env", "/compose/page-users"} <= set(ignored)
    builder = (ROOT / ".dockerignore").read_text().splitlines()
    assert builder[0] == "*"
    assert not any(line.startswith("!compose") for line in builder)


def test_the_broker_is_the_embedded_ones_version(services: dict[str, Any]) -> None:
    version = services["kafka"]["image"].rpartition(":")[2]
    assert f"<version>{version}</version>" in (FOLDER / "broker" / "pom.xml").read_text()


def test_only_the_operator_may_write_which_models_all_workers_load() -> None:
    for line in (FOLDER / "security" / "redis-users.acl").read_text().splitlines():
        user, patterns = line.split()[1], re.findall(r"\s(%?[RW]*~\S+)", line)
        matching = [each for each in patterns if fnmatch(DEPLOYMENT, each.partition("~")[2])]
        writes = "+@write" in line.split() or "+@all" in line.split()
        may_write = writes and any(not each.startswith("%R~") for each in matching)
        assert may_write == (user == "operator"), line
        if user in ("edge", "server"):
            assert matching == [f"%R~{DEPLOYMENT}"]


def test_each_role_has_a_user_with_rights_at_kafka_and_in_redis(services: dict[str, Any]) -> None:
    overlay = load("compose.secure.yaml")["services"]
    assert set(overlay) - {"rights"} <= set(services)
    kafka_users = {
        line.split()[0]
        for line in (FOLDER / "security" / "kafka-acls.txt").read_text().splitlines()
        if not line.startswith("#")
    }
    redis_users = set(
        re.findall(r"^user (\w+) on", (FOLDER / "security" / "redis-users.acl").read_text(), re.M)
    )
    for role in ROLES:
        environment = overlay[role]["environment"]
        user = environment["SACCADE__KAFKA__SASL_PLAIN_USERNAME"]
        assert user == environment["SACCADE__REDIS__USERNAME"]
        assert user in kafka_users & redis_users
        load_settings(None, {}, {key: value or "secret" for key, value in environment.items()})
