"""What service/api/http_protocol.py and service/server.py assume of uvicorn, held by name and signature."""

from __future__ import annotations

import inspect
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

OVERRIDDEN = {
    "connection_made": ["self", "transport"],
    "connection_lost": ["self", "exc"],
    "data_received": ["self", "data"],
    "on_message_begin": ["self"],
    "on_header": ["self", "name", "value"],
    "on_headers_complete": ["self"],
    "on_message_complete": ["self"],
    "_unset_keepalive_if_required": ["self"],
}


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_the_protocols_methods_are_those_we_override(name: str) -> None:
    assert list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters) == OVERRIDDEN[name]


def test_the_protocol_keeps_what_we_read() -> None:
    source = inspect.getsource(HttpToolsProtocol)
    for attribute in ("connections", "parser", "headers", "cycle", "transport", "url", "loop", "app"):
        assert f"self.{attribute}" in source
    state = inspect.getsource(RequestResponseCycle.__init__)
    for attribute in ("response_started", "response_complete"):
        assert f"self.{attribute}" in state


def test_the_server_has_the_hooks_we_override() -> None:
    for name, parameters in {
        "startup": ["self", "sockets"],
        "handle_exit": ["self", "sig", "frame"],
        "on_tick": ["self", "counter"],
    }.items():
        assert list(inspect.signature(getattr(uvicorn.Server, name)).parameters) == parameters


def test_the_range_of_versions_has_a_ceiling_above_the_one_tested() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    (requirement,) = [text for text in project["project"]["dependencies"] if text.startswith("uvicorn")]
    ceiling = requirement.partition("<")[2].split(".")
    assert [int(part) for part in version("uvicorn").split(".")[:2]] < [int(part) for part in ceiling]
