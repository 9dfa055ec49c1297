"""A gateway killed at any moment loses nothing and delivers nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from service.dicom.gateway.config import GatewayConfig
from service.dicom.gateway.rows import MIGRATIONS
from service.dicom.gateway.spool import Spool
from service.errors import ConfigurationError
from tests import dicom_files as objects
from tests.gateway_parts import PATIENCE_S, Pacs, store
from tests.live import wait_until

KILLS = int(os.environ.get("LAMEGAN_TEST_KILLS", "12"))
"""At random moments; CI's number keeps the test to about a minute, 100 is the acceptance run."""

OBJECTS = 6
STEPS = ("add", "_new_id", "_is_known", "enhanced", "sent", "confirmed", "_tidy")
"""Methods of the spool, before and after each of which the gateway is killed once.

`_new_id` comes before the file of an object that is received, `_is_known` between its fsync and its row.
"""


def _gateway(folder: str, destination_port: int, step: str, before: bool) -> None:
    """A gateway in a process of its own, with a stand-in for the model; it kills itself at `step` if one is named."""
    from service.dicom.gateway import gateway as module
    from service.monitoring.gateway_metrics import GatewayMetrics
    from tests.gateway_parts import EchoEnhancer

    if step:
        original: Callable[..., Any] = getattr(Spool, step)

        def struck(self: Spool, *arguments: Any, **options: Any) -> Any:
            if before:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, *arguments, **options)  # its result has nobody to go to
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(Spool, step, struck)
    config = GatewayConfig.model_validate(
        {
            "listen": {"port": 0, "allowed_calling": ["*"]},
            "spool": {"folder": folder, "least_free_bytes": 0},
            "work": {"first_wait_s": 0.05, "longest_wait_s": 0.2},
            "destination": [
                {
                    "name": "pacs",
                    "kind": "dimse",
                    "ae_title": "PACS",
                    "host": "127.0.0.1",
                    "port": destination_port,
                    "confirm": "store",
                }
            ],
        }
    )
    running = module.Gateway(config, EchoEnhancer(), GatewayMetrics())
    running.start()
    assert running.listener is not None
    Path(folder, "port.new").write_text(str(running.listener.port))
    Path(folder, "port.new").rename(Path(folder, "port"))
    time.sleep(600)


@pytest.fixture(scope="module")
def context() -> Any:
    made = multiprocessing.get_context("forkserver")
    made.set_forkserver_preload(["service.dicom.gateway.gateway", "tests.gateway_parts", "pynetdicom"])
    return made


class Victim:
    """One gateway after another on one spool."""

    def __init__(self, context: Any, folder: Path, destination_port: int) -> None:
        self._context, self._folder, self._destination = context, folder, destination_port
        self._port_file = folder / "port"

    def start(self, step: str = "", *, before: bool = False) -> ForkServerProcess:
        self._port_file.unlink(missing_ok=True)
        arguments = (str(self._folder), self._destination, step, before)
        process: ForkServerProcess = self._context.Process(target=_gateway, args=arguments, daemon=True)
        process.start()
        wait_until(lambda: self._port_file.exists() or not process.is_alive(), PATIENCE_S)
        return process

    @property
    def port(self) -> int:
        return int(self._port_file.read_text() or 0)

    def has_finished(self, count: int) -> bool:
        """Whether `count` objects are done and their files gone; the files go after the row says `done`."""
        spool = Spool(self._folder)
        try:
            done = spool.counts()["done"][0]
        finally:
            spool.close()
        return done == count and not list((self._folder / "objects").iterdir())


def check(pacs: Pacs, sources: list[bytes]) -> None:
    """Every object's image and report arrived, and each UID means one object."""
    assert len(pacs.got) == 2 * len(sources)
    assert {len(bodies) for bodies in pacs.got.values()} == {1}


def test_killed_before_and_after_each_step_nothing_is_lost_or_doubled(tmp_path: Path, context: Any) -> None:
    pacs = Pacs()
    victim = Victim(context, tmp_path / "spool", pacs.port)
    (tmp_path / "spool").mkdir()
    sources = []
    try:
        for number, (step, before) in enumerate([(step, before) for step in STEPS for before in (True, False)], 1):
            sources.append(objects.as_file(objects.endoscopic(number)))
            process = victim.start(step, before=before)
            if victim._port_file.exists():
                store(victim.port, sources[-1])
            process.join(60)
            assert process.exitcode == -signal.SIGKILL
            process = victim.start()
            wait_until(lambda: store(victim.port, sources[-1]) == 0, PATIENCE_S)
            wait_until(lambda: victim.has_finished(len(sources)), PATIENCE_S)
            process.kill()
            process.join(60)
        check(pacs, sources)
    finally:
        pacs.stop()


def test_killed_at_random_moments_every_object_arrives_exactly_once(tmp_path: Path, context: Any) -> None:
    rng = random.Random(18)
    pacs = Pacs()
    (tmp_path / "spool").mkdir()
    victim = Victim(context, tmp_path / "spool", pacs.port)
    sources = [objects.as_file(objects.endoscopic(number)) for number in range(1, OBJECTS + 1)]
    waiting = list(sources)
    try:
        for _ in range(KILLS):
            process = victim.start()
            until = time.monotonic() + rng.uniform(0.0, 0.8)
            while time.monotonic() < until and waiting:
                if store(victim.port, waiting[0]) == 0:
                    waiting.pop(0)
            time.sleep(max(0.0, until - time.monotonic()))
            process.kill()
            process.join(60)
        process = victim.start()
        for body in [*waiting, *sources]:
            assert store(victim.port, body) == 0
        wait_until(lambda: victim.has_finished(len(sources)), PATIENCE_S)
        process.kill()
        process.join(60)
        check(pacs, sources)
    finally:
        pacs.stop()


def test_a_spool_of_the_first_version_is_brought_up_to_date_and_a_newer_one_is_refused(tmp_path: Path) -> None:
    import sqlite3

    folder = tmp_path / "spool"
    folder.mkdir()
    with sqlite3.connect(folder / "index.sqlite") as old:
        old.executescript(MIGRATIONS[0] + "PRAGMA user_version = 1;")
        old.execute(
            "INSERT INTO object (source_uid, sop_class, sha256, bytes, received_at, state) VALUES (?, ?, ?, 1, 1, ?)",
            ("1.2.3", "1.2", "0", "received"),
        )
    old.close()
    spool = Spool(folder)
    assert spool.knows("1.2.3")
    assert spool.counts()["received"] == (1, 1.0)
    spool.close()
    with sqlite3.connect(folder / "index.sqlite") as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(ConfigurationError, match="newer"):
        Spool(folder)
