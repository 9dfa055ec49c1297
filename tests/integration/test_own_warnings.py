"""What the service warns an operator of is in its log, word for word: read from the real process's error stream."""

from __future__ import annotations

from pathlib import Path

import httpx

from service.api.limits.api_keys import LOOK_EVERY_S, key_line
from tests import models
from tests.integration.command import command
from tests.live import wait_until


def test_a_keys_file_that_broke_is_named_in_the_log(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.identity())
    keys = tmp_path / "keys"
    _key, line = key_line("clinic")
    keys.write_text(line + "\n")
    log = tmp_path / "log"
    with command(tmp_path / "models", log, LAMEGAN_KEYS_FILE=str(keys)) as running:
        url = running.ready_url()
        keys.write_text("not a key\n")

        def told() -> bool:
            httpx.get(f"{url}/models", trust_env=False)
            return "keys loaded before" in log.read_text()

        assert LOOK_EVERY_S < 60
        wait_until(told)
        (event,) = [event for event in running.events() if event["level"] == "error"]
    assert event["source"] == "service.api.limits.api_keys"
    assert "revoked ones included" in str(event["event"])
    assert "Line 1 of the keys file" in str(event["event"])
