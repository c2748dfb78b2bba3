"""Dashboards, alerts and manifests: sound by the tools that can be had, and true to what the workers export."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_workers.metrics import EdgeMetrics
from edge_workers.settings import EdgeSettings
from producers.metrics import ProducerMetrics
from runtime.connections import TopicSettings
from runtime.metrics import ConsumerMetrics, Metrics, ProcessMetrics
from saccade.settings import load_settings
from server_workers.metrics import ServerMetrics
from server_workers.settings import ServerProgramSettings
from uplink.metrics import UplinkMetrics

yaml = pytest.importorskip("yaml")

FOLDER = Path(__file__).parents[2] / "compose"
ALERTS = FOLDER / "prometheus" / "alerts.yml"
MANIFESTS = FOLDER / "kubernetes"
GROUPS = (ProcessMetrics, ConsumerMetrics, ProducerMetrics, EdgeMetrics, UplinkMetrics, ServerMetrics)
NAME = re.compile(r"\bsaccade_[a-z_]+")


def expressions() -> Iterator[tuple[str, str]]:
    """(where it stands, PromQL) of every alert and panel."""
    for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]:
        yield rule["alert"], rule["expr"]
    for path in sorted((FOLDER / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{path.name}: {panel['title']}", target["expr"]


def exported() -> set[str]:
    """Every series name that a process of any role can export."""
    metrics = Metrics("test")
    for group in GROUPS:
        metrics.group(group)
    names = set()
    for family in metrics.registry.collect():
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(
            family.type, ("",)
        )
        names |= {family.name + suffix for suffix in suffixes}
    return names


def documents() -> Iterator[dict[str, Any]]:
    for path in sorted(MANIFESTS.glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def test_every_metric_of_a_panel_or_a_rule_is_exported() -> None:
    known = exported()
    unknown = {
        f"{where}: {name}"
        for where, text in expressions()
        for name in NAME.findall(text)
        if name not in known
    }
    assert not unknown


def test_every_alert_says_what_to_do() -> None:
    for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]:
        assert rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["description"], rule["alert"]
        assert rule["labels"]["severity"] in {"critical", "warning"}


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_accepts_rules_and_panels(tmp_path: Path) -> None:
    panels = [{"record": f"panel:{number}", "expr": text} for number, (_, text) in enumerate(expressions())]
    (tmp_path / "panels.yml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": panels}]}))
    done = subprocess.run(
        ["promtool", "check", "rules", ALERTS, tmp_path / "panels.yml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_two_panels_share_a_place() -> None:
    for path in (FOLDER / "grafana" / "dashboards").glob("*.json"):
        panels = json.loads(path.read_text())["panels"]
        places = [(each["gridPos"]["x"], each["gridPos"]["y"]) for each in panels]
        assert len(set(places)) == len({each["id"] for each in panels}) == len(panels)


def manifest_settings(folder: Path) -> ServerProgramSettings:
    """The one file of all roles as a server reads it, with secrets in files of `folder`."""
    (settings,) = (each for each in documents() if each["kind"] == "ConfigMap")
    for name in ("kafka", "redis", "ca.pem"):
        (folder / name).write_text("secret")
    text = settings["data"]["saccade.toml"].replace("/run/secrets/saccade", str(folder))
    (folder / "saccade.toml").write_text(text)
    return load_settings(ServerProgramSettings, folder / "saccade.toml", environ={})


def test_the_manifests_settings_hold(tmp_path: Path) -> None:
    """The one file of all roles is accepted as it stands, once its secrets are files that exist."""
    loaded = manifest_settings(tmp_path)
    assert loaded.site == "north"
    assert loaded.metrics.port == 9100


def test_every_container_is_probed_and_locked() -> None:
    workloads = [each for each in documents() if each["kind"] in {"Deployment", "StatefulSet"}]
    assert {each["metadata"]["labels"]["role"] for each in workloads} == {"producer", "edge", "server"}
    for workload in workloads:
        spec = workload["spec"]["template"]["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        (container,) = spec["containers"]
        ports = {each["name"] for each in container["ports"]}
        for probe, path in (("readinessProbe", "/readyz"), ("livenessProbe", "/healthz")):
            assert container[probe]["httpGet"]["path"] == path
            assert container[probe]["httpGet"]["port"] in ports
        assert container["securityContext"]["readOnlyRootFilesystem"]
        volumes = {each["name"] for each in spec["volumes"]} | {
            each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates", ())
        }
        assert {each["name"] for each in container["volumeMounts"]} == volumes
        assert (
            workload["spec"]["selector"]["matchLabels"] == workload["spec"]["template"]["metadata"]["labels"]
        )


def test_workers_are_scaled_by_the_lag_of_their_own_group(tmp_path: Path) -> None:
    loaded = manifest_settings(tmp_path)
    groups = {
        "saccade-edge": (
            EdgeSettings().group_id,
            loaded.topics.frames,
            loaded.kafka.bootstrap_servers,
        ),
        "saccade-server": (
            loaded.server.group_id,
            loaded.offload_topic,
            loaded.offload_cluster.bootstrap_servers,
        ),
    }
    scaled = [each for each in documents() if each["kind"] == "ScaledObject"]
    assert {each["spec"]["scaleTargetRef"]["name"] for each in scaled} == set(groups)
    for each in scaled:
        (trigger,) = each["spec"]["triggers"]
        found = tuple(trigger["metadata"][name] for name in ("consumerGroup", "topic", "bootstrapServers"))
        assert found == groups[each["spec"]["scaleTargetRef"]["name"]]
        assert each["spec"]["maxReplicaCount"] <= TopicSettings().partitions


def test_kustomize_names_every_manifest() -> None:
    (kustomization,) = (each for each in documents() if each["kind"] == "Kustomization")
    assert set(kustomization["resources"]) == {
        path.name for path in MANIFESTS.glob("*.yaml") if path.name != "kustomization.yaml"
    }
