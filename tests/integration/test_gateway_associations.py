"""Associations that the gateway opens: few for many objects, and none held without need."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pynetdicom import evt

from service.dicom.gateway.associations import Caller, HeldAssociation, ReactorCheckpoint
from service.dicom.gateway.config import Destination
from tests import dicom_files as objects
from tests.gateway_parts import PATIENCE_S, Pacs, running, store, to
from tests.live import wait_until

pytestmark = pytest.mark.slow


def source(seed: int) -> bytes:
    return objects.as_file(objects.endoscopic(seed))


class Counted(Pacs):
    """Counts its associations and shows those that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.accepted = 0
        self.server.bind(evt.EVT_ACCEPTED, self._count)

    def _count(self, _event: evt.Event) -> None:
        self.accepted += 1

    def open(self) -> list[Any]:
        return [one for one in self.server.active_associations if one.is_established]


def test_many_objects_go_by_one_association_which_ends_when_there_are_no_more(tmp_path: Path) -> None:
    pacs, count = Counted(), 6
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            gateway.gateway.spool.add("2.25.9001", "1.2.840.10008.5.1.4.1.1.77.1.1", source(1))
            wait_until(lambda: gateway.count("done") == 1, PATIENCE_S)
            opened = pacs.accepted
            for seed in range(2, count + 1):  # within the time for which an association lingers, but for a slow machine
                gateway.gateway.spool.add(f"2.25.{9000 + seed}", "1.2.840.10008.5.1.4.1.1.77.1.1", source(seed))
            gateway.gateway._wake_enhance()
            wait_until(lambda: gateway.count("done") == count, PATIENCE_S)
            assert opened == 1
            assert pacs.accepted < count
            wait_until(lambda: not pacs.open(), PATIENCE_S)
            assert gateway.faults() == {}
    finally:
        pacs.stop()


def test_an_association_that_the_pacs_closed_meanwhile_is_opened_again_without_a_fault(tmp_path: Path) -> None:
    pacs = Counted()
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            for seed in range(1, 6):
                assert store(gateway.port, source(seed)) == 0
                wait_until(lambda seed=seed: gateway.count("done") == seed, PATIENCE_S)  # type: ignore[misc]
                for one in pacs.open():
                    one.abort()
            assert len(pacs.got) == 2 * 5
            assert gateway.faults() == {}
    finally:
        pacs.stop()


def test_both_sides_send_without_delay() -> None:
    pacs = Counted()
    try:
        held = HeldAssociation(Caller(Destination.model_validate(to(pacs)), "LAMEGAN"))
        association = held.get({("1.2.840.10008.5.1.4.1.1.77.1.1", None)})
        connection = association.dul.socket.socket
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        assert held.get({("1.2.840.10008.5.1.4.1.1.77.1.1", None)}) is association
        assert not held.is_new
        assert held.get({("1.2.840.10008.5.1.4.1.1.7", None)}) is not association
        assert held.is_new
        held.release()
        wait_until(lambda: not pacs.open(), PATIENCE_S)
    finally:
        pacs.stop()


def test_a_thread_has_stopped_when_clear_returns_and_goes_on_at_set() -> None:
    association = SimpleNamespace(is_established=True)
    checkpoint = ReactorCheckpoint(association)  # type: ignore[arg-type]
    rounds, ended = [0], threading.Event()

    def go_round() -> None:
        while not ended.is_set():
            checkpoint.wait()
            rounds[0] += 1

    thread = threading.Thread(target=go_round)
    thread.start()
    try:
        for _ in range(300):
            checkpoint.clear()
            before = rounds[0]
            time.sleep(0.0002)
            assert rounds[0] == before
            checkpoint.set()
    finally:
        ended.set()
        checkpoint.set()
        thread.join()
    association.is_established = False
    with pytest.raises(RuntimeError, match="ended"):
        checkpoint.clear()
