"""Parts of a gateway for tests that are not about the model."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pydicom
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from service.dicom.answer import ObjectEnhancer
from service.dicom.derived import write
from service.dicom.gateway.config import GatewayConfig
from service.dicom.gateway.gateway import Gateway
from service.dicom.gateway.status import as_page, as_table, status
from service.dicom.identity import Making
from service.dicom.served import STUDY_ROOT_FIND
from service.dicom.source import read_source
from service.monitoring.gateway_metrics import GatewayMetrics
from tests.dicom_files import SENTINEL

PATIENCE_S = 240.0


class EchoEnhancer:
    """Stands in for `DicomEnhancer`: image and report are small objects with UIDs derived as the real ones are.

    The verdict is said by the object's Series Description, and is `pass` without.
    """

    def enhance(self, body: bytes, options: Any = None, patience: Any = None, made_at: datetime | None = None) -> Any:
        source = read_source(body, max_pixels=10**6)
        making = Making("tiny/1.0.0", "0" * 64, "constrain")
        made = []
        for kind in ("image", "report"):
            copy = read_source(body, max_pixels=10**6).dataset
            copy.SOPInstanceUID = making.uid(kind, source.sop_instance)
            copy.ContentDate = "20260102"
            made.append(write(copy))
        said = str(source.dataset.get("SeriesDescription", ""))
        verdict = said if said in ("constrained", "withheld") else "pass"
        judgement = SimpleNamespace(lassim=1.0, verdict=SimpleNamespace(value=verdict))
        worst = SimpleNamespace(judgement=judgement, model="tiny/1.0.0", model_sha256="0" * 64)
        image = None if verdict == "withheld" else made[0]
        return SimpleNamespace(image=image, report=made[1], worst=worst, frames=1)

    def render(self, body: bytes, options: Any, patience: Any = None) -> Any:
        raise NotImplementedError


class Pacs:
    """A real SCP that remembers what it stored; `answer` says what it does with an object."""

    def __init__(self, port: int = 0, tls: ssl.SSLContext | None = None, allowed: tuple[str, ...] = ()) -> None:
        self.got: dict[str, set[bytes]] = {}
        self.answer: Callable[[evt.Event], int] = lambda _event: 0
        entity = AE("PACS")
        entity.require_calling_aet = list(allowed)
        for context in AllStoragePresentationContexts:
            entity.add_supported_context(str(context.abstract_syntax))
        entity.add_supported_context(STUDY_ROOT_FIND)
        handlers: list[evt.EventHandlerType] = [(evt.EVT_C_STORE, self._store), (evt.EVT_C_FIND, self._find)]
        self.server = entity.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers, ssl_context=tls)
        self.port = int(self.server.server_address[1])

    def _store(self, event: evt.Event) -> int:
        status = self.answer(event)
        if status == 0:
            self.got.setdefault(str(event.request.AffectedSOPInstanceUID), set()).add(event.encoded_dataset())
        return status

    def _find(self, event: evt.Event) -> Iterator[tuple[int, Any]]:
        if str(event.identifier.SOPInstanceUID) in self.got:
            yield 0xFF00, event.identifier

    def stop(self) -> None:
        self.server.shutdown()


class RawServer:
    """Takes TCP connections and says `words` to each, then waits for its end."""

    def __init__(self, words: bytes = b"") -> None:
        self._words = words
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            if self._words:
                connection.sendall(self._words)

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)
        for connection in self._open:
            connection.close()


class WebPacs:
    """A DICOMweb server with the two services that the gateway asks for; `answer` may say something else instead."""

    def __init__(self) -> None:
        self.got: dict[str, set[bytes]] = {}
        self.answer: Callable[[Any], bool] = lambda _handler: False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if outer.answer(self):
                    return
                start, end = body.index(b"\r\n\r\n") + 4, body.rindex(b"\r\n--")
                file = body[start:end]
                uid = str(pydicom.dcmread(BytesIO(file)).SOPInstanceUID)
                outer.got.setdefault(uid, set()).add(file)
                self.tell(b'{"00081199": {"vr": "SQ", "Value": []}}')

            def do_GET(self) -> None:
                if outer.answer(self):
                    return
                uid = self.path.partition("SOPInstanceUID=")[2].partition("&")[0]
                found = [{"00080018": {"vr": "UI", "Value": [uid]}}] if uid in outer.got else []
                self.tell(json.dumps(found).encode())

            def tell(self, body: bytes, status: int = 200, kind: str = "application/dicom+json") -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self._thread.join()
        self.server.server_close()


class Running:
    """A gateway in this process."""

    def __init__(self, gateway: Gateway, metrics: GatewayMetrics) -> None:
        self.gateway, self._metrics = gateway, metrics
        assert gateway.listener is not None
        self.port = gateway.listener.port

    def count(self, state: str) -> int:
        count: int = self.gateway.spool.counts()[state][0]  # type: ignore[index]
        return count

    def faults(self) -> dict[tuple[str, str], tuple[int, bool]]:
        told = status(self.gateway.spool)["faults"]
        return {(one["place"], one["reason"]): (one["count"], one["lasting"]) for one in told}

    def metric(self, name: str, **labels: str) -> float:
        value = self._metrics.registry.get_sample_value(name, labels)
        return -1.0 if value is None else value


def to(pacs: Any, name: str = "pacs", **options: Any) -> dict[str, Any]:
    """A destination that speaks DIMSE, and is trusted."""
    address = {"ae_title": "PACS", "host": "127.0.0.1", "port": pacs.port}
    return {"name": name, "kind": "dimse", "confirm": "store", "timeout_s": 60, **address, **options}


@contextmanager
def running(
    folder: Path,
    *destinations: dict[str, Any],
    listen: dict[str, Any] | None = None,
    work: dict[str, Any] | None = None,
    enhancer: ObjectEnhancer | None = None,
) -> Iterator[Running]:
    config = GatewayConfig.model_validate(
        {
            "listen": {"port": 0, "allowed_calling": ["*"], **(listen or {})},
            "spool": {"folder": folder, "least_free_bytes": 0},
            "work": {"first_wait_s": 0.05, "longest_wait_s": 0.2, **(work or {})},
            "destination": list(destinations),
        }
    )
    metrics = GatewayMetrics()
    gateway = Gateway(config, enhancer or EchoEnhancer(), metrics)
    gateway.start()
    try:
        yield Running(gateway, metrics)
        told = status(gateway.spool)
        shown = [json.dumps(told), as_table(told), as_page(told).decode(), metrics.exposition().decode()]
        assert not [text for text in shown if SENTINEL in text]
    finally:
        gateway.stop()


def store(port: int, body: bytes, tls: ssl.SSLContext | None = None, calling: str = "SENDER") -> int:
    """The status of a C-STORE of `body`; -1 without an association or a response."""
    dataset = pydicom.dcmread(BytesIO(body))
    entity = AE(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 60
    entity.add_requested_context(str(dataset.SOPClassUID), dataset.file_meta.TransferSyntaxUID)
    arguments = (tls, "127.0.0.1") if tls else None
    association = entity.associate("127.0.0.1", port, ae_title="LAMEGAN", tls_args=arguments)  # type: ignore[arg-type]
    try:
        if not association.is_established:
            return -1
        answer = association.send_c_store(dataset)
        return int(answer.Status) if "Status" in answer else -1
    except (RuntimeError, ValueError):
        return -1
    finally:
        if association.is_established:
            association.release()


def send_raw(association: Association, sop_class: UID, sop_instance: str, dataset: bytes) -> int:
    """C-STORE of `dataset` as it is, which no DICOM library would send."""
    request = C_STORE()
    request.MessageID, request.Priority = 1, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, UID(sop_instance)
    request.DataSet = BytesIO(dataset)
    (context,) = (one for one in association.accepted_contexts if one.abstract_syntax == sop_class)
    association._reactor_checkpoint.clear()
    association.dimse.send_msg(request, int(context.context_id or 0))
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(answer.Status)  # type: ignore[union-attr]
