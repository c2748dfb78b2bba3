"""Settings: file < environment < flags; wrong ones are one clear line; secrets are never shown."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from devstack.settings import Settings, load_settings
from runtime.connections import KafkaSettings
from schemas.errors import SettingsError
from schemas.operating_point import OperatingPoint
from schemas.rates import Auto, constant

SECRET = "hunter2"


def load(overrides: dict[str, Any] | None = None, **environ: str) -> Settings:
    return load_settings(None, overrides, environ)


def refusal(overrides: dict[str, Any] | None = None, **environ: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(overrides, **environ)
    assert "\n" not in str(caught.value)
    assert SECRET not in str(caught.value)
    return str(caught.value)


def test_defaults_hold_and_are_the_papers_point() -> None:
    settings = load()
    assert settings.edge.point == OperatingPoint(0.8, 0.97, 1, "webp", 75, "attention_sum")
    assert settings.offload_cluster is settings.kafka
    assert settings.budget.parsed is None


def test_flags_win_over_the_environment_and_it_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "saccade.toml"
    path.write_text('site = "north"\n[edge]\ntau = 0.1\ndelta = 0.1\nquality = 10\n')
    settings = load_settings(
        path,
        {"edge": {"tau": 0.3}},
        {"SACCADE__EDGE__TAU": "0.2", "SACCADE__EDGE__DELTA": "0.2", "PATH": "x"},
    )
    assert (settings.edge.tau, settings.edge.delta, settings.edge.quality) == (0.3, 0.2, 10)
    assert settings.site == "north"


def test_texts_of_the_environment_become_numbers_lists_and_nothing() -> None:
    settings = load(
        SACCADE__EDGE__TAU="inf",
        SACCADE__METRICS__PORT="off",
        SACCADE__BUDGET__RATE="none",
        SACCADE__BUDGET__HOUR_WEIGHTS=json.dumps([1] * 24),
        SACCADE__SERVER__REDIS_BY_SITE='{"north": "redis://north:6379/0"}',
        SACCADE__SERVER__MAX_BATCH_TOKENS="1970",
    )
    assert settings.edge.tau == float("inf")
    assert settings.metrics.port is None
    assert settings.budget.rate is None
    assert settings.budget.hour_weights == (1.0,) * 24
    assert settings.redis_for("north").url == "redis://north:6379/0"
    assert settings.redis_for("south") is settings.redis
    assert settings.server.max_batch_tokens == 1_970


@pytest.mark.parametrize(
    ("environ", "meant"),
    [
        ({"SACCADE__EGDE__TAU": "1"}, "SACCADE__EDGE__TAU"),
        ({"SACCADE__EDGE__TAO": "1"}, "SACCADE__EDGE__TAU"),
        ({"SACCADE__TAU": "1"}, "SACCADE__EDGE__TAU"),
        ({"SACCADE__EDGE_TAU": "1"}, "SACCADE__EDGE__TAU"),
        ({"SACCADE___EDGE__TAU": "1"}, "SACCADE__EDGE__TAU"),
        ({"SACCADE__KAFAK__BOOTSTRAP_SERVERS": "h:1"}, "SACCADE__KAFKA__BOOTSTRAP_SERVERS"),
        ({"SACCADE__KAFKA": "h:1"}, "SACCADE__KAFKA__BOOTSTRAP_SERVERS"),
        ({"SACCADE_KAFKA": "h:1"}, "SACCADE__KAFKA__BOOTSTRAP_SERVERS"),
        ({"SACCADE_REDIS": f"redis://:{SECRET}@h"}, "SACCADE__REDIS__URL"),
        ({"SACCADE_REDIS_URL": f"redis://:{SECRET}@h"}, "SACCADE__REDIS__URL"),
        ({"SACCADE_BUDGET": "400kbit"}, "SACCADE__BUDGET__RATE"),
        ({"SACCADE_EDGE_MODLE": "shipped"}, "SACCADE__EDGE__MODEL"),
        ({"SACCADE__SERVER__LIMITS__X": "1"}, None),
        ({"SACCADE__SOMETHING": "1"}, None),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_right_one(
    environ: dict[str, str], meant: str | None
) -> None:
    (name,) = environ
    hint = f"; did you mean {meant}?" if meant else ""
    assert refusal(None, **environ) == f"{name}: no such setting{hint}"


def test_variables_that_are_no_attempt_at_a_setting_are_let_be() -> None:
    load(
        SACCADE_CONFIG="/etc/saccade.toml",
        SACCADE_METRICS_PORT="tcp://10.0.0.1:9100",  # of a Kubernetes service called saccade-metrics
        SACCADE_REDIS_SERVICE_HOST="10.0.0.2",
        SACCADES="7",
    )


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("kafka.bootstrap_server", "; did you mean kafka.bootstrap_servers?"),
        ("kafak.bootstrap_servers", "; did you mean kafka?"),
        ("edge.colour", ""),
    ],
)
def test_an_unknown_key_of_the_file_is_an_error(key: str, hint: str, tmp_path: Path) -> None:
    section, _, name = key.partition(".")
    path = tmp_path / "saccade.toml"
    path.write_text(f"[{section}]\n{name} = 'a:1'\n")
    with pytest.raises(SettingsError, match=re.escape(f"no such setting{hint}")):
        load_settings(path, None, {})


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_file_with_a_byte_order_mark_is_read(newline: str, tmp_path: Path) -> None:
    path = tmp_path / "saccade.toml"
    path.write_bytes(f"\ufeff[edge]{newline}tau = 0.25{newline}".encode())
    assert load_settings(path, None, {}).edge.tau == 0.25


@pytest.mark.parametrize("content", [None, "[kafka\n", "\xff"])
def test_a_file_that_cannot_be_read_is_one_line(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "saccade.toml"
    if content is not None:
        path.write_bytes(content.encode("latin-1"))
    with pytest.raises(SettingsError, match=r"saccade.toml: (No such file|no TOML)"):
        load_settings(path, None, {})


@pytest.mark.parametrize(
    ("overrides", "parts"),
    [
        ({"edge": {"tau": -1}}, ["edge.tau = -1", "must be greater than or equal to 0"]),
        ({"edge": {"delta": "much"}}, ["edge.delta = 'much'", "must be a number"]),
        ({"edge": {"selection": "best"}}, ["edge.selection", "attention_sum"]),
        ({"edge": {"score": "luck"}}, ["edge.score", "min_entropy"]),
        ({"edge": {"score": "margin"}, "budget": {"rate": "400kbit"}}, ["edge.score", "without a budget"]),
        ({"server": {"max_batch_tokens": 196}}, ["server.max_batch_tokens = 196", "197"]),
        ({"redis": {"label_ttl_s": 60}}, ["redis.label_ttl_s = 60", "1500"]),
        ({"kafka": {"bootstrap_servers": "kafka"}}, ["kafka.bootstrap_servers", "HOST:PORT"]),
        ({"kafka": {"bootstrap_servers": "a:1,b:99999"}}, ["'b:99999'", "HOST:PORT"]),
        ({"kafka": "a:1"}, ["kafka = 'a:1'"]),
        ({"kafka": {"bootstrap_servers": "PLAINTEXT://h:9092"}}, ["HOST:PORT alone", "security_protocol"]),
        ({"kafka": {"bootstrap_servers": "h h:9092"}}, ["'h h:9092'", "HOST:PORT"]),
        ({"kafka": {"bootstrap_servers": "kafka..svc:9092"}}, ["'kafka..svc:9092'", "HOST:PORT"]),
        ({"kafka": {"bootstrap_servers": "k.svc..:9092"}}, ["'k.svc..:9092'", "HOST:PORT"]),
        ({"kafka": {"bootstrap_servers": f"{'k' * 64}.svc:9092"}}, ["kkk.svc:9092'", "HOST:PORT"]),
        ({"redis": {"url": "redis://redis..svc:6379"}}, ["redis.url ***", "1 to 63 characters"]),
        ({"metrics": {"host": "saccade..svc"}}, ["metrics.host = 'saccade..svc'", "1 to 63 characters"]),
        ({"metrics": {"host": " "}}, ["metrics.host = ' '", "0.0.0.0"]),
        ({"metrics": {"host": ""}}, ["metrics.host = ''", "0.0.0.0"]),
        ({"kafka": {"rebalance_timeout_ms": 2**31}}, ["rebalance_timeout_ms", "3600000"]),
        ({"kafka": {"metadata_max_age_ms": 10**12}}, ["metadata_max_age_ms", "86400000"]),
        ({"kafka": {"max_poll_interval_ms": 10**12}}, ["max_poll_interval_ms", "86400000"]),
        ({"redis": {"label_ttl_s": 10**18}}, ["redis.label_ttl_s", "31536000"]),
        ({"redis": {"stream_max_len": 2**63}}, ["redis.stream_max_len", "10000000"]),
        ({"topics": {"frames_disk_bytes": 2**63}}, ["topics.frames_disk_bytes", "less than or equal"]),
        ({"kafka": {"heartbeat_interval_ms": 5_000}}, ["heartbeat_interval_ms 5000", "half", "6000"]),
        ({"site": "a/b"}, ["site = 'a/b'"]),
        ({"budget": {"rate": "5 parsec"}}, ["budget.rate = '5 parsec'", "400kbit"]),
        ({"budget": {"hour_weights": [1]}}, ["hour_weights", "24"]),
        ({"budget": {"hour_weights": "[1,"}}, ["budget.hour_weights = '[1,'"]),
        ({"budget": {"camera_weights": {"gate": 0}}}, ["gate has 0", "above 0"]),
        ({"budget": {"frontier": "/nowhere.json"}}, ["budget.frontier", "/nowhere.json"]),
        ({"edge": {"max_frame_age_s": 1}}, ["max_frame_age_s 1", "max_latency_ms 2000"]),
        ({"edge": {"offload_request_timeout_ms": 40_000}}, ["offload_request_timeout_ms = 40000", "3000"]),
        ({"edge": {"group_id": "g"}, "server": {"group_id": "g"}}, ["group_id", "'g'", "differ"]),
        ({"producer": {"reconnect_min_s": 90}}, ["reconnect_min_s 90", "reconnect_max_s 60"]),
        ({"redis": {"url": "http://h"}}, ["redis.url", "redis://"]),
        ({"server": {"redis_by_site": {"north": "h:1"}}}, ["server.redis_by_site", "redis://"]),
    ],
)  # fmt: skip
def test_a_wrong_value_names_key_value_and_what_is_allowed(
    overrides: dict[str, Any], parts: list[str]
) -> None:
    message = refusal(overrides)
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("overrides", "limit"),
    [
        ({"producer": {"max_frame_bytes": 8 * 1024**2}}, "edge.max_partition_fetch_bytes"),
        ({"producer": {"max_in_flight_bytes": 1024**2}}, "producer.max_in_flight_bytes"),
        ({"edge": {"max_partition_fetch_bytes": 1024**2}}, "edge.max_partition_fetch_bytes"),
        ({"edge": {"fetch_max_bytes": 1024**2}}, "edge.fetch_max_bytes"),
        ({"edge": {"max_waiting_bytes": 1024**2}}, "edge.max_waiting_bytes"),
        ({"edge": {"max_offload_bytes": 1024**2}}, "server.max_partition_fetch_bytes"),
    ],
)
def test_one_size_setting_is_checked_against_every_limit_on_its_way(
    overrides: dict[str, Any], limit: str
) -> None:
    assert limit in refusal(overrides)


SASL = {
    "security_protocol": "SASL_SSL",
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_plain_username": "edge",
    "sasl_plain_password": SECRET,
}


@pytest.mark.parametrize("missing", ["sasl_mechanism", "sasl_plain_username", "sasl_plain_password"])
def test_sasl_needs_mechanism_user_and_password(missing: str) -> None:
    assert load({"kafka": SASL}).kafka.uses_tls
    assert f"{missing} is missing" in refusal({"kafka": {k: v for k, v in SASL.items() if k != missing}})


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL"])
def test_credentials_without_sasl_are_an_error(protocol: str) -> None:
    message = refusal({"kafka": SASL | {"security_protocol": protocol}})
    assert f"security_protocol is {protocol}" in message


def test_tls_files_belong_together_and_to_tls(tmp_path: Path) -> None:
    pem = tmp_path / "x.pem"
    pem.touch()
    path = str(pem)
    assert "ssl_cafile is set" in refusal({"kafka": {"ssl_cafile": path}})
    tls = {"security_protocol": "SSL"}
    assert "belong together" in refusal({"kafka": tls | {"ssl_certfile": path}})
    assert "no ssl_keyfile" in refusal({"kafka": tls | {"ssl_password": SECRET}})
    assert "kafka.ssl_cafile" in refusal({"kafka": tls | {"ssl_cafile": "/nowhere.pem"}})
    assert load({"kafka": tls | {"ssl_certfile": path, "ssl_keyfile": path}}).kafka.uses_tls
    assert "not rediss" in refusal({"redis": {"ssl_ca_certs": path}})
    assert load({"redis": {"url": "rediss://h", "ssl_ca_certs": path}}).redis.ssl_ca_certs == pem


def test_a_second_cluster_carries_the_offloads() -> None:
    settings = load({"offload_kafka": {"bootstrap_servers": "dc:9092"}, "budget": {"rate": "400kbit"}})
    assert settings.offload_cluster.bootstrap_servers == "dc:9092"
    assert not settings.uplink_simulated
    assert settings.budget.parsed == constant(50_000)
    assert load({"budget": {"rate": "auto"}}).uplink_simulated
    assert load({"budget": {"rate": "auto"}}).budget.parsed == Auto()


def test_bootstrap_servers_may_be_a_list() -> None:
    assert load({"kafka": {"bootstrap_servers": ["a:1", "b:2"]}}).kafka.bootstrap_servers == "a:1,b:2"


@pytest.mark.parametrize(
    "host", ["kafka", "localhost", "kafka_1", "k.svc.cluster.local.", "10.0.0.1", "[::1]", f"{'k' * 63}.svc"]
)
def test_every_usual_host_is_taken(host: str) -> None:
    assert load({"kafka": {"bootstrap_servers": f"{host}:9092"}}).kafka.bootstrap_servers == f"{host}:9092"
    assert load({"redis": {"url": f"redis://{host}:6379/0"}}).redis.url == f"redis://{host}:6379/0"
    assert load({"metrics": {"host": host}}).metrics.host == host.strip("[]")


@pytest.mark.parametrize(
    ("written", "host"), [("::", "::"), ("::1", "::1"), ("0.0.0.0", "0.0.0.0"), (" localhost ", "localhost")]
)
def test_the_status_port_listens_where_it_is_told(written: str, host: str) -> None:
    assert load({"metrics": {"host": written}}).metrics.host == host


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"SACCADE__REDIS__PASSWORD": SECRET, "SACCADE__REDIS__PASSWORD__FILE": f"/{SECRET}"}, "PASSWORD__FILE"),
        ({"SACCADE__REDIS__PASSWORD": SECRET, "SACCADE__REDIS__PASSWORD__FILE__X": SECRET}, "PASSWORD__FILE__X"),
        ({"SACCADE__REDIS__PASSWORD__FILE": SECRET, "SACCADE__REDIS__password": SECRET}, "password"),
    ],
)  # fmt: skip
def test_a_variable_that_is_a_value_and_a_section_is_named_without_its_value(
    environ: dict[str, str], named: str
) -> None:
    assert refusal(None, **environ).startswith(f"SACCADE__REDIS__{named}: ")


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(SECRET + "\n")
    sasl = {key: value for key, value in SASL.items() if key != "sasl_plain_password"}
    settings = load({"kafka": sasl}, SACCADE__KAFKA__SASL_PLAIN_PASSWORD_FILE=str(path))
    assert settings.kafka.sasl_plain_password
    assert settings.kafka.sasl_plain_password.get_secret_value() == SECRET
    assert "both set" in refusal({"kafka": SASL | {"sasl_plain_password_file": str(path)}})
    assert "No such file" in refusal({"kafka": sasl | {"sasl_plain_password_file": "/nowhere"}})


@pytest.mark.parametrize("below", ["password", "password_file"])
@pytest.mark.parametrize("above", ["password", "password_file"])
def test_a_secret_from_the_environment_wins_over_one_of_the_file(
    below: str, above: str, tmp_path: Path
) -> None:
    for name in ("old", SECRET):
        (tmp_path / name).write_text(name)
    config = tmp_path / "saccade.toml"
    config.write_text(f"[redis]\n{below} = '{tmp_path / 'old' if 'file' in below else 'old'}'\n")
    value = str(tmp_path / SECRET) if "file" in above else SECRET
    redis = load_settings(config, None, {f"SACCADE__REDIS__{above.upper()}": value}).redis
    assert redis.password
    assert redis.password.get_secret_value() == SECRET


def test_a_url_with_its_password_comes_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "url"
    path.write_bytes(f"\ufeffrediss://user:{SECRET}@h:6379/1\r\n".encode())
    assert load(SACCADE__REDIS__URL_FILE=str(path)).redis.url == f"rediss://user:{SECRET}@h:6379/1"
    path.write_bytes(b"\xff\xfe")
    assert "is no UTF-8 text" in refusal(None, SACCADE__REDIS__URL_FILE=str(path))


@pytest.mark.parametrize("pasted", [" redis://h:6379/0\n", "REDIS://h:6379/0", "Redis://h:6379/0 "])
def test_an_address_is_taken_as_it_is_pasted(pasted: str) -> None:
    assert load({"redis": {"url": pasted}}).redis.url == "redis://h:6379/0"


@pytest.mark.parametrize("part", ["p@", "p/", "p#", "p?", "p[", "p ", "p%zz", "p%"])
def test_a_password_that_is_not_encoded_is_told_without_it(part: str) -> None:
    told = refusal({"redis": {"url": f"redis://user:{SECRET}{part}@h:6379/0"}})
    assert told.startswith("redis.url ***: percent-encode the password")
    told = refusal({"server": {"redis_by_site": {"north": f"redis://:{part}{SECRET}@h"}}})
    assert told.startswith("server.redis_by_site: north: percent-encode the password")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("h:6379", "must begin with redis://"),
        (f"htp://:{SECRET}@h", "must begin with redis://"),
        ("redis://h?timeout=5", "options after ?"),
        (f"redis://:{SECRET}@h:pp/0", "the port must be a number"),
        (f"redis://:{SECRET}@h:70000", "the port must be a number"),
        ("redis://h/first", "number of the database"),
    ],
)
def test_a_url_that_would_only_partly_count_is_refused(url: str, told: str) -> None:
    assert told in refusal({"redis": {"url": url}})


@pytest.mark.parametrize(
    "url",
    ["redis://h", "redis://h:1/3", "rediss://u:a%40b@h:1/0", "redis://[::1]:6379", "unix:///run/r.sock?db=1"],
)
def test_every_usual_url_is_taken(url: str) -> None:
    assert load({"redis": {"url": url}}).redis.url == url


def test_secrets_are_never_shown() -> None:
    settings = load(
        {
            "kafka": SASL,
            "redis": {"url": f"redis://user:{SECRET}@h:6379/0"},
            "server": {"redis_by_site": {"north": f"redis://:{SECRET}@n:6379/0"}},
        }
    )
    shown = json.dumps(settings.redacted(), allow_nan=False)
    assert SECRET not in shown + repr(settings) + str(settings)
    assert "h:6379" in shown
    quoted = load({"redis": {"url": "redis://:it's%20a\"secret@h:6379/0"}}).redacted()
    assert quoted["redis"]["url"] == "redis://***@h:6379/0"
    assert SECRET in settings.redis_for("north").url
    refusal({"kafka": SASL | {"sasl_plain_password": [SECRET]}})
    refusal({"redis": {"url": f"htp://user:{SECRET}@h"}})
    refusal({"redis": {"url": f"redis://user:{SECRET}@h", "password": SECRET}})


def test_redacted_settings_are_plain_json_even_when_infinite() -> None:
    shown = load({"edge": {"tau": "inf"}}).redacted()
    assert shown["edge"]["tau"] == "inf"
    json.dumps(shown, allow_nan=False)


def test_settings_are_frozen_and_sections_stand_alone() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().edge.tau = 1.0
    assert KafkaSettings(bootstrap_servers="a:1").revoke_drain_s == 15
