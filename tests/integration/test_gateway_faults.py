"""Each fault of senders, PACS, disk and clock: nothing is lost, and status and metrics tell it."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from pydicom.uid import UID, ExplicitVRLittleEndian
from pynetdicom import AE, evt

from service.dicom.gateway.config import Destination, Tls, Work
from service.dicom.gateway.rows import Delivery
from service.dicom.gateway.sender import Unreachable
from service.dicom.gateway.sending import SendStep
from tests import dicom_files as objects
from tests.certificates import Authority
from tests.gateway_parts import (
    PATIENCE_S,
    EchoEnhancer,
    Pacs,
    RawServer,
    Running,
    WebPacs,
    running,
    send_raw,
    store,
    to,
)
from tests.live import wait_until

pytestmark = pytest.mark.slow

CT = UID("1.2.840.10008.5.1.4.1.1.2")


@pytest.fixture(autouse=True)
def _nothing_personal_is_logged(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert objects.SENTINEL not in "".join(capsys.readouterr())


def source(seed: int = 1, **changes: Any) -> bytes:
    return objects.as_file(objects.endoscopic(seed, **changes))


def eventually(holds: Callable[[], bool]) -> None:
    wait_until(holds, PATIENCE_S)


def has_fault(gateway: Running, place: str, reason: str, *, lasting: bool | None = None) -> bool:
    found = gateway.faults().get((place, reason))
    told = gateway.metric("lamegan_gateway_faults_total", place=place, reason=reason)
    return found is not None and told >= found[0] >= 1 and lasting in (None, found[1])


def goes_on_nowhere(gateway: Running) -> bool:
    return not any(lasting for _, lasting in gateway.faults().values())


# --- senders


def test_a_sender_with_the_right_certificate_stores_and_one_with_a_wrong_one_does_not(tmp_path: Path) -> None:
    ours, strange = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "strange", "strange")
    certificate, key = ours.issue("gateway")
    tls = {"certificate": certificate, "key": key, "ca": ours.ca}
    pacs = Pacs()

    def sender(authority: Authority, trusted: Path) -> ssl.SSLContext:
        own, own_key = authority.issue("sender")
        return Tls(certificate=own, key=own_key, ca=trusted).client()

    try:
        with running(tmp_path / "spool", to(pacs), listen={"tls": tls}) as gateway:
            with socket.create_connection(("127.0.0.1", gateway.port)):  # says nothing; nobody waits for it
                assert store(gateway.port, source(1), sender(ours, ours.ca)) == 0
            assert store(gateway.port, source(2), sender(strange, ours.ca)) == -1
            assert store(gateway.port, source(2), sender(ours, strange.ca)) == -1
            assert store(gateway.port, source(2)) == -1
            eventually(lambda: gateway.faults().get(("listener", "tls"), (0, False))[0] >= 3)
            assert has_fault(gateway, "listener", "tls", lasting=False)
            assert gateway.metric("lamegan_gateway_associations_total", outcome="tls") >= 3
            eventually(lambda: gateway.count("done") == 1)
    finally:
        pacs.stop()


def test_a_flood_of_associations_is_bounded_and_loses_nothing(tmp_path: Path) -> None:
    pacs, count = Pacs(), 8
    try:
        with running(tmp_path / "spool", to(pacs), listen={"most_associations": 2}) as gateway:

            def send(seed: int) -> None:
                while store(gateway.port, source(seed)) != 0:
                    time.sleep(0.3)

            entity = AE("IDLE")
            entity.add_requested_context("1.2.840.10008.1.1")
            held = [entity.associate("127.0.0.1", gateway.port, ae_title="LAMEGAN") for _ in range(2)]
            assert store(gateway.port, source(1)) == -1
            eventually(lambda: has_fault(gateway, "listener", "too-many-associations"))
            assert gateway.metric("lamegan_gateway_associations_total", outcome="rejected") >= 1
            for association in held:
                association.release()
            senders = [threading.Thread(target=send, args=(seed,)) for seed in range(1, count + 1)]
            for one in senders:
                one.start()
            for one in senders:
                one.join(PATIENCE_S)
            eventually(lambda: gateway.count("done") == count)
            assert len(pacs.got) == 2 * count
    finally:
        pacs.stop()


def test_connections_that_say_nothing_are_bounded(tmp_path: Path) -> None:
    pacs = Pacs()
    try:
        with running(tmp_path / "spool", to(pacs), listen={"most_associations": 2}) as gateway:
            idle = [socket.create_connection(("127.0.0.1", gateway.port)) for _ in range(30)]
            eventually(lambda: gateway.faults().get(("listener", "too-many-connections"), (0, False))[0] >= 8)
            assert has_fault(gateway, "listener", "too-many-connections", lasting=False)
            assert len(gateway.gateway.listener._server.active_associations) <= 22  # type: ignore[union-attr]
            for one in idle:
                one.close()
            eventually(lambda: store(gateway.port, source(1)) == 0)
            eventually(lambda: gateway.count("done") == 1)
    finally:
        pacs.stop()


def test_a_title_that_is_not_allowed_is_rejected_and_told(tmp_path: Path) -> None:
    pacs = Pacs()
    try:
        with running(tmp_path / "spool", to(pacs), listen={"allowed_calling": ["ENDO"]}) as gateway:
            assert store(gateway.port, source(), calling="STRANGER") == -1
            assert store(gateway.port, source(), calling="PACS") == 0x0124  # may call, but not store
            eventually(lambda: has_fault(gateway, "listener", "calling-ae-title"))
            eventually(lambda: has_fault(gateway, "listener", "not-allowed-to-store"))
            assert gateway.count("received") == 0
    finally:
        pacs.stop()


def test_damaged_objects_and_classes_that_are_not_served_are_kept_with_their_reasons(tmp_path: Path) -> None:
    pacs = Pacs()
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            assert store(gateway.port, source(1, PixelData=b"\0\0")) == 0
            assert store(gateway.port, source(2, SOPClassUID="1.2.840.10008.5.1.4.1.1.2", Modality="CT")) == 0
            eventually(lambda: (gateway.count("dead"), gateway.count("kept")) == (1, 1))
            aside = "lamegan_gateway_set_aside"
            assert gateway.metric(aside, state="dead", reason="undecodable-image") == 1
            assert gateway.metric(aside, state="kept", reason="unsupported-type") == 1
            spool = gateway.gateway.spool
            kept = [one.id for one in spool.objects(("dead", "kept"))]
            eventually(lambda: all(spool.body(one) for one in kept))
            assert pacs.got == {}
    finally:
        pacs.stop()


def send_dataset(port: int, number: int, dataset: bytes) -> int:
    """C-STORE of `dataset` as a CT image, whatever it holds."""
    entity = AE("SENDER")
    entity.add_requested_context(CT, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="LAMEGAN")
    try:
        return send_raw(association, CT, f"2.25.{number}", dataset)
    finally:
        association.release()


@pytest.mark.parametrize("confirm", ["store", "look"])
def test_what_is_forwarded_goes_byte_for_byte_even_where_attributes_are_missing(confirm: str, tmp_path: Path) -> None:
    pacs = Pacs()
    whole = objects.endoscopic(1, SOPClassUID=CT, Modality="CT")
    bodies = []
    for missing in ("SOPInstanceUID", "SOPClassUID", "StudyInstanceUID"):
        poor = objects.endoscopic(1, SOPClassUID=CT, Modality="CT")
        delattr(poor, missing)
        bodies.append(objects.encoded_dataset(poor))
    odd = objects.encoded_dataset(whole)
    bodies.append(odd.replace(b"2.25.8001", b"2.25.8O01"))  # no valid UID
    try:
        with running(tmp_path / "spool", to(pacs, confirm=confirm), work={"unserved": "forward"}) as gateway:
            for number, body in enumerate(bodies, 1):
                assert send_dataset(gateway.port, number, body) == 0
            assert store(gateway.port, source(9)) == 0
            eventually(lambda: gateway.count("done") == len(bodies) + 1)
            for number, body in enumerate(bodies, 1):
                (stored,) = pacs.got[f"2.25.{number}"]  # with the File Meta Information that the SCP put in front
                assert stored[144 + int.from_bytes(stored[140:144], "little") :] == body
            assert gateway.faults() == {}
    finally:
        pacs.stop()


# --- the PACS


def arrives_once_mended(gateway: Running, pacs: Pacs | WebPacs) -> None:
    """The object reaches a PACS that works, and the fault is over."""
    eventually(lambda: gateway.count("done") == 1)
    assert len(pacs.got) == 2
    assert {len(bodies) for bodies in pacs.got.values()} == {1}
    eventually(lambda: goes_on_nowhere(gateway))
    assert gateway.metric("lamegan_gateway_destination_up", destination="pacs") == 1


@pytest.mark.parametrize(
    ("words", "reasons"),
    [
        (None, ("no-connection",)),
        (b"", ("no-association",)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\nWhat?", ("no-association", "no-connection")),
    ],
    ids=["down", "silent", "nonsense"],
)
def test_a_pacs_that_is_no_pacs_for_a_while_gets_the_object_when_it_is_one(
    words: bytes | None, reasons: tuple[str, ...], tmp_path: Path
) -> None:
    false = RawServer(words or b"")
    if words is None:
        false.stop()
    with running(tmp_path / "spool", to(false, timeout_s=3)) as gateway:
        assert store(gateway.port, source()) == 0
        eventually(lambda: any(has_fault(gateway, "pacs", reason, lasting=True) for reason in reasons))
        assert gateway.metric("lamegan_gateway_destination_up", destination="pacs") == 0
        assert gateway.count("enhanced") == 1
        if words is not None:
            false.stop()
        pacs = Pacs(false.port)
        try:
            arrives_once_mended(gateway, pacs)
        finally:
            pacs.stop()


def abort(event: evt.Event) -> int:
    event.assoc.abort()
    return 0xC000


def answer_late(_event: evt.Event) -> int:
    time.sleep(6)
    return 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(abort, "association-lost"), (answer_late, "no-answer")],
    ids=["closes", "late"],
)
def test_an_association_that_breaks_or_answers_too_late_is_tried_again(
    fault: Callable[[evt.Event], int], reason: str, tmp_path: Path
) -> None:
    pacs = Pacs()
    pacs.answer = fault
    try:
        with running(tmp_path / "spool", to(pacs, timeout_s=3)) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: has_fault(gateway, "pacs", reason, lasting=True))
            assert gateway.metric("lamegan_gateway_destination_up", destination="pacs") == 0
            pacs.answer = lambda _event: 0
            arrives_once_mended(gateway, pacs)
    finally:
        pacs.stop()


def test_one_object_that_breaks_every_association_does_not_hold_up_the_others(tmp_path: Path) -> None:
    pacs, count = Pacs(), 4
    poison: set[str] = set()

    def fall_over(event: evt.Event) -> int:
        if not poison:
            poison.add(str(event.request.AffectedSOPInstanceUID))
        return abort(event) if str(event.request.AffectedSOPInstanceUID) in poison else 0

    pacs.answer = fall_over
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            for seed in range(1, count + 1):
                assert store(gateway.port, source(seed)) == 0
            eventually(lambda: (gateway.count("done"), gateway.count("enhanced")) == (count - 1, 1))
            assert gateway.count("dead") == 0
            pacs.answer = lambda _event: 0
            eventually(lambda: gateway.count("done") == count)
            assert len(pacs.got) == 2 * count
    finally:
        pacs.stop()


def test_one_object_that_breaks_every_association_keeps_no_other_unconfirmed(tmp_path: Path) -> None:
    (tmp_path / "image").touch()
    poison, stored = (
        Delivery(number, number, "pacs", "image", "1.2", f"1.2.{number}", state, 0, "")
        for number, state in ((1, "pending"), (2, "sent"))
    )
    spool, sender, counts, faults = (MagicMock() for _ in range(4))
    spool.due.return_value, spool.unconfirmed.return_value = [poison], [stored]
    spool.file.return_value = tmp_path / "image"
    sender.store.return_value, sender.confirm.return_value = {1: Unreachable("association-lost")}, {2: True}
    destination = Destination(name="pacs", kind="dimse", ae_title="PACS", host="127.0.0.1", port=104, timeout_s=5)
    assert not SendStep(spool, destination, sender, Work(), counts, faults)(), "the destination is given time"
    spool.confirmed.assert_called_once_with([2])
    counts.reached.assert_called_once_with("pacs", up=False)


def test_a_pacs_that_refuses_an_object_makes_a_dead_letter_that_can_be_tried_again(tmp_path: Path) -> None:
    pacs = Pacs()
    pacs.answer = lambda _event: 0xA700
    try:
        with running(tmp_path / "spool", to(pacs), work={"most_attempts": 3}) as gateway:
            assert store(gateway.port, source()) == 0
            died = "lamegan_gateway_deliveries_total"
            eventually(lambda: gateway.metric(died, destination="pacs", outcome="dead") == 2)  # image and report
            assert gateway.count("dead") == 1
            eventually(lambda: has_fault(gateway, "pacs", "status-a700"))
            assert gateway.metric("lamegan_gateway_set_aside", state="dead", reason="status-a700") == 1
            pacs.answer = lambda _event: 0
            eventually((tmp_path / "spool" / "dead" / "1" / "original.dcm").exists)
            gateway.gateway.spool.revive()
            arrives_once_mended(gateway, pacs)
    finally:
        pacs.stop()


def test_a_pacs_that_rejects_our_title_gets_the_object_when_it_knows_us(tmp_path: Path) -> None:
    pacs = Pacs(allowed=("SOMEBODY",))
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: has_fault(gateway, "pacs", "rejected", lasting=True))
            pacs.server.ae.require_calling_aet = []
            arrives_once_mended(gateway, pacs)
    finally:
        pacs.stop()


def test_a_pacs_with_a_wrong_certificate_gets_nothing_until_it_has_the_right_one(tmp_path: Path) -> None:
    ours, strange = Authority(tmp_path / "ours", "ours"), Authority(tmp_path / "strange", "strange")

    def server(authority: Authority) -> ssl.SSLContext:
        own, own_key = authority.issue("pacs")
        return Tls(certificate=own, key=own_key).server()

    pacs = Pacs(tls=server(strange))
    try:
        with running(tmp_path / "spool", to(pacs, tls={"ca": ours.ca})) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: has_fault(gateway, "pacs", "tls", lasting=True))
            assert gateway.metric("lamegan_gateway_destination_up", destination="pacs") == 0
            assert pacs.got == {}
            pacs.server.ssl_context = server(ours)
            arrives_once_mended(gateway, pacs)
    finally:
        pacs.stop()


def tell(status: int, kind: str, body: bytes) -> Callable[[Any], bool]:
    def answer(handler: Any) -> bool:
        handler.tell(body, status, kind)
        return True

    return answer


def say_nothing(_handler: Any) -> bool:
    time.sleep(5)
    return True


def hang_up(handler: Any) -> bool:
    handler.connection.shutdown(socket.SHUT_RDWR)
    return True


@pytest.mark.parametrize(
    ("answer", "reason", "confirm"),
    [
        (tell(503, "text/plain", b"Busy"), "http-503", "look"),
        (tell(401, "text/plain", b"Who are you?"), "http-401", "look"),
        (tell(200, "text/html", b"<h1>Please log in</h1>"), "nonsense-answer", "store"),
        (tell(200, "application/dicom+json", b'["what", 1]'), "nonsense-answer", "store"),
        (say_nothing, "no-answer", "look"),
        (hang_up, "no-connection", "look"),
    ],
    ids=["busy", "token", "login", "nonsense", "late", "closes"],
)
def test_a_dicomweb_server_that_fails_in_any_way_gets_the_object_when_it_works(
    answer: Callable[[Any], bool], reason: str, confirm: str, tmp_path: Path
) -> None:
    pacs = WebPacs()
    pacs.answer = answer
    to_web = {"name": "pacs", "kind": "stow", "url": pacs.url, "confirm": confirm, "timeout_s": 3}
    try:
        with running(tmp_path / "spool", to_web) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: has_fault(gateway, "pacs", reason, lasting=True))
            assert gateway.count("enhanced") == 1
            pacs.answer = lambda _handler: False
            arrives_once_mended(gateway, pacs)
    finally:
        pacs.stop()


def test_a_dicomweb_server_that_refuses_makes_a_dead_letter(tmp_path: Path) -> None:
    pacs = WebPacs()
    pacs.answer = tell(400, "text/plain", b"No.")
    try:
        to_web = {"name": "pacs", "kind": "stow", "url": pacs.url, "timeout_s": 60}
        with running(tmp_path / "spool", to_web, work={"most_attempts": 2}) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: gateway.count("dead") == 1)
            assert gateway.metric("lamegan_gateway_set_aside", state="dead", reason="http-400") == 1
    finally:
        pacs.stop()


# --- the machine


def test_a_clock_set_back_delays_nothing_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs = Pacs()
    pacs.answer = lambda _event: 0xA700
    real, back_s = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() - back_s[0])
    try:
        waits = {"first_wait_s": 100, "longest_wait_s": 100}
        with running(tmp_path / "spool", to(pacs), work=waits) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: has_fault(gateway, "pacs", "status-a700"))
            pacs.answer = lambda _event: 0
            back_s[0] = 86_400.0
            arrives_once_mended(gateway, pacs)
            eventually(lambda: has_fault(gateway, "clock", "moved-back"))
    finally:
        pacs.stop()


def test_a_clock_set_ahead_delays_nothing_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pacs = Pacs()
    real, ahead_s = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: real() + ahead_s[0])
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            ahead_s[0] = 86_400.0
            eventually(lambda: has_fault(gateway, "clock", "moved-ahead"))
            assert store(gateway.port, source()) == 0
            arrives_once_mended(gateway, pacs)
            ahead_s[0] = 0.0
            eventually(lambda: has_fault(gateway, "clock", "moved-back"))
            assert store(gateway.port, source(2)) == 0
            eventually(lambda: gateway.count("done") == 2)
    finally:
        pacs.stop()


def test_an_index_without_room_refuses_objects_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    pacs = Pacs()
    try:
        with running(tmp_path / "spool", to(pacs)) as gateway:
            rows = gateway.gateway.spool._rows
            (pages,) = rows.execute("PRAGMA page_count").fetchone()
            rows.execute(f"PRAGMA max_page_count = {pages}")
            stored = 0
            while (status := store(gateway.port, source(1, SOPInstanceUID=f"2.25.1{stored:030d}"))) == 0:
                stored += 1
            assert status == 0xA700
            rows.execute("PRAGMA max_page_count = 1000000")
            eventually(lambda: has_fault(gateway, "listener", "not-spooled"))
            assert store(gateway.port, source(1, SOPInstanceUID="2.25.77")) == 0
            eventually(lambda: gateway.count("done") == stored + 1)
            assert len(pacs.got) == 2 * (stored + 1)
    finally:
        pacs.stop()


def test_no_room_for_what_is_made_waits_and_counts_against_nothing(tmp_path: Path) -> None:
    pacs = Pacs()
    try:
        with running(tmp_path / "spool", to(pacs), work={"most_attempts": 1}) as gateway:
            home = tmp_path / "spool" / "objects" / "1"
            home.mkdir()
            (home / ".report.dcm.partial").symlink_to("/dev/full")  # takes one writing
            assert store(gateway.port, source()) == 0
            eventually(lambda: gateway.count("done") == 1)
            assert gateway.metric("lamegan_gateway_processed_total", outcome="retried") == 1
            assert gateway.metric("lamegan_gateway_processed_total", outcome="dead") == 0
            assert len(pacs.got) == 2
    finally:
        pacs.stop()


class Failing(EchoEnhancer):
    """Fails on the first object as software with a fault does."""

    def enhance(self, body: bytes, *arguments: Any, **options: Any) -> Any:
        if body == source(1):
            raise KeyError("planted")
        return super().enhance(body, *arguments, **options)


def test_a_fault_of_ours_in_one_object_makes_a_dead_letter_and_holds_up_no_other(tmp_path: Path) -> None:
    pacs = Pacs()
    try:
        work = {"most_attempts": 2, "threads": 1}
        with running(tmp_path / "spool", to(pacs), work=work, enhancer=Failing()) as gateway:
            gateway.gateway.spool.add("2.25.9001", "1.2.840.10008.5.1.4.1.1.77.1.1", source(1))
            assert store(gateway.port, source(2)) == 0
            eventually(lambda: (gateway.count("done"), gateway.count("dead")) == (1, 1))
            assert gateway.metric("lamegan_gateway_set_aside", state="dead", reason="internal-error") == 1
    finally:
        pacs.stop()


def test_a_file_that_the_disk_damaged_is_a_dead_letter_and_holds_up_no_other(tmp_path: Path) -> None:
    pacs = Pacs()
    pacs.answer = lambda _event: 0xA700
    try:
        with running(tmp_path / "spool", to(pacs), work={"most_attempts": 4}) as gateway:
            assert store(gateway.port, source()) == 0
            eventually(lambda: has_fault(gateway, "pacs", "status-a700"))
            (tmp_path / "spool" / "objects" / "1" / "image.dcm").write_bytes(b"\0" * 500)
            pacs.answer = lambda _event: 0
            assert store(gateway.port, source(2)) == 0
            eventually(lambda: (gateway.count("done"), gateway.count("dead")) == (1, 1))
            assert gateway.metric("lamegan_gateway_set_aside", state="dead", reason="file-unreadable") == 1
    finally:
        pacs.stop()


# --- routing


def test_each_verdict_goes_where_the_destination_says(tmp_path: Path) -> None:
    archive, ward, research = Pacs(), Pacs(), Pacs()
    only = {"pass": ["image"], "constrained": [], "withheld": []}
    whole = {"pass": [], "constrained": ["image", "report", "original"], "withheld": ["report", "original"]}
    routes = (to(archive, "archive"), to(ward, "ward", send=only), to(research, "research", send=whole))
    verdicts = ("pass", "constrained", "withheld")
    try:
        with running(tmp_path / "spool", *routes) as gateway:
            for seed, verdict in enumerate(verdicts, 1):
                assert store(gateway.port, source(seed, SeriesDescription=verdict)) == 0
            eventually(lambda: gateway.count("done") == len(verdicts))
            originals = {f"2.25.{9000 + seed}" for seed in (2, 3)}
            assert len(archive.got) == 2 + 2 + 1  # withheld: the report alone
            assert len(ward.got) == 1
            assert set(ward.got) < set(archive.got)
            assert len(research.got) == 3 + 2
            assert originals < set(research.got)
            assert set(research.got) - originals < set(archive.got)
    finally:
        for pacs in (archive, ward, research):
            pacs.stop()
