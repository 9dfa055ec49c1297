"""The page at / in a real Chromium, against a live service."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image
from playwright.sync_api import Browser, CDPSession, Locator, Page, Request, expect, sync_playwright

from service.api.limits.api_keys import key_line
from service.api.routes.pages import PAGE_FOLDER
from tests import models
from tests.conftest import ROOT
from tests.live import LiveService, decoded, encoded, frozen, scene, wait_until

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("browser")]

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
DESKTOP: dict[str, Any] = {"viewport": {"width": 1280, "height": 800}}

Open = Callable[..., Page]
DONE = re.compile("^(Structure kept|Nothing needed changing)$")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=30_000)
    assert Path(CHROMIUM).exists(), "Debian's chromium is not installed (make system)"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Opens the page of a service; at the end, fails if the page broke a rule of its own or called elsewhere."""
    complaints: list[str] = []
    contexts = []

    def open_one(service: LiveService, **device: Any) -> Page:
        context = browser.new_context(**(device or DESKTOP))
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("pageerror", lambda error: complaints.append(f"script: {error}"))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda request: _stays_here(request, service.url, complaints))
        page.goto(service.url)
        return page

    yield open_one
    for context in contexts:
        context.close()
    assert complaints == []


def _stays_here(request: Request, url: str, complaints: list[str]) -> None:
    if not request.url.startswith((url, "blob:", "data:")):
        complaints.append(f"asked {request.url}")


@contextmanager
def serving(root: Path, model: onnx.ModelProto, floors: Any = models.STRICT, **settings: Any) -> Iterator[LiveService]:
    models.install(root, model, "tiny", "1.0.0", floors=floors)
    with LiveService(root, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """A service that brightens a little, which keeps every threshold."""
    with serving(tmp_path_factory.mktemp("models"), models.brighten(6)) as service:
        yield service


def choose(page: Page, content: bytes, name: str = "throat.png", media_type: str = "image/png") -> None:
    page.locator("#choose").set_input_files({"name": name, "mimeType": media_type, "buffer": content})


def verdict(page: Page) -> Locator:
    return page.get_by_role("heading", level=2).locator("visible=true").first


def test_the_sample_is_enhanced_on_phone_and_desktop(plain: LiveService, open_page: Open) -> None:
    for device in (PHONE, DESKTOP):
        page = open_page(plain, **device)
        page.get_by_role("button", name="Try a drawn sample").click()
        expect(verdict(page)).to_have_text(DONE)
        expect(page.get_by_role("status")).to_contain_text(
            re.compile(r"Done\. Structure kept\. Structure score [01]\.\d")
        )
        expect(page.get_by_text("Not a medical device")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
        for image in ("#before", "#after"):
            assert page.eval_on_selector(image, "i => i.complete && i.naturalWidth") == 960


def test_the_slider_moves_by_keyboard_and_really_shows_before_and_after(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    choose(page, encoded(np.full((272, 480, 3), 100, np.uint8)))
    slider = page.get_by_role("slider")
    expect(slider).to_be_visible()

    def grey_of_the_picture() -> tuple[int, int]:
        shot = decoded(page.locator("#stage").screenshot())
        row = shot[shot.shape[0] * 3 // 4, :, 0]
        return int(row[shot.shape[1] // 8]), int(row[-shot.shape[1] // 8])

    assert grey_of_the_picture() == (100, 106)
    page.keyboard.press("End")  # the slider has the focus once the result is there
    assert grey_of_the_picture() == (100, 100)
    page.keyboard.press("Home")
    assert grey_of_the_picture() == (106, 106)
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_value("1")
    expect(slider).to_have_attribute("aria-valuetext", "1 % of the width shows the photo as sent")


def test_the_slider_follows_the_mouse(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    choose(page, encoded(scene()))
    expect(page.get_by_role("slider")).to_be_visible()
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    page.mouse.click(stage["x"] + stage["width"] * 0.25, stage["y"] + 30)
    assert abs(int(page.get_by_role("slider").input_value()) - 25) <= 1
    divider = page.locator(".divider").bounding_box()
    assert divider is not None
    assert divider["x"] - stage["x"] == pytest.approx(stage["width"] * 0.25, abs=0.02 * stage["width"])


@pytest.mark.parametrize(
    ("model", "floors", "policy", "title", "words"),
    [
        (models.brighten(6), models.STRICT, "constrain", "Structure kept", "is within this model's limits"),
        (models.identity(), models.STRICT, "constrain", "Nothing needed changing", "left this photo as it was"),
        (models.brighten(40), models.STRICT, "constrain", "Structure kept, enhanced less", "was mixed back in"),
        (models.noise(), models.STRICT, "withhold", "Not enhanced", "This is the original, untouched"),
        (models.noise(), models.STRICT, "annotate", "Changed too much", "do not rely on it"),
        (models.noise(), None, "constrain", "Structure kept, enhanced less", "was mixed back in"),
    ],
    ids=["pass", "untouched", "constrained", "withheld", "annotated", "uncalibrated"],
)
def test_each_verdict_is_said_in_plain_words(
    tmp_path: Path, open_page: Open, model: onnx.ModelProto, floors: Any, policy: str, title: str, words: str
) -> None:
    with serving(tmp_path, model, floors, policy=policy) as service:
        page = open_page(service)
        choose(page, encoded(scene()))
        expect(verdict(page)).to_have_text(title)
        expect(page.locator("#verdict-words")).to_contain_text(words)


def test_the_worst_place_is_marked_where_the_model_painted_a_lesion(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.lesion(), models.LOOSE) as service:
        page = open_page(service)
        choose(page, encoded(scene()))
        expect(page.get_by_text("In the middle of the photo")).to_be_visible()
        expect(page.locator("#place")).to_be_hidden()
        page.get_by_label("Most changed place").check()
        place, stage = page.locator("#place").bounding_box(), page.locator("#stage").bounding_box()
        assert place is not None
        assert stage is not None
        middle = stage["x"] + stage["width"] / 2, stage["y"] + stage["height"] / 2
        assert place["x"] < middle[0] < place["x"] + place["width"]
        assert place["y"] < middle[1] < place["y"] + place["height"]


def test_the_heat_map_is_fetched_when_asked_for_and_colours_the_lesion(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.lesion(), models.LOOSE) as service:
        page = open_page(service)
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        choose(page, encoded(scene()))
        expect(verdict(page)).to_be_visible()
        assert not any("map=true" in url for url in asked)
        page.get_by_label("Heat map").focus()
        page.keyboard.press("Space")
        expect(page.locator("#map")).to_be_visible()
        expect(page.get_by_label("Heat map")).to_be_focused()
        assert sum("map=true" in url for url in asked) == 1
        page.get_by_role("slider").press("Home")
        shot = decoded(page.locator("#stage").screenshot()).astype(int)
        spread = np.ptp(shot, axis=2)  # grey where nothing changed, colour at the lesion
        height, width = spread.shape
        assert spread[height // 2 - 20 : height // 2 + 20, width // 2 + 40].max() > 60
        assert spread[height * 7 // 8, width // 8] < 10
        page.get_by_label("Heat map").uncheck()
        expect(page.locator("#map")).to_be_hidden()


def test_the_download_is_the_service_s_own_answer(plain: LiveService, open_page: Open) -> None:
    photo = encoded(scene(), ".jpg")
    page = open_page(plain)
    choose(page, photo, "visit 7.jpeg", "image/jpeg")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert download.value.suggested_filename == "visit 7.enhanced.jpg"
    answer = plain.http.post("/enhance", content=photo, headers={"content-type": "image/jpeg"})
    assert Path(download.value.path()).read_bytes() == answer.content


@pytest.mark.parametrize("way", ["drop", "paste"])
def test_a_photo_can_be_dropped_or_pasted(plain: LiveService, open_page: Open, way: str) -> None:
    page = open_page(plain)
    page.evaluate(
        """([way, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "a.png", { type: "image/png" }));
            const event = way === "drop"
                ? new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true })
                : new ClipboardEvent("paste", { clipboardData: data, bubbles: true });
            document.querySelector("#drop").dispatchEvent(event);
        }""",
        [way, list(encoded(scene(160, 96)))],
    )
    expect(verdict(page)).to_have_text(DONE)


DROP = """([bytes, names, pause]) => {
    const drop = (name) => {
        const data = new DataTransfer();
        for (const one of [name].flat()) {
            data.items.add(new File([new Uint8Array(bytes)], one, { type: "image/png" }));
        }
        const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        document.body.dispatchEvent(event);
    };
    names.forEach((name, index) => setTimeout(() => drop(name), index * pause));
}"""


def test_a_photo_that_follows_at_once_takes_the_place_of_the_first(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    for pause in (0, 3, 8):
        page.evaluate(DROP, [list(encoded(scene(960, 544))), ["a.png", "b.png", "c.png"], pause])
        expect(page.get_by_role("link", name="Download")).to_have_attribute("download", "c.enhanced.png")
        expect(verdict(page)).to_have_text(DONE)
        page.get_by_role("button", name="Another photo").locator("visible=true").click()


def test_several_photos_are_shown_in_a_row_and_none_is_sent_twice(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if "/enhance" in request.url else None)
    page.evaluate(DROP, [list(encoded(scene(160, 96))), [["one.png", "two.png", "three.png"]], 0])
    expect(page.get_by_text("Photo 1 of 3: one.png")).to_be_visible()
    expect(page.get_by_role("button", name="Previous")).to_be_disabled()
    for name in ("Photo 2 of 3: two.png", "Photo 3 of 3: three.png"):
        page.get_by_role("button", name="Next").click()
        expect(page.get_by_text(name)).to_be_visible()
    page.get_by_role("button", name="Previous").click()
    expect(page.get_by_text("Photo 2 of 3: two.png")).to_be_visible()
    expect(page.get_by_role("link", name="Download")).to_have_attribute("download", "two.enhanced.png")
    assert len(sent) == 3


def test_a_file_that_is_gone_is_no_fault_of_the_service(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    page.evaluate("() => { Blob.prototype.arrayBuffer = () => Promise.reject(new DOMException('', 'NotFoundError')); }")
    choose(page, encoded(scene()))
    expect(verdict(page)).to_have_text("This file cannot be read")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_it_works_where_the_browser_lets_a_page_store_nothing(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    page.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('no', 'SecurityError'); } })"
    )
    page.reload()
    choose(page, encoded(scene()))
    expect(verdict(page)).to_have_text(DONE)


def test_two_fingers_can_enlarge_the_photo_on_a_phone(plain: LiveService, open_page: Open) -> None:
    for device, takes in ((PHONE, "none"), (DESKTOP, "auto")):
        page = open_page(plain, **device)
        choose(page, encoded(scene()))
        expect(verdict(page)).to_have_text(DONE)
        assert page.eval_on_selector("#split", "one => getComputedStyle(one).pointerEvents") == takes


def shown_at(page: Page, image: str, left: float, top: float) -> tuple[float, float]:
    """Which place of a photo, in shares of its width and height, lies at (`left`, `top`) of the window."""
    box = page.locator(image).bounding_box()
    assert box is not None
    return (left - box["x"]) / box["width"], (top - box["y"]) / box["height"]


def enlarged(page: Page) -> float:
    return float(page.eval_on_selector("#stage", "one => one.style.getPropertyValue('--zoom') || 1"))


def test_the_wheel_enlarges_both_photos_at_the_place_under_the_mouse(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    choose(page, encoded(scene()))
    expect(verdict(page)).to_have_text(DONE)
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    at = stage["x"] + stage["width"] * 0.3, stage["y"] + stage["height"] * 0.6
    before = shown_at(page, "#before", *at)
    page.mouse.move(*at)
    page.mouse.wheel(0, -400)
    expect(page.locator("#zoom-level")).not_to_have_text("100 %")
    assert enlarged(page) > 2
    for image in ("#before", "#after"):
        assert shown_at(page, image, *at) == pytest.approx(before, abs=0.005)
    assert page.locator("#before").bounding_box() == page.locator("#after").bounding_box()
    page.mouse.wheel(0, 4000)
    expect(page.locator("#zoom-level")).to_have_text("100 %")
    expect(page.get_by_role("button", name="Smaller")).to_be_disabled()
    whole = page.locator("#before").bounding_box()
    assert whole is not None
    assert whole["width"] == pytest.approx(stage["width"], abs=2)


def touch(screen: CDPSession, kind: str, *places: tuple[float, float]) -> None:
    """Fingers as Chromium gets them of a touch screen."""
    points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(places)]
    screen.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def test_two_fingers_enlarge_both_photos_at_the_place_between_them(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain, **PHONE)
    choose(page, encoded(scene()))
    expect(verdict(page)).to_have_text(DONE)
    page.locator("#stage").scroll_into_view_if_needed()
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    x, y = stage["x"] + stage["width"] * 0.4, stage["y"] + stage["height"] * 0.25
    before = shown_at(page, "#before", x, y)
    screen = page.context.new_cdp_session(page)
    touch(screen, "touchStart", (x - 20, y), (x + 20, y))
    for apart in range(25, 65, 5):
        touch(screen, "touchMove", (x - apart, y), (x + apart, y))
    touch(screen, "touchEnd")
    expect(page.locator("#zoom-level")).not_to_have_text("100 %")
    assert enlarged(page) == pytest.approx(3, rel=0.1)
    assert page.evaluate("visualViewport.scale") == 1, "the whole page was enlarged"
    for image in ("#before", "#after"):
        assert shown_at(page, image, x, y) == pytest.approx(before, abs=0.02)
    moved = shown_at(page, "#before", x, y)
    touch(screen, "touchStart", (x, y))
    for by in range(5, 45, 5):
        touch(screen, "touchMove", (x - by, y))
    touch(screen, "touchEnd")
    assert shown_at(page, "#after", x, y)[0] > moved[0] + 0.02
    assert page.locator("#before").bounding_box() == page.locator("#after").bounding_box()


def test_a_phone_offers_its_camera_and_a_desktop_does_not(plain: LiveService, open_page: Open) -> None:
    phone, desktop = open_page(plain, **PHONE), open_page(plain, **DESKTOP)
    expect(phone.get_by_text("Take a photo")).to_be_visible()
    expect(desktop.get_by_text("Take a photo")).to_be_hidden()
    expect(phone.locator("#camera")).to_have_attribute("capture", "environment")
    phone.locator("#camera").set_input_files(
        {"name": "i.jpg", "mimeType": "image/jpeg", "buffer": encoded(scene(), ".jpg")}
    )
    expect(verdict(phone)).to_have_text(DONE)


def test_a_photo_taken_sideways_is_upright_on_both_sides(plain: LiveService, open_page: Open) -> None:
    sideways = Image.fromarray(scene(480, 272))
    exif = sideways.getexif()
    exif[0x0112] = 6  # orientation: turn right to see it upright
    file = BytesIO()
    sideways.save(file, "JPEG", exif=exif)
    page = open_page(plain)
    choose(page, file.getvalue(), "phone.jpg", "image/jpeg")
    expect(verdict(page)).to_have_text(DONE)
    for image in ("#before", "#after"):
        assert page.eval_on_selector(image, "i => [i.naturalWidth, i.naturalHeight]") == [272, 480]
    stage = page.locator("#stage").bounding_box()
    assert stage is not None
    assert stage["width"] / stage["height"] == pytest.approx(272 / 480, rel=0.01)
    assert stage["height"] < DESKTOP["viewport"]["height"]


def test_a_photo_that_the_browser_leaves_lying_is_not_compared(plain: LiveService, open_page: Open) -> None:
    sideways = Image.fromarray(scene(480, 272))
    exif = sideways.getexif()
    exif[0x0112] = 6
    file = BytesIO()
    sideways.save(file, "WEBP", exif=exif)
    page = open_page(plain)
    choose(page, file.getvalue(), "phone.webp", "image/webp")
    expect(verdict(page)).to_have_text(DONE)
    upright = page.eval_on_selector("#before", "i => i.naturalHeight > i.naturalWidth")  # Chromium does not turn WebP
    alone = page.eval_on_selector("#stage", "stage => stage.classList.contains('alone')")
    assert alone != upright


def test_a_format_the_browser_cannot_show_is_enhanced_all_the_same(plain: LiveService, open_page: Open) -> None:
    page = open_page(plain)
    choose(page, encoded(scene(), ".tiff"), "scan.tiff", "image/tiff")
    expect(page.locator("#verdict-words")).to_contain_text("only the result is on show")
    expect(page.get_by_role("slider")).to_be_hidden()
    expect(page.get_by_role("link", name="Download")).to_have_attribute("download", "scan.enhanced.png")


@pytest.mark.parametrize(
    ("content", "title", "hint"),
    [
        (b"not a picture at all, but words", "This type is not supported", "Send a photo as a phone"),
        (encoded(scene())[:9000], "The image cannot be decoded", "Take the photo again"),
        (encoded(scene(24, 24)), "The image's size is outside the limits", "another size"),
        (b"", "No image in the request", "Choose another one"),
        (bytes(2**20 + 1), "The photo is too large", "Send a smaller file"),
    ],
    ids=["415", "422-truncated", "422-small", "400", "413"],
)
def test_a_refusal_says_what_is_wrong_and_what_to_do(
    tmp_path: Path, open_page: Open, content: bytes, title: str, hint: str
) -> None:
    with serving(tmp_path, models.identity(), max_body_bytes=2**20) as service:
        page = open_page(service)
        expect(page.get_by_text("up to 1.0 MB")).to_be_visible()
        choose(page, content)
        expect(page.get_by_role("alert").get_by_role("heading")).to_have_text(title)
        expect(page.get_by_role("alert")).to_contain_text(hint)
        expect(page.get_by_role("button", name="Try again")).to_be_hidden()
        page.get_by_role("button", name="Another photo").click()
        choose(page, encoded(scene()))
        expect(verdict(page)).to_have_text(DONE)


def test_an_overloaded_service_is_tried_again_after_the_wait_it_asks_for(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.identity(), rate_per_key_per_s=0.2) as service:
        page = open_page(service)
        for _ in range(3):
            if service.http.post("/enhance", content=encoded(scene())).status_code == 429:
                break
        choose(page, encoded(scene()))
        again = page.get_by_role("button", name=re.compile("Try again"))
        expect(page.get_by_role("alert").get_by_role("heading")).to_have_text("This key has used its rate")
        expect(again).to_be_disabled()
        expect(again).to_have_text(re.compile(r"Try again in \d+ s"))
        expect(again).to_be_enabled()
        again.click()
        expect(verdict(page)).to_have_text(DONE)


def test_a_service_that_is_gone_is_said_to_be_out_of_reach(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.identity()) as service:
        page = open_page(service)
        expect(page.get_by_text("Model tiny 1.0.0")).to_be_visible()
    choose(page, encoded(scene()))
    expect(page.get_by_role("alert").get_by_role("heading")).to_have_text("The service cannot be reached")
    expect(page.get_by_role("button", name="Try again")).to_be_enabled()


def test_a_key_is_asked_for_once_and_kept_for_the_tab_alone(tmp_path: Path, open_page: Open) -> None:
    key, line = key_line("clinic")
    keys = tmp_path / "keys"
    keys.write_text(line + "\n")
    with serving(tmp_path / "models", models.identity(), keys_file=keys) as service:
        page = open_page(service)
        expect(page.get_by_text("This service asks for a key")).to_be_visible()
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(page.get_by_text("That key is not valid here")).to_be_visible()
        page.get_by_label("Key", exact=True).fill("sch\u00f6n")
        page.keyboard.press("Enter")
        expect(page.get_by_text("That is no key")).to_be_visible()
        page.get_by_label("Key", exact=True).fill(f" {key}\u200b")  # as it comes out of a letter
        page.get_by_role("button", name="Use this key").click()
        choose(page, encoded(scene()))
        expect(verdict(page)).to_have_text(DONE)
        page.reload()
        expect(page.get_by_text("Model tiny 1.0.0")).to_be_visible()
        assert page.evaluate("localStorage.length") == 0
        assert page.context.cookies() == []
        page.get_by_role("button", name="Forget the key").click()
        expect(page.get_by_text("This service asks for a key")).to_be_visible()


def test_it_shows_that_it_is_busy_and_can_be_cancelled(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.identity()) as service, frozen(service):
        page = open_page(service)
        choose(page, encoded(scene()))
        expect(page.get_by_role("status")).to_have_text("Enhancing the photo.")
        expect(page.get_by_text("Enhancing …")).to_be_visible()
        wait_until(lambda: service.service.gate.in_flight == 1)
        page.get_by_role("button", name="Cancel").click()
        expect(page.get_by_text("Choose a photo")).to_be_visible()
        wait_until(lambda: service.service.gate.in_flight == 0)


def test_a_page_left_open_judges_by_the_model_that_serves_now(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.identity(), models.LOOSE) as service:
        page = open_page(service)
        expect(page.get_by_text("Model tiny 1.0.0")).to_be_visible()
        models.install(tmp_path, models.brighten(6), "tiny", "2.0.0", floors=models.STRICT)
        service.service.store.activate("tiny/2.0.0")
        wait_until(lambda: service.service.model_pool.default == "tiny/2.0.0")
        choose(page, encoded(scene()))
        expect(verdict(page)).to_have_text(DONE)
        expect(page.get_by_text("Model tiny 2.0.0")).to_be_visible()


def test_a_heat_map_is_never_another_model_s(tmp_path: Path, open_page: Open) -> None:
    with serving(tmp_path, models.identity()) as service:
        page = open_page(service)
        choose(page, encoded(scene()))
        expect(verdict(page)).to_have_text(DONE)
        models.install(tmp_path, models.brighten(6), "tiny", "2.0.0", floors=models.STRICT)
        service.service.store.activate("tiny/2.0.0")
        wait_until(lambda: service.service.model_pool.default == "tiny/2.0.0")
        page.get_by_label("Heat map").click()
        expect(page.locator("#note")).to_have_text("Another model serves since, so the photo was enhanced again.")
        expect(page.locator("#details")).to_contain_text("tiny 2.0.0")
        expect(page.locator("#map")).to_be_hidden()


def test_it_follows_the_dark_scheme(plain: LiveService, open_page: Open) -> None:
    def ground(scheme: str) -> int:
        page = open_page(plain, color_scheme=scheme, **DESKTOP)
        return int(re.findall(r"\d+", page.evaluate("getComputedStyle(document.body).backgroundColor"))[0])

    assert ground("dark") < 40 < 200 < ground("light")


def test_nothing_is_inline_and_the_policy_forbids_it(plain: LiveService) -> None:
    answer = plain.http.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    markup = answer.text
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script(?![^>]*\ssrc=)|javascript:", markup)
    for source in re.findall(r'(?:src|href)="([^"]+)"', markup):
        assert not source.startswith("/")
        assert plain.http.get(f"/{source.removeprefix('./')}").status_code == 200
    for file in PAGE_FOLDER.iterdir():
        assert not re.search(rb"https?://(?!www\.w3\.org/2000/svg)", file.read_bytes()), file.name


def test_the_sample_on_the_page_is_the_one_in_the_docs() -> None:
    assert (PAGE_FOLDER / "sample.jpg").read_bytes() == (ROOT / "docs" / "samples" / "sample.jpg").read_bytes()


def test_a_protected_page_opens_with_the_key_as_the_browser_s_password(tmp_path: Path, open_page: Open) -> None:
    key, line = key_line("clinic")
    keys = tmp_path / "keys"
    keys.write_text(line + "\n")
    with serving(tmp_path / "models", models.identity(), keys_file=keys, protect_page=True) as service:
        page = open_page(service, **DESKTOP, http_credentials={"username": "clinic", "password": key})
        expect(page.get_by_text("This service asks for a key")).to_be_visible()
        page.get_by_label("Key", exact=True).fill(key)
        page.get_by_role("button", name="Use this key").click()
        page.get_by_role("button", name="Try a drawn sample").click()
        expect(verdict(page)).to_be_visible()
