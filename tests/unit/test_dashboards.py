"""The dashboards: files made by their builder, each query over series that exist."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from types import ModuleType

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from service.monitoring.metrics import Metrics
from tests.conftest import ROOT

GRAFANA = ROOT / "docker" / "grafana"
BOARDS = ("operations", "model")


def builder() -> ModuleType:
    """docker/grafana/build.py, which is not a package."""
    spec = importlib.util.spec_from_file_location("grafana_build", GRAFANA / "build.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def test_the_files_are_what_the_builder_makes() -> None:
    made = builder()
    assert set(made.BOARDS) == set(BOARDS)
    for name in BOARDS:
        found = (GRAFANA / "dashboards" / f"{name}.json").read_text()
        assert found == made.rendered(name), "run python docker/grafana/build.py"


@pytest.mark.parametrize("name", BOARDS)
def test_every_series_of_a_query_is_a_metric_or_a_recorded_rule(name: str) -> None:
    text = (GRAFANA / "dashboards" / f"{name}.json").read_text()
    metrics = Metrics()
    metrics.follow_models(list)
    known = {family.name for family in metrics.registry.collect()}
    rules = [path.read_text() for path in (ROOT / "docker/prometheus/rules").glob("*.yml")]
    recorded = {
        rule.get("record") for text in rules for group in yaml.safe_load(text)["groups"] for rule in group["rules"]
    }
    queries = [target["expr"] for panel in json.loads(text)["panels"] for target in panel.get("targets", ())]
    for series in {found for query in queries for found in re.findall(r"\blamegan[a-z_:0-9]+\b", query)}:
        plain = re.sub(r"_(total|bucket|sum|count)$", "", series)
        assert series in recorded or series in known or plain in known or series == "lamegan", series


def test_grafana_finds_the_data_source_that_the_dashboards_name() -> None:
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"][0]
    for name in BOARDS:
        board = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text())
        chosen = {one["name"]: one for one in board["templating"]["list"]}["datasource"]
        assert (chosen["type"], chosen["query"]) == ("datasource", source["type"])
        assert chosen["current"] == {"text": source["name"], "value": source["uid"]}
        used = {target["datasource"]["uid"] for panel in board["panels"] for target in panel.get("targets", ())}
        used |= {one["datasource"]["uid"] for one in board["annotations"]["list"]}
        assert used == {"${datasource}"}
        assert board["uid"]
        assert len({panel["id"] for panel in board["panels"] if panel.get("id")}) == len(board["panels"])


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows_in_which_unit_and_overlaps_no_other(name: str) -> None:
    panels = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text())["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        taken = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert max(x for x, _ in taken) < 24, panel["title"]
        assert not taken & cells, panel["title"]
        cells |= taken
        if panel["type"] == "row":
            continue
        assert panel["title"]
        assert len(panel["description"]) > 10, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"], panel["title"]
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)


@pytest.mark.parametrize("name", BOARDS)
def test_grafanas_own_model_of_a_dashboard_reads_the_file_back_without_loss(name: str) -> None:
    register_default_plugins()
    written = json.loads((GRAFANA / "dashboards" / f"{name}.json").read_text())
    read = json.loads(JSONEncoder().encode(Dashboard.from_json(written)))
    assert lost(written, read) == []


def lost(written: object, read: object, path: str = "") -> list[str]:
    """Where `read`, which may have defaults besides, differs from `written`."""
    if isinstance(written, dict) and isinstance(read, dict):
        return [fault for key, one in written.items() for fault in lost(one, read.get(key), f"{path}/{key}")]
    if isinstance(written, list) and isinstance(read, list) and len(written) == len(read):
        pairs = enumerate(zip(written, read, strict=True))
        return [fault for place, (one, other) in pairs for fault in lost(one, other, f"{path}/{place}")]
    return [] if written == read else [path]
