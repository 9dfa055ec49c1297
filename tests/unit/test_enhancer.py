"""The way of a request, with real models that do one plain thing each."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from typer.testing import CliRunner

from model_training.data.phantom import phantom
from service.commands.main import app
from service.engine.engine import EngineOptions
from service.errors import (
    ClientGone,
    DeadlineExceeded,
    ImageDimensions,
    InferenceFailed,
    InvalidParameter,
    SelfTestFailed,
    UnknownModel,
)
from service.imaging.codecs import decode, encode
from service.imaging.content_area import find_content_area
from service.imaging.headers import SourceFormat
from service.pipeline import (
    MAP_SIDE,
    STAGES,
    Cancellation,
    Deadline,
    EnhanceDefaults,
    EnhanceOptions,
    Enhancer,
    check_scorable,
)
from service.pipeline.deadline import PixelBudget
from service.quality.guardrail import Verdict, measure, missed_floors
from service.quality.lassim import lassim
from service.registry.card import write_card
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from service.vocabulary import Policy
from tests import models
from tests.hostile import saved

ENGINE = EngineOptions(threads=1, streams=1)
FAULTS: dict[str, Callable[[], onnx.ModelProto]] = {
    "warps": models.warp,
    "paints a lesion": models.lesion,
    "shifts colour": models.colour_shift,
    "returns noise": models.noise,
}


@contextmanager
def enhancing(
    root: Path, model: onnx.ModelProto, defaults: EnhanceDefaults | None = None, **options: object
) -> Iterator[Enhancer]:
    models.install(root, model, **options)  # type: ignore[arg-type]
    with SingleModel(ModelStore(root), "tiny", ENGINE) as generators:
        yield Enhancer(generators, defaults)


@cache
def throat(width: int, height: int) -> NDArray[np.uint8]:
    """A drawn throat, enlarged with a little grain so that it has detail of its own at every size."""
    large = cv2.resize(phantom(480, 272, 3), (width, height), interpolation=cv2.INTER_CUBIC)
    grain = np.random.default_rng(width).normal(0, 4, (height, width, 1))
    return np.clip(large + grain, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enhancer]:
    with enhancing(tmp_path_factory.mktemp("identity"), models.identity()) as enhancer:
        yield enhancer


@pytest.fixture(scope="module")
def brighten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enhancer]:
    with enhancing(tmp_path_factory.mktemp("brighten"), models.brighten(12, 1.1)) as enhancer:
        yield enhancer


@cache
def on_a_screen() -> NDArray[np.uint8]:
    """A drawn throat as an octagon on a black 960x540 screen with text beside it."""
    screen = np.zeros((540, 960, 3), np.uint8)
    screen[20:520, 230:730] = cv2.resize(throat(480, 480), (500, 500))
    y, x = np.mgrid[0:540, 0:960]
    screen[np.abs(y - 270) + np.abs(x - 480) > 400] = 0
    cv2.putText(screen, "NAME 42", (20, 60), cv2.FONT_HERSHEY_SIMPLEX, 1, (255, 255, 255), 2, cv2.LINE_AA)
    return screen


def test_a_black_surround_and_its_text_come_back_as_they_came(brighten: Enhancer) -> None:
    screen = on_a_screen()
    answer = brighten.enhance(encode(screen, "png"))
    made = decode(answer.body).pixels
    around = screen.max(2) == 0
    assert np.array_equal(made[around], screen[around])
    assert np.array_equal(made[:, :200], screen[:, :200])
    inside = cv2.erode((~around).astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    inside[:, :230] = False
    assert (made[inside].astype(int) - screen[inside]).mean() > 12
    assert answer.judgement.verdict is Verdict.PASS


@pytest.mark.parametrize("size", [(272, 480), (400, 700), (540, 960), (1080, 1920)])
@pytest.mark.parametrize("shape", ["disc", "octagon"])
def test_a_screen_comes_back_as_it_was_from_a_generator_that_returns_its_input(
    identity: Enhancer, shape: str, size: tuple[int, int]
) -> None:
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    down, across = np.abs(y - height / 2), np.abs(x - width / 2)
    distance = (
        np.hypot(down, across) if shape == "disc" else np.maximum(np.maximum(down, across), 0.65 * (down + across))
    )
    screen = np.where((distance < 0.46 * height)[..., None], throat(width, height), 0).astype(np.uint8)
    answer = identity.enhance(encode(screen, "png"))
    assert np.array_equal(decode(answer.body).pixels, screen)
    assert (answer.judgement.verdict, answer.judgement.lassim) == (Verdict.PASS, 1.0)


def test_the_generator_is_given_the_picture_without_its_surround(tmp_path: Path) -> None:
    given: list[NDArray[np.uint8]] = []
    with enhancing(tmp_path, models.identity()) as enhancer:
        enhancer._generators = seen = _Listening(enhancer._generators, given)
        answer = enhancer.enhance(encode(on_a_screen(), "png"))
    assert seen is not None
    assert np.array_equal(decode(answer.body).pixels, on_a_screen())
    (working,) = given
    assert working.min(2).mean() > 20
    assert (working.max(2) < 12).mean() < 0.01
    assert abs(working.shape[1] / working.shape[0] - 1) < 0.05


class _Listening:
    """A model that writes down what it is given."""

    def __init__(self, inner, given: list[NDArray[np.uint8]]) -> None:  # type: ignore[no-untyped-def]
        self.inner, self.given = inner, given

    @contextmanager
    def lease(self, reference):  # type: ignore[no-untyped-def]
        with self.inner.lease(reference):
            yield self

    @property
    def card(self):  # type: ignore[no-untyped-def]
        return self.inner.card

    @property
    def precision(self):  # type: ignore[no-untyped-def]
        return self.inner.precision

    def submit(self, image, deadline, *, alone=False, output="enhanced"):  # type: ignore[no-untyped-def]
        self.given.append(image)
        return self.inner.submit(image, deadline, alone=alone)


@pytest.mark.parametrize("policy", [Policy.ANNOTATE, Policy.CONSTRAIN, Policy.WITHHOLD])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_surround_thins_out_no_fault(fault: str, policy: Policy, tmp_path: Path) -> None:
    screen = on_a_screen()
    with enhancing(tmp_path, FAULTS[fault](), EnhanceDefaults(policy), floors=models.STRICT) as enhancer:
        answer = enhancer.enhance(encode(screen, "png"))
    made, around = decode(answer.body).pixels, screen.max(2) == 0
    assert answer.judgement.missed
    assert answer.judgement.verdict in (Verdict.CONSTRAINED, Verdict.WITHHELD)
    assert np.array_equal(made[around], screen[around])
    if policy is Policy.WITHHOLD:
        assert np.array_equal(made, screen)
    if policy is not Policy.ANNOTATE:
        shown = find_content_area(screen)
        assert shown is not None
        pictures = [shown.fill(shown.cut(image)) for image in (made, screen)]
        # Filled once more, from an edge that was blended with the black: its corners are not those that were judged.
        assert not missed_floors(measure(*pictures), models.STRICT.model_copy(update={"lassim": 0.88, "worst": None}))
        assert answer.judgement.worst >= models.STRICT.worst


@settings(max_examples=12, deadline=None, derandomize=True)
@given(width=st.integers(56, 1000), height=st.integers(56, 1000))
def test_a_generator_that_returns_its_input_gives_the_photo_back_at_any_size(
    identity: Enhancer, width: int, height: int
) -> None:
    width, height = min(width, 8 * height), min(height, 8 * width)
    photo = cv2.resize(throat(480, 272), (width, height), interpolation=cv2.INTER_CUBIC).astype(np.uint8)
    answer = identity.enhance(encode(photo, "png"))
    assert (answer.width, answer.height) == (width, height)
    assert np.array_equal(decode(answer.body).pixels, photo)
    assert (answer.judgement.verdict, answer.judgement.lassim) == (Verdict.PASS, 1.0)


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("size", [(480, 272), (1280, 720), (300, 500)])
def test_the_score_is_what_the_score_command_says_of_the_delivered_png_and_the_upright_input(
    brighten: Enhancer, tmp_path: Path, size: tuple[int, int], orientation: int
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    sent = saved(throat(*size), "JPEG", quality=92, exif=exif)
    answer = brighten.enhance(sent, EnhanceOptions(format="png"))
    (tmp_path / "out.png").write_bytes(answer.body)
    (tmp_path / "in.png").write_bytes(encode(decode(sent).pixels, "png"))
    ran = CliRunner().invoke(
        app, ["score", str(tmp_path / "out.png"), str(tmp_path / "in.png"), "--scale", "canonical", "--json"]
    )
    assert ran.exit_code == 0
    assert f"{json.loads(ran.stdout)['lassim']:.4f}" == f"{answer.judgement.lassim:.4f}"
    assert answer.judgement.lassim < 1


@pytest.mark.parametrize("size", [(480, 272), (1280, 720)])
@pytest.mark.parametrize("policy", [Policy.CONSTRAIN, Policy.WITHHOLD])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_delivered_image_is_below_a_floor(fault: str, policy: Policy, size: tuple[int, int], tmp_path: Path) -> None:
    sent = encode(throat(*size), "png")
    with enhancing(tmp_path, FAULTS[fault](), EnhanceDefaults(policy), floors=models.STRICT) as enhancer:
        answer = enhancer.enhance(sent)
    delivered = decode(answer.body).pixels
    assert not missed_floors(measure(delivered, decode(sent).pixels), models.STRICT)
    assert answer.judgement.missed, "the fault was not seen, so the guard had nothing to do"
    assert answer.judgement.verdict in (Verdict.CONSTRAINED, Verdict.WITHHELD)
    if policy is Policy.WITHHOLD:
        assert answer.judgement.verdict is Verdict.WITHHELD
        assert np.array_equal(delivered, decode(sent).pixels)


@pytest.mark.parametrize("fault", FAULTS)
def test_annotate_delivers_what_was_made_and_says_what_is_wrong(fault: str, tmp_path: Path) -> None:
    sent = encode(throat(480, 272), "png")
    with enhancing(tmp_path, FAULTS[fault](), EnhanceDefaults(Policy.ANNOTATE), floors=models.STRICT) as enhancer:
        answer = enhancer.enhance(sent)
    assert answer.judgement.missed
    assert answer.judgement.verdict is not Verdict.PASS
    assert missed_floors(measure(decode(answer.body).pixels, decode(sent).pixels), models.STRICT)
    assert not np.array_equal(decode(answer.body).pixels, decode(sent).pixels)


@pytest.mark.parametrize("target", ["jpeg", "png", "webp", "tiff", "bmp"])
def test_the_same_bytes_give_the_same_answer_from_any_thread(brighten: Enhancer, target: SourceFormat) -> None:
    sent = encode(throat(640, 400), target)
    with ThreadPoolExecutor(4) as pool:
        answers = [future.result() for future in [pool.submit(brighten.enhance, sent) for _ in range(6)]]
    assert len({answer.body for answer in answers}) == 1
    assert {answer.format for answer in answers} == {target}


def test_an_answer_says_who_made_it_and_where_the_time_went(brighten: Enhancer) -> None:
    answer = brighten.enhance(encode(throat(480, 272), "jpeg"))
    assert answer.model == "tiny/1.0.0"
    assert len(answer.model_sha256) == 64
    assert tuple(answer.seconds) == STAGES
    assert all(seconds >= 0 for seconds in answer.seconds.values())
    assert answer.media_type == "image/jpeg"
    assert answer.heatmap is None


@pytest.mark.parametrize(("size", "drawn"), [((480, 272), (480, 272)), ((1500, 1000), (MAP_SIDE, 640))])
def test_the_heat_map_comes_when_asked_for(brighten: Enhancer, size: tuple[int, int], drawn: tuple[int, int]) -> None:
    answer = brighten.enhance(encode(throat(*size), "jpeg"), EnhanceOptions(map=True))
    assert answer.heatmap is not None
    assert decode(answer.heatmap, "image/png").pixels.shape == (drawn[1], drawn[0], 3)


class Watched:
    """Generators that count what reaches the model."""

    def __init__(self, inner: SingleModel) -> None:
        self._inner = inner
        self.submitted = 0
        self.card = inner.card
        self.precision = inner.precision

    @contextmanager
    def lease(self, reference: str | None) -> Iterator[Watched]:
        with self._inner.lease(reference):
            yield self

    def submit(
        self, image: NDArray[np.uint8], deadline: float, *, alone: bool = False, output: str = "enhanced"
    ) -> object:
        self.submitted += 1
        return self._inner.submit(image, deadline, alone=alone)


def test_the_newest_version_that_passes_its_self_test_is_the_one_that_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    models.install(tmp_path, models.identity())
    newer = models.install(tmp_path, models.brighten(), version="1.1.0")
    expecting_another = newer.golden.model_copy(update={"output_png": newer.golden.input_png})
    write_card(newer.model_copy(update={"golden": expecting_another}), tmp_path / "tiny/1.1.0/card.json")
    with SingleModel(ModelStore(tmp_path), "tiny", ENGINE) as generators:
        assert generators.card.reference == "tiny/1.0.0"
    assert "tiny/1.1.0 is passed over for tiny/1.0.0: tiny/1.1.0 misses its golden image" in caplog.text
    with pytest.raises(SelfTestFailed):
        SingleModel(ModelStore(tmp_path), "tiny/1.1.0", ENGINE)


@pytest.mark.parametrize("size", [(1, 1), (55, 400), (48, 48), (2000, 60)])
def test_what_cannot_be_scored_is_refused_before_the_model_sees_it(size: tuple[int, int], tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    photo = np.full((size[1], size[0], 3), 128, np.uint8)
    with SingleModel(ModelStore(tmp_path), "tiny", ENGINE) as generators:
        watched = Watched(generators)
        if min(size) < 49 or max(size) / min(size) > 9.8:
            with pytest.raises(ImageDimensions) as refused:
                Enhancer(watched).enhance(encode(photo, "png"))  # type: ignore[arg-type]
            assert refused.value.code == "image-dimensions"
            assert watched.submitted == 0
        else:
            Enhancer(watched).enhance(encode(photo, "png"))  # type: ignore[arg-type]
            assert watched.submitted == 1


def test_scorable_is_decided_the_same_way_round_for_both_sides() -> None:
    for size in ((49, 49), (480, 49), (49, 480), (9000, 1000)):
        check_scorable(*size)
    for size in ((48, 500), (500, 48), (9900, 1000)):
        with pytest.raises(ImageDimensions):
            check_scorable(*size)


def test_a_request_may_be_stricter_than_the_default_but_never_milder(tmp_path: Path) -> None:
    sent = encode(throat(480, 272), "png")
    with enhancing(tmp_path, models.noise(), EnhanceDefaults(Policy.CONSTRAIN), floors=models.STRICT) as enhancer:
        assert enhancer.enhance(sent, EnhanceOptions(policy=Policy.WITHHOLD)).judgement.verdict is Verdict.WITHHELD
        with pytest.raises(InvalidParameter, match="constrain"):
            enhancer.enhance(sent, EnhanceOptions(policy=Policy.ANNOTATE))


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_outside_its_bounds_is_refused(brighten: Enhancer, quality: int) -> None:
    with pytest.raises(InvalidParameter):
        brighten.enhance(encode(throat(480, 272), "png"), EnhanceOptions(quality=quality))


def test_a_model_that_is_not_there_is_unknown(brighten: Enhancer) -> None:
    with pytest.raises(UnknownModel):
        brighten.enhance(encode(throat(480, 272), "png"), EnhanceOptions(model="other"))
    with pytest.raises(UnknownModel):
        brighten.check(EnhanceOptions(model="tiny/9.9.9"))


def test_a_model_that_fails_on_one_image_serves_the_next(tmp_path: Path) -> None:
    poison = np.broadcast_to(np.array(models.POISON, np.uint8), (272, 480, 3))
    with enhancing(tmp_path, models.poisoned()) as enhancer:
        with pytest.raises(InferenceFailed):
            enhancer.enhance(encode(np.ascontiguousarray(poison), "png"))
        assert enhancer.enhance(encode(throat(480, 272), "png")).judgement.lassim == 1.0


def test_a_deadline_that_has_passed_ends_the_work(brighten: Enhancer) -> None:
    with pytest.raises(DeadlineExceeded):
        brighten.enhance(encode(throat(480, 272), "png"), deadline=Deadline(deadline=time.monotonic() - 1))


def test_a_caller_who_leaves_while_the_model_is_busy_frees_the_queue(tmp_path: Path) -> None:
    sent = encode(throat(480, 272), "png")
    models.install(tmp_path, models.busy(rounds=60))
    with SingleModel(ModelStore(tmp_path), "tiny", ENGINE) as generators, ThreadPoolExecutor(2) as pool:
        enhancer, cancellation = Enhancer(generators), Cancellation()
        first = pool.submit(enhancer.enhance, sent)
        while generators.depth or not generators_running(generators):
            time.sleep(0.001)
        second = pool.submit(enhancer.enhance, sent, None, Deadline(cancellation=cancellation))
        while not generators.depth:
            time.sleep(0.001)
        cancellation.cancel()
        with pytest.raises(ClientGone):
            second.result(10)
        assert first.result(10).judgement.lassim == 1.0


def generators_running(generators: SingleModel) -> bool:
    return generators._engine._batchers["enhanced"]._running > 0


def test_a_caller_who_left_before_is_not_served(brighten: Enhancer) -> None:
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(ClientGone):
        brighten.enhance(encode(throat(480, 272), "png"), deadline=Deadline(cancellation=cancellation))


def test_large_images_take_turns_and_small_ones_share() -> None:
    room, inside, most = PixelBudget(100), [0], [0]
    lock = threading.Lock()

    def work(pixels: int) -> None:
        with room.hold(pixels, Deadline()):
            with lock:
                inside[0] += min(pixels, 100)
                most[0] = max(most[0], inside[0])
            time.sleep(0.002)
            with lock:
                inside[0] -= min(pixels, 100)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, [100, 40, 40, 250, 60, 10, 100, 30, 30, 30] * 3))
    assert most[0] == 100


def test_a_large_image_is_not_passed_over_by_small_ones() -> None:
    room, order = PixelBudget(100), []

    def work(name: str, pixels: int) -> None:
        with room.hold(pixels, Deadline()):
            order.append(name)

    with ThreadPoolExecutor(3) as pool, room.hold(60, Deadline()):
        for length, (name, pixels) in enumerate([("large", 100), ("small", 10), ("tiny", 1)]):
            pool.submit(work, name, pixels)
            while len(room._line) <= length:
                time.sleep(0.001)
        assert order == []
    assert order[0] == "large"


def test_one_who_waits_for_room_may_leave() -> None:
    room, cancellation = PixelBudget(100), Cancellation()
    with room.hold(100, Deadline()), ThreadPoolExecutor(1) as pool:

        def wait() -> None:
            with room.hold(1, Deadline(cancellation=cancellation)):
                pytest.fail("there was no room")

        waiting = pool.submit(wait)
        cancellation.cancel()
        with pytest.raises(ClientGone):
            waiting.result(10)
        with pytest.raises(DeadlineExceeded), room.hold(1, Deadline(deadline=time.monotonic() + 0.01)):
            pytest.fail("there was no room")
    with room.hold(100, Deadline()):
        pass


@pytest.mark.parametrize("pair", ["image_blur", "image_elastic_blur"])
def test_the_default_jpeg_quality_moves_the_score_by_less_than_a_thousandth(throat_folder: Path, pair: str) -> None:
    made, sent = (decode((throat_folder / f"{name}.png").read_bytes()).pixels for name in (pair, "image_original"))
    for output, input in ((made, sent), (sent, made), (throat(480, 272), throat(480, 272))):
        delivered = decode(encode(output, "jpeg", EnhanceDefaults().quality)).pixels
        moved = lassim(delivered, input, scale="canonical") - lassim(output, input, scale="canonical")
        assert abs(moved) < 1e-3


@pytest.fixture
def throat_folder(shared_data: Path) -> Path:
    return shared_data / "data" / "throat"
