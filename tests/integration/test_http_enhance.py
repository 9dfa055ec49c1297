"""POST /enhance and POST /score as a client sees them, over a live server."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest

from service.quality.lassim import lassim
from tests.live import LiveService, decoded, encoded, scene

PNG = encoded(scene())
JPEG = encoded(scene(), ".jpg")
STAGES = ["decode", "queue", "infer", "transfer", "score", "encode"]


def test_a_photo_comes_back_enhanced_in_its_own_format_and_size_with_every_header(brightening: LiveService) -> None:
    answer = brightening.http.post("/enhance", files={"file": ("photo.jpg", JPEG, "image/jpeg")})
    assert answer.status_code == 200
    headers = answer.headers
    assert headers["content-type"] == "image/jpeg"
    assert decoded(answer.content).shape == (272, 480, 3)
    assert re.fullmatch(r"[01]\.\d{4}", headers["lassim"])
    assert re.fullmatch(r"-?[01]\.\d{4}", headers["lassim-worst"])
    assert headers["lassim-verdict"] == "pass"
    assert headers["lassim-blend"] == "0.0000"
    assert headers["model"] == "tiny/1.2.0"
    weights = (brightening.settings.models_dir / "tiny/1.2.0/model.onnx").read_bytes()
    assert headers["model-digest"] == f"sha256={hashlib.sha256(weights).hexdigest()}"
    assert [entry.split(";")[0].strip() for entry in headers["server-timing"].split(",")] == STAGES
    assert re.fullmatch(r"[0-9a-f]{32}", headers["x-request-id"])
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_pixels_are_the_models(brightening: LiveService) -> None:
    answer = brightening.http.post("/enhance", content=PNG, headers={"content-type": "image/png"})
    change = decoded(answer.content).astype(int) - scene().astype(int)
    assert abs(np.median(change) - 12) <= 1


@pytest.mark.parametrize("size", [(480, 272), (65, 97), (1920, 1080), (1000, 333)])
def test_a_model_that_returns_its_input_makes_the_service_return_its_input(
    brightening: LiveService, size: tuple[int, int]
) -> None:
    image = scene(*size)
    answer = brightening.http.post("/enhance?model=other", content=encoded(image))
    assert answer.headers["model"] == "other/1.0.0"
    assert np.abs(decoded(answer.content).astype(int) - image).max() <= 1


def test_the_score_in_the_header_is_that_of_the_delivered_pixels(brightening: LiveService) -> None:
    answer = brightening.http.post("/enhance", content=PNG)
    expected = lassim(decoded(answer.content), scene(), scale="canonical")
    assert answer.headers["lassim"] == f"{expected:.4f}"


@pytest.mark.parametrize(
    ("body", "media"), [(PNG, "image/png"), (JPEG, "image/jpeg"), (encoded(scene(), ".webp"), "image/webp")]
)
def test_bare_and_multipart_bodies_give_the_same_bytes_every_time(
    brightening: LiveService, body: bytes, media: str
) -> None:
    bare = brightening.http.post("/enhance", content=body, headers={"content-type": media})
    sniffed = brightening.http.post("/enhance", content=body, headers={"content-type": "application/octet-stream"})
    part = brightening.http.post("/enhance", files={"file": ("a", body, media)})
    assert bare.headers["content-type"] == part.headers["content-type"] == media
    assert bare.content == part.content == sniffed.content


@pytest.mark.parametrize("wanted", ["jpeg", "png", "webp"])
def test_the_answer_comes_in_the_format_asked_for(brightening: LiveService, wanted: str) -> None:
    answer = brightening.http.post(f"/enhance?format={wanted}", content=PNG)
    assert answer.headers["content-type"] == f"image/{wanted}"
    assert decoded(answer.content).shape == (272, 480, 3)


def test_a_lower_quality_gives_a_smaller_file(brightening: LiveService) -> None:
    sizes = [len(brightening.http.post(f"/enhance?quality={q}", content=JPEG).content) for q in (20, 90)]
    assert sizes[0] < sizes[1]


def test_json_tells_the_same_facts_and_carries_the_same_image(brightening: LiveService) -> None:
    image = brightening.http.post("/enhance", content=PNG)
    facts = brightening.http.post("/enhance?map=true", content=PNG, headers={"accept": "application/json"}).json()
    assert base64.b64decode(facts["image"]["base64"]) == image.content
    assert (facts["image"]["media_type"], facts["image"]["width"], facts["image"]["height"]) == ("image/png", 480, 272)
    assert f"{facts['lassim']:.4f}" == image.headers["lassim"]
    assert f"{facts['worst']['value']:.4f}" == image.headers["lassim-worst"]
    assert facts["verdict"] == image.headers["lassim-verdict"]
    assert facts["model"]["digest"] == image.headers["model-digest"]
    assert list(facts["timing_ms"]) == STAGES
    box = facts["worst"]["box"]
    assert 0 <= box["left"] < box["right"] <= 480
    assert 0 <= box["top"] < box["bottom"] <= 272
    heat = decoded(base64.b64decode(facts["map"]["base64"]))
    assert heat.shape == (facts["map"]["height"], facts["map"]["width"], 3)


@pytest.mark.parametrize(
    ("accept", "media"),
    [
        ("*/*", "image/png"),
        ("image/*", "image/png"),
        ("image/webp,image/*;q=0.8,*/*;q=0.5", "image/png"),
        ("application/json", "application/json"),
        ("application/json, image/*;q=0.5", "application/json"),
        ("application/json;q=0.4, image/png", "image/png"),
        ("text/html, application/json;q=0.9, */*;q=0.1", "application/json"),
        ("application/json;q=bad", "image/png"),
        ("text/html", "image/png"),
    ],
)
def test_accept_chooses_between_image_and_json(brightening: LiveService, accept: str, media: str) -> None:
    answer = brightening.http.post("/enhance", content=PNG, headers={"accept": accept})
    assert answer.headers["content-type"] == media


@pytest.mark.parametrize("sent", ["abc", "A.b_c-9", "f" * 64, "3f2b8a54-6b0c-4c33-9a53-0d2f6f1f0b0a"])
def test_a_well_formed_request_id_is_echoed(brightening: LiveService, sent: str) -> None:
    assert brightening.http.get("/models", headers={"x-request-id": sent}).headers["x-request-id"] == sent


@pytest.mark.parametrize("sent", ["", "a b", "f" * 65, "näme", "<script>"])
def test_an_ill_formed_request_id_is_replaced(brightening: LiveService, sent: str) -> None:
    answer = brightening.http.get("/models", headers={"x-request-id": sent.encode()})  # type: ignore[dict-item]
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_two_images_are_scored(brightening: LiveService) -> None:
    output, given = scene(640, 360), scene(640, 360, seed=1)
    files = {"output": encoded(output), "input": encoded(given, ".bmp")}
    facts = brightening.http.post("/score?map=true", files=files).json()
    assert facts["lassim"] == pytest.approx(lassim(output, given, scale="canonical"), abs=1e-6)
    assert (facts["width"], facts["height"]) == (640, 360)
    assert decoded(base64.b64decode(facts["map"]["base64"])).shape == (360, 640, 3)
    same = brightening.http.post("/score", files={"output": PNG, "input": PNG}).json()
    assert same["lassim"] == 1
    assert same["map"] is None
    assert same["colour"] == {
        "delta_e_mean": 0,
        "delta_e_p95": 0,
        "redder_share": 0,
        "paler_share": 0,
        "redness_order": 1,
    }


def test_capabilities_tell_what_a_client_needs_before_it_uploads(brightening: LiveService) -> None:
    facts = brightening.http.get("/capabilities").json()
    assert facts["limits"]["max_body_bytes"] == brightening.settings.max_body_bytes
    assert facts["limits"]["max_pixels"] == brightening.settings.max_pixels
    assert facts["formats"]["input"][:5] == ["image/jpeg", "image/png", "image/webp", "image/tiff", "image/bmp"]
    assert facts["policy"] == {"default": "constrain", "allowed": ["constrain", "withhold"]}
    assert facts["providers"] == ["cpu"]
    assert [model["name"] for model in facts["models"]] == ["tiny", "other"]
    assert facts["models"][1]["floors"]["lassim"] == 0.9
    assert facts["models"] == brightening.http.get("/models").json()["models"]


def test_health_says_live_and_ready(brightening: LiveService) -> None:
    assert brightening.http.get("/health/live").json() == {"status": "live"}
    assert brightening.http.get("/health/ready").json() == {"status": "ready"}


def test_docs_need_nothing_from_elsewhere(brightening: LiveService) -> None:
    answer = brightening.http.get("/docs")
    assert "/enhance" in answer.text
    assert "<script" not in answer.text
    assert not re.search(r'(src|href)="(https?:)?//', answer.text)
    assert brightening.http.get("/page/docs.css").headers["content-type"] == "text/css; charset=utf-8"
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy
