"""The OpenAPI document is complete, and true: schemathesis, which believes it, finds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.api.limits.api_keys import key_line
from service.api.middleware.admission import ROUTES as ADMITTED
from service.errors import BadRequest, Busy, Fault, every_error
from tests import models
from tests.conftest import ROOT
from tests.live import LiveService

ROUTES = {
    *("/enhance", "/assess", "/score", "/capabilities", "/models", "/health/live", "/health/ready", "/metrics"),
}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[LiveService]:
    models.install(tmp_path, models.brighten(12))
    with LiveService(tmp_path) as service:
        yield service


def run_schemathesis(live: LiveService, *options: str) -> subprocess.CompletedProcess[str]:
    """Run it with all its checks against `live`, from a fixed seed."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "run", f"{live.url}/openapi.json", "--checks", "all"),
            *("--max-examples", "25", "--seed", "1", "--no-color", "--suppress-health-check", "all", *options),
        ],
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tests.contract.schemathesis_hooks", "PYTHONPATH": str(ROOT)},
        cwd=live.settings.models_dir,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


@pytest.mark.slow
def test_schemathesis_finds_nothing(live: LiveService) -> None:
    found = run_schemathesis(live)
    assert found.returncode == 0, "\n".join(line[:400] for line in found.stdout.splitlines()) + found.stderr[-2000:]


@pytest.mark.slow
def test_schemathesis_finds_nothing_where_keys_are_asked_for(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.identity())
    key, line = key_line("fuzzer")
    (tmp_path / "keys").write_text(line)
    with LiveService(tmp_path / "models", keys_file=tmp_path / "keys") as live:
        found = run_schemathesis(live, "--header", f"Authorization: Bearer {key}", "--phases", "coverage")
    assert found.returncode == 0, "\n".join(line[:400] for line in found.stdout.splitlines()) + found.stderr[-2000:]


def test_every_route_and_every_problem_is_described(live: LiveService) -> None:
    document = live.http.get("/openapi.json").json()
    assert set(document["paths"]) == ROUTES <= set(ADMITTED)
    enhance = document["paths"]["/enhance"]["post"]
    told = " ".join(response["description"] for response in enhance["responses"].values())
    not_from_here = {
        *("bad-request", "not-found", "method-not-allowed", "level-unavailable", "unauthorized"),
        *("busy", "client-gone", "fault"),
    }
    for family in (BadRequest, Busy, Fault):
        for error in every_error(family):
            assert f"`{error.code}`" in told or error.code in not_from_here, error.code
    for name in ("LaSSIM", "LaSSIM-Worst", "LaSSIM-Verdict", "LaSSIM-Blend", "Model", "Model-Digest", "Server-Timing"):
        assert name in enhance["responses"]["200"]["headers"]
