"""Sentinel names go in through every door; nothing that comes out may hold one."""

from __future__ import annotations

import json
import socket
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from PIL import Image, PngImagePlugin

from tests import dicom_files, models
from tests.integration.command import command
from tests.integration.test_tracing import collecting
from tests.live import PATIENCE_S, LiveService, encoded, scene, wait_until

SENTINEL = "Gertrud-Sentinella"
PHOTO = Image.fromarray(scene(96, 80))


def marked_jpeg() -> bytes:
    """A JPEG with the name in its EXIF description, artist and GPS fields, and in a comment."""
    fields = Image.Exif()
    fields[0x010E] = fields[0x013B] = SENTINEL
    fields.get_ifd(0x8825)[0x001D] = SENTINEL
    buffer = BytesIO()
    PHOTO.save(buffer, "JPEG", exif=fields, comment=SENTINEL.encode())
    return buffer.getvalue()


def marked_png() -> bytes:
    """A PNG with the name in a text chunk."""
    text = PngImagePlugin.PngInfo()
    text.add_text("Patient", SENTINEL)
    buffer = BytesIO()
    PHOTO.save(buffer, "PNG", pnginfo=text)
    return buffer.getvalue()


def marked_tiff() -> bytes:
    """A TIFF with the name in its description."""
    buffer = BytesIO()
    PHOTO.save(buffer, "TIFF", description=SENTINEL)
    return buffer.getvalue()


def send_through_every_door(client: httpx.Client) -> list[httpx.Response]:
    images = [marked_jpeg(), marked_png(), marked_tiff()]
    damaged = [image[: len(image) * 2 // 3] for image in images]
    name = f"{SENTINEL}.jpg"
    plain = encoded(scene(96, 80))
    answers = []
    for body in (*images, *damaged, SENTINEL.encode(), plain + SENTINEL.encode()):
        for accept in ("*/*", "application/json"):
            query = "?map=true" if accept == "application/json" else ""
            answers.append(client.post(f"/enhance{query}", content=body, headers={"accept": accept}))
            answers.append(client.post("/enhance", files={"file": (name, body)}, headers={"accept": accept}))
        answers.append(client.post("/score", files={"output": (name, body), "input": (name, plain)}))
    odd_headers = {
        "user-agent": SENTINEL,
        "referer": f"http://{SENTINEL}/",
        "cookie": f"name={SENTINEL}",
        "authorization": f"Bearer {SENTINEL}",
        "x-patient": SENTINEL,
        "accept-language": SENTINEL,
    }
    requests: list[tuple[str, str, dict[str, object]]] = [
        ("POST", "/enhance", {"files": {SENTINEL: plain}}),
        ("POST", "/enhance", {"files": {"file": (name, plain, f"image/{SENTINEL}")}}),
        ("POST", "/enhance", {"content": plain, "headers": {"content-type": f"image/{SENTINEL}"}}),
        ("POST", "/enhance", {"content": plain, "headers": {"content-encoding": SENTINEL}}),
        ("POST", "/enhance", {"content": plain, "headers": odd_headers}),
        ("POST", "/enhance", {"content": plain, "headers": {"accept": f"application/{SENTINEL}"}}),
        (
            "POST",
            "/enhance",
            {"content": plain, "headers": {"content-type": f"multipart/form-data;boundary={SENTINEL}"}},
        ),
        *(("POST", f"/enhance?{option}={SENTINEL}", {"content": plain}) for option in ("model", "format", "policy")),
        *(("POST", f"/enhance?{option}={SENTINEL}", {"content": plain}) for option in ("quality", "map", "nothing")),
        ("POST", f"/enhance?{SENTINEL}=1", {"content": plain}),
        ("POST", f"/score?{SENTINEL}=1", {}),
        *(("GET", path, {}) for path in (f"/{SENTINEL}", f"/page/{SENTINEL}.css", f"/models?{SENTINEL}=1")),
        ("DELETE", f"/{SENTINEL}", {}),
    ]
    return answers + [client.request(method, path, **facts) for method, path, facts in requests]  # type: ignore[arg-type]


def test_no_name_comes_out_of_any_door(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.brighten(12))
    log = tmp_path / "log"
    with command(tmp_path / "models", log, LAMEGAN_LOG_LEVEL="debug") as running:
        url = running.ready_url()
        with httpx.Client(base_url=url, timeout=PATIENCE_S, trust_env=False) as client:
            answers = send_through_every_door(client)
            named = client.get("/models", headers={"x-request-id": SENTINEL})
            with socket.create_connection(("127.0.0.1", int(url.rsplit(":", 1)[1])), PATIENCE_S) as raw:
                raw.sendall(f"{SENTINEL} / HTTP/1.1\r\n\r\n".encode())
                refusal = raw.recv(65536)
            metrics = client.get("/metrics").text
    assert {answer.status_code for answer in answers} >= {200, 404, 415, 422}
    assert SENTINEL.encode() not in refusal
    for answer in answers:
        assert SENTINEL.encode() not in answer.content
        assert SENTINEL not in str(answer.headers)
    assert SENTINEL not in metrics
    assert named.headers["x-request-id"] == SENTINEL  # the client's own mark goes back to it, and nowhere else
    logged = log.read_text()
    assert SENTINEL not in logged
    assert "Sentinella" not in logged
    assert len(logged.splitlines()) > len(answers)
    for line in logged.splitlines():
        json.loads(line)


def test_no_attribute_of_a_dicom_object_comes_out_in_log_metric_trace_audit_or_error(tmp_path: Path) -> None:
    models.install(tmp_path / "models", models.brighten(12))
    log, audit = tmp_path / "log", tmp_path / "audit"
    good = [dicom_files.as_file(dicom_files.endoscopic()), dicom_files.as_file(dicom_files.multi_frame(2))]
    refused = [
        dicom_files.as_file(dicom_files.endoscopic(PixelData=b"\0\0")),
        dicom_files.as_file(dicom_files.endoscopic(SOPClassUID="1.2.840.10008.5.1.4.1.1.2")),
        good[0][:900],
    ]
    with collecting() as collector:
        watched = {
            "LAMEGAN_AUDIT_DIR": str(audit),
            "LAMEGAN_OTEL_ENDPOINT": collector.endpoint,
            "NO_PROXY": "127.0.0.1",
        }
        with (
            command(tmp_path / "models", log, LAMEGAN_LOG_LEVEL="debug", **watched) as running,
            httpx.Client(base_url=running.ready_url(), timeout=PATIENCE_S, trust_env=False) as client,
        ):
            kind = {"content-type": "application/dicom"}
            made = [client.post("/enhance", content=body, headers=kind) for body in good]
            problems = [client.post("/enhance", content=body, headers=kind) for body in refused]
            metrics = client.get("/metrics").text
            wait_until(lambda: len(collector.spans) > len(good))
    assert [answer.status_code for answer in made] == [200, 200]
    assert dicom_files.SENTINEL.encode() in made[0].content  # the object itself stays the patient's
    assert {answer.status_code for answer in problems} <= {415, 422}
    audited = "".join(path.read_text() for path in audit.iterdir())
    assert audited.count("lassim") >= len(good)
    told = [log.read_text(), metrics, audited, *map(str, collector.spans)]
    told += [answer.text + str(answer.headers) for answer in problems] + [str(answer.headers) for answer in made]
    for text in told:
        assert dicom_files.SENTINEL not in text


@pytest.mark.parametrize("form", ["same", "jpeg", "png", "webp"])
def test_answers_carry_pixels_alone(tmp_path: Path, form: str) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path) as live:
        for body in (marked_jpeg(), marked_png(), marked_tiff()):
            answer = live.http.post(f"/enhance?format={form}", content=body)
            with Image.open(BytesIO(answer.content)) as image:
                assert not dict(image.getexif()) or answer.headers["content-type"] == "image/tiff"
                assert SENTINEL.encode() not in answer.content
