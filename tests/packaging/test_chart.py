"""The Helm chart: rendered by helm itself, good for Kubernetes by its schemas, and settings that the recorder takes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ddr.settings import MivSettings
from ddr.settings_sources import load_settings
from tests.packaging import chart

AGAIN = "the chart has changed: run python -m tests.packaging.chart HELM"


@pytest.fixture(scope="module")
def manifests() -> dict[str, dict[str, Any]]:
    """What helm rendered, by kind."""
    return {one["kind"]: one for one in yaml.safe_load_all(chart.known()[1])}


def test_what_was_rendered_is_this_chart() -> None:
    found, text = chart.known()
    assert found == chart.digest(), AGAIN
    if helm := shutil.which("helm"):
        assert chart.rendered(helm) == text


def test_kubernetes_takes_it(manifests: dict[str, dict[str, Any]]) -> None:
    assert manifests.keys() == {"StatefulSet", "ConfigMap", "Service", "PodDisruptionBudget"}
    for one in manifests.values():
        for version in ("1.30", kubernetes_validate.latest_version()):
            kubernetes_validate.validate(one, version, strict=True)
    manifests["Service"]["spec"]["prots"] = []
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifests["Service"], "1.30", strict=True)


def test_the_recorder_takes_its_settings(manifests: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    (container,) = manifests["StatefulSet"]["spec"]["template"]["spec"]["containers"]
    (tmp_path / "ddr.toml").write_text(manifests["ConfigMap"]["data"]["ddr.toml"])
    environment = {one["name"]: one["value"] for one in container["env"]}
    environment["DDR_SETTINGS"] = str(tmp_path / "ddr.toml")
    for name in ("database_url", "key_encryption_key"):
        secret = environment[f"DDR_{name.upper()}"].removeprefix("file:/run/ddr/")
        (tmp_path / secret).write_text("postgresql://ddr@db/ddr" if name == "database_url" else "A" * 43 + "=")
        environment[f"DDR_{name.upper()}"] = f"file:{tmp_path / secret}"
    settings = load_settings(environment)
    assert (settings.workers, settings.database_pool_size, settings.summary_uncalibrated) == (2, 12, True)
    assert settings.miv["blood-pressure-value"] == MivSettings(3600, 365, 60)


def test_names_that_belong_together_are_the_same(manifests: dict[str, dict[str, Any]]) -> None:
    spec = manifests["StatefulSet"]["spec"]
    pod, labels = spec["template"]["spec"], spec["template"]["metadata"]["labels"]
    (container,) = pod["containers"]
    service = manifests["Service"]
    assert spec["selector"]["matchLabels"] == labels == service["spec"]["selector"]
    assert manifests["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert {one["targetPort"] for one in service["spec"]["ports"]} == {one["name"] for one in container["ports"]}
    volumes = {one["name"] for one in pod["volumes"]}
    claimed = {one["metadata"]["name"] for one in spec["volumeClaimTemplates"]}
    assert {one["name"] for one in container["volumeMounts"]} == volumes | claimed
    (settings,) = (one["configMap"]["name"] for one in pod["volumes"] if "configMap" in one)
    assert settings == manifests["ConfigMap"]["metadata"]["name"] and spec["serviceName"] == service["metadata"]["name"]


def test_nothing_may_be_more_than_a_server(manifests: dict[str, dict[str, Any]]) -> None:
    pod = manifests["StatefulSet"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] and not pod["automountServiceAccountToken"]
    limits = container["securityContext"]
    assert limits["readOnlyRootFilesystem"] and not limits["allowPrivilegeEscalation"]
    assert limits["capabilities"] == {"drop": ["ALL"]}
