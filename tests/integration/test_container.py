"""What the service is shipped in: the image, the compose file and the Prometheus that scrapes it."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from packaging.requirements import Requirement

from service.settings import Settings
from tests import models
from tests.conftest import ROOT
from tests.live import LiveService, encoded, scene
from tests.prometheus import wait_until

PROMETHEUS = ROOT / "docker" / "prometheus"
DOCKERFILE = (ROOT / "docker" / "service.Dockerfile").read_text()
TRAINING_DOCKERFILE = (ROOT / "docker" / "training.Dockerfile").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
OURS = ("service", "service-gpu")


@pytest.mark.container
@pytest.mark.skipif(os.geteuid() != 0, reason="chroot isolation needs root")
def test_the_images_build_without_an_engine_and_answer() -> None:
    done = subprocess.run([ROOT / "docker" / "check", "cpu", "orthanc"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"== the image \((\w+), .*\) answers", done.stdout) == ["cpu", "orthanc"]


def test_every_variable_of_the_containers_is_a_setting() -> None:
    known = {f"LAMEGAN_{name.upper()}" for name in Settings.model_fields}
    set_by_image = set(re.findall(r"\b(LAMEGAN_[A-Z_]+)=", DOCKERFILE)) - {"LAMEGAN_ALLOW_ANONYMOUS"}
    set_by_compose = {name for ours in OURS for name in COMPOSE["services"][ours]["environment"]}
    assert set_by_image >= {"LAMEGAN_HOST", "LAMEGAN_DEVICE", "LAMEGAN_STATE_DIR"}
    assert set_by_image | set_by_compose <= known


def test_the_compose_file_names_only_what_it_declares() -> None:
    for name, service in COMPOSE["services"].items():
        assert set(service.get("networks", ())) <= set(COMPOSE["networks"]), name
        assert ("networks" in service) != (service.get("network_mode") == "none"), name
        secrets = {secret if isinstance(secret, str) else secret["source"] for secret in service.get("secrets", ())}
        assert secrets <= set(COMPOSE["secrets"]), name
        volumes = [re.sub(r"^\$\{\w+:-[^}]*\}", "", volume).split(":")[0] for volume in service["volumes"]]
        assert all(not volume or volume in COMPOSE["volumes"] or (ROOT / volume).exists() for volume in volumes), name
        if "build" in service:
            assert (ROOT / service["build"]["context"] / service["build"]["dockerfile"]).is_file()


def test_nothing_is_published_beyond_loopback_and_nothing_runs_with_more_rights_than_it_needs() -> None:
    for name, service in COMPOSE["services"].items():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
    assert COMPOSE["networks"]["metrics"]["internal"] is True
    for text in (DOCKERFILE, TRAINING_DOCKERFILE):
        assert re.search(r"^USER 10001:10001$", text, re.MULTILINE)
    assert COMPOSE["services"]["training"]["network_mode"] == "none"


def test_there_is_no_key_that_works_before_the_operator_makes_one() -> None:
    for name in OURS:
        environment = COMPOSE["services"][name]["environment"]
        assert environment["LAMEGAN_KEYS_FILE"] == "/run/secrets/lamegan_keys"
        assert "LAMEGAN_ALLOW_ANONYMOUS" not in environment
    secret = COMPOSE["secrets"]["lamegan_keys"]["file"]
    ignored = subprocess.run(["git", "check-ignore", "-q", secret], cwd=ROOT, check=False)
    assert ignored.returncode in (0, 128), "the keys file would be committed"  # 128: not a git checkout


def test_what_the_gpu_image_adds_is_pinned_for_the_runtime_that_is_pinned() -> None:
    pins = (ROOT / "docker" / "constraints-cuda.txt").read_text()
    runtime = re.search(r"^onnxruntime-gpu==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert runtime
    assert f"onnxruntime-gpu {runtime[1]}." in pins, "resolve the extra `cuda` again"
    requirements = [Requirement(line) for line in requires("onnxruntime-gpu") or ()]
    for requirement in requirements:
        if requirement.marker and any(requirement.marker.evaluate({"extra": extra}) for extra in ("cuda", "cudnn")):
            pin = re.search(rf"^{requirement.name}==(\S+)$", pins, re.MULTILINE)
            assert pin, requirement.name
            assert requirement.specifier.contains(pin[1]), requirement.name


def test_both_images_have_the_same_base_and_the_same_tools() -> None:
    def pinned(text: str) -> list[str]:
        return re.findall(r"^ARG \w+=\S+$", text.replace("ARG DEVICE=cpu\n", ""), re.MULTILINE)

    def base(text: str) -> str:
        return text[text.index("# ---- Python") : text.index("# ---- installs")]

    assert pinned(DOCKERFILE) == pinned(TRAINING_DOCKERFILE)
    assert base(DOCKERFILE) == base(TRAINING_DOCKERFILE)


def test_only_the_profiles_gpu_and_training_ask_for_a_gpu() -> None:
    wants = {name for name, service in COMPOSE["services"].items() if "nvidia" in str(service.get("deploy"))}
    assert wants == {
        name for name, service in COMPOSE["services"].items() if service["profiles"][0] in ("gpu", "training")
    }
    assert COMPOSE["services"]["service-gpu"]["build"]["args"] == {"DEVICE": "cuda"}


def test_every_service_has_a_profile_and_none_a_password_that_is_known() -> None:
    profiles = {name: service["profiles"] for name, service in COMPOSE["services"].items()}
    assert profiles["service"] == ["cpu"]
    assert profiles["prometheus"] == profiles["grafana"] == ["observability"]
    assert all(profiles.values())
    assert not [key for key in COMPOSE["services"]["grafana"]["environment"] if key.endswith("PASSWORD")]
    ignored = subprocess.run(["git", "check-ignore", "-q", "docker/secrets/grafana_password"], cwd=ROOT, check=False)
    assert ignored.returncode in (0, 128)  # 128: not a git checkout


@pytest.mark.parametrize("profile", ["cpu", "gpu", "training", "observability", "pacs"])
def test_docker_compose_accepts_every_profile(profile: str) -> None:
    command = ["docker-compose", "--project-directory", ROOT, "--profile", profile, "config", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_prometheus_accepts_its_configuration_and_looks_where_the_metrics_are() -> None:
    done = subprocess.run(
        ["promtool", "check", "config", PROMETHEUS / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (found,) = _scrape_job("lamegan")["dns_sd_configs"]
    assert found["names"] == list(OURS)
    for name in OURS:
        assert COMPOSE["services"][name]["environment"]["LAMEGAN_METRICS_PORT"] == str(found["port"])
        assert "metrics" in COMPOSE["services"][name]["networks"]


def test_a_real_prometheus_scrapes_a_real_service(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.identity())
    with LiveService(tmp_path / "models") as service:
        service.http.post("/enhance", content=encoded(scene())).raise_for_status()
        config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s"}
        job = _scrape_job("lamegan")
        del job["dns_sd_configs"]
        config["scrape_configs"] = [job | {"static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]}]
        (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        arguments = (f"--config.file={tmp_path}/prometheus.yml", f"--storage.tsdb.path={tmp_path}/data")
        command = ["prometheus", *arguments, f"--web.listen-address={address}"]
        with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as prometheus:
            try:
                query = 'sum(lamegan_requests_total{job="lamegan", route="/enhance", status="200"})'
                for asked in (query, 'sum(lamegan_lassim_count{job="lamegan"})', 'up{job="lamegan"}'):
                    wait_until(lambda: _asked(address, asked) == "1")  # noqa: B023  (waited for within the loop)
            finally:
                prometheus.terminate()


def _scrape_job(name: str) -> dict[str, Any]:
    jobs = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    return next(job for job in jobs if job["job_name"] == name)


def _asked(address: str, query: str) -> str | None:
    """The one value that a query returns, None while the result is empty."""
    try:
        answer = httpx.get(f"http://{address}/api/v1/query", params={"query": query}, trust_env=False)
        result = answer.json()["data"]["result"]
    except (httpx.HTTPError, ValueError, KeyError):
        return None
    return result[0]["value"][1] if result else None
