"""The Helm chart: rendered by helm itself, valid by Kubernetes' schemas, with settings that the recorder accepts."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from ddr.settings import MivSettings
from ddr.settings_sources import SECRETS, load_settings
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
    settings_file = manifests["ConfigMap"]["data"]["ddr.toml"]
    (tmp_path / "ddr.toml").write_text(settings_file.replace("/run/ddr/", f"{tmp_path}/"))
    environment = {one["name"]: one["value"].replace("/run/ddr/", f"{tmp_path}/") for one in container["env"]}
    environment["DDR_SETTINGS"] = str(tmp_path / "ddr.toml")
    secrets = {"database_url": "postgresql://ddr@db/ddr", "key_encryption_key": "A" * 43 + "="}
    for name in ("database_url", "key_encryption_key", "registry_token", "oidc_client_secret"):
        (tmp_path / name).write_text(secrets.get(name, name))
    settings = load_settings(environment)
    assert (settings.registry_token, settings.oidc_client_secret) == ("registry_token", "oidc_client_secret")
    assert (settings.workers, settings.database_pool_size, settings.summary_uncalibrated) == (2, 12, True)
    assert settings.miv["blood-pressure-value"] == MivSettings(300, 365, 60)


def test_no_secret_stands_in_the_config_map() -> None:
    """Every setting that may be a secret is refused in the clear: tests.packaging.chart sees helm do it."""
    template = (chart.CHART / "templates/config.yaml").read_text()
    named = {name for names in re.findall(r"range \$name := list (.*?) }}", template) for name in names.split()}
    assert {f'"{name}"' for name in SECRETS} < named
    assert chart.CLEAR.keys() == SECRETS


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
