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
from producers.camera_file import load_cameras
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


def manifest(kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in documents() if each["kind"] == kind and each["metadata"]["name"] == name)
    return found


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Every mapping within, itself included."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(each)


def referenced(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(kind, name) of everything in the namespace that has to be there before the document's object can work."""
    for each in mappings(document):
        for field, kind in (
            ("configMap", "ConfigMap"),
            ("configMapRef", "ConfigMap"),
            ("configMapKeyRef", "ConfigMap"),
        ):
            if field in each:
                yield kind, each[field]["name"]
        for field in ("secretRef", "secretKeyRef"):
            if field in each:
                yield "Secret", each[field]["name"]
        if "secretName" in each:
            yield "Secret", each["secretName"]
        if "serviceAccountName" in each:
            yield "ServiceAccount", each["serviceAccountName"]
        if "persistentVolumeClaim" in each:
            yield "PersistentVolumeClaim", each["persistentVolumeClaim"]["claimName"]
        for target in each.get("secretTargetRef", ()):
            yield "Secret", target["name"]
        if "authenticationRef" in each:
            yield (
                each["authenticationRef"].get("kind", "TriggerAuthentication"),
                each["authenticationRef"]["name"],
            )


def made_by_hand() -> dict[str, set[str]]:
    """The secrets that the guide says how to make: their keys, by name."""
    text = (MANIFESTS / "README.md").read_text().replace("\\\n", " ")
    lines = re.findall(r"^    kubectl .*create secret generic ([a-z0-9-]+)(.*)$", text, re.M)
    return {name: set(re.findall(r"--from-file=([\w.-]+)=", arguments)) for name, arguments in lines}


def manifest_settings(folder: Path) -> ServerProgramSettings:
    """The one file of all roles as a server reads it, with secrets in files of `folder`."""
    settings = manifest("ConfigMap", "saccade-settings")
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


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kubectl_puts_the_folder_together() -> None:
    done = subprocess.run(["kubectl", "kustomize", MANIFESTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = list(yaml.safe_load_all(done.stdout))
    assert made[0]["kind"] == "Namespace"
    assert {each["metadata"]["namespace"] for each in made[1:]} == {made[0]["metadata"]["name"]}


def test_the_namespace_of_all_is_made() -> None:
    (kustomization,) = (each for each in documents() if each["kind"] == "Kustomization")
    assert manifest("Namespace", kustomization["namespace"])


def test_what_a_manifest_refers_to_is_there_or_the_guide_says_how_to_make_it() -> None:
    there = {(each["kind"], each.get("metadata", {}).get("name")) for each in documents()}
    there |= {("Secret", name) for name in made_by_hand()}
    wanted = {reference for each in documents() for reference in referenced(each)}
    assert {("ConfigMap", "saccade-cameras"), ("Secret", "saccade-secrets")} <= wanted
    assert not wanted - there


def test_the_guides_secret_holds_every_key_that_is_read() -> None:
    keys = made_by_hand()["saccade-secrets"]
    for each in documents():
        for target in (target for found in mappings(each) for target in found.get("secretTargetRef", ())):
            assert target["key"] in keys
    settings = manifest("ConfigMap", "saccade-settings")["data"]["saccade.toml"]
    assert set(re.findall(r"/run/secrets/saccade/([\w.-]+)", settings)) <= keys


def test_the_example_cameras_are_read_and_so_is_the_one_in_its_comment(tmp_path: Path) -> None:
    workload = manifest("StatefulSet", "saccade-producer")["spec"]["template"]["spec"]
    (name,) = (each["configMap"]["name"] for each in workload["volumes"] if each["name"] == "cameras")
    arguments = workload["containers"][0]["args"]
    text = manifest("ConfigMap", name)["data"][Path(arguments[arguments.index("--cameras") + 1]).name]
    (tmp_path / "front").write_text("secret")
    path = tmp_path / "cameras.toml"
    path.write_text(text)
    assert [each.name for each in load_cameras(path)] == ["example"]
    path.write_text(
        re.sub(r"^# (?=\[|\w+ =)", "", text, flags=re.M).replace("/run/secrets/saccade", str(tmp_path))
    )
    assert [each.name for each in load_cameras(path)] == ["example", "front"]


def test_keda_logs_in_where_the_workers_do(tmp_path: Path) -> None:
    """A trigger of a cluster that wants a login has one, of the same mechanism and user."""
    loaded = manifest_settings(tmp_path)
    clusters = {each.bootstrap_servers: each for each in (loaded.kafka, loaded.offload_cluster)}
    triggers = [
        trigger
        for each in documents()
        if each["kind"] == "ScaledObject"
        for trigger in each["spec"]["triggers"]
    ]
    assert triggers
    for trigger in triggers:
        cluster = clusters[trigger["metadata"]["bootstrapServers"]]
        if not cluster.security_protocol.startswith("SASL"):
            continue
        mechanism = (
            (cluster.sasl_mechanism or "").replace("SCRAM-SHA-", "scram_sha").replace("PLAIN", "plaintext")
        )
        assert trigger["metadata"]["sasl"] == mechanism
        assert (trigger["metadata"].get("tls") == "enable") == (cluster.security_protocol == "SASL_SSL")
        login = manifest("TriggerAuthentication", trigger["authenticationRef"]["name"])
        parameters = {each["parameter"] for each in login["spec"]["secretTargetRef"]}
        assert {"username", "password"} <= parameters
        assert ("ca" in parameters) == (cluster.ssl_cafile is not None)


def test_the_rights_name_the_topic_of_events() -> None:
    """Commented out, as the name is the user's; it has the form of its neighbours."""
    text = (FOLDER / "security" / "kafka-acls.txt").read_text()
    assert re.search(r"^# .*events\.kafka_topic.*\n# page +Write +topic +\S+$", text, re.M)
    (row,) = re.findall(r"^\| page \|.*$", (FOLDER.parent / "docs" / "security.md").read_text(), re.M)
    assert "`events.kafka_topic`" in row
