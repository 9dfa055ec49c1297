"""The eight-bit variant: how it is made, when it is refused, and where it runs."""

from __future__ import annotations

import logging
from pathlib import Path
from shutil import copytree

import numpy as np
import onnx
import onnxruntime
import pytest
from PIL import Image
from typer.testing import CliRunner

from model_training.cli import app as training
from model_training.data.phantom import phantom
from model_training.export.eight_bit import in_eight_bits, measured_ranges
from model_training.export.onnx import to_onnx
from model_training.export.quantise import QuantiseRequest, quantise, require_close
from model_training.export.stages import branches
from model_training.export.trunk import convolutions
from model_training.export.wrapper import pixel_contract
from model_training.networks import build_generator
from service.commands.main import app
from service.engine.engine import EngineOptions
from service.engine.precision import choose_precision, has_vnni
from service.errors import (
    DataError,
    ExportError,
    ModelCorrupt,
    ModelInvalid,
    ProviderUnavailable,
    SelfTestFailed,
)
from service.registry.card import ModelCard, read_card, write_card
from service.registry.store import ModelStore
from service.serving.single_model import SingleModel
from service.vocabulary import EIGHT_BIT_FILE
from tests import models
from tests.live import LiveService, encoded, scene
from tests.unit.test_restorer import SMALL, shaken

INT8 = EngineOptions("cpu", threads=1, streams=1, precision="int8")
needs_vnni = pytest.mark.skipif(not has_vnni(), reason="this processor has no VNNI")


@pytest.fixture(scope="module")
def exported() -> onnx.ModelProto:
    restorer = shaken(build_generator("restorer", **SMALL), strength=0.05)
    return onnx.load_from_string(to_onnx(pixel_contract(restorer.requires_grad_(False))))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(8):
        Image.fromarray(phantom(96, 80, seed)).save(folder / f"{seed}.png")
    return folder


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory, exported: onnx.ModelProto, photos: Path) -> Path:
    """A models' folder whose model has a variant; not to be changed."""
    root = tmp_path_factory.mktemp("models")
    models.install(root, exported)
    quantise(QuantiseRequest(root / "tiny" / "1.0.0", [photos]))
    return root


@pytest.fixture
def root(tmp_path: Path, exported: onnx.ModelProto) -> Path:
    models.install(tmp_path, exported)
    return tmp_path


@pytest.fixture
def quantised(root: Path, model_folder: Path) -> ModelCard:
    """The card of a model with a variant, in `root`."""
    copytree(model_folder, root, dirs_exist_ok=True)
    return read_card(root / "tiny" / "1.0.0" / "card.json")


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@needs_vnni
@pytest.mark.parametrize("asked", [{}, {"detail_only": np.array(True)}, {"colour_only": np.array(True)}])
def test_the_variant_gives_nearly_the_models_pixels_in_every_branch(
    exported: onnx.ModelProto, asked: dict[str, np.ndarray]
) -> None:
    given = [phantom(96, 80, seed) for seed in range(4)]
    variant = in_eight_bits(exported, measured_ranges(exported, given))
    image = np.stack(given)[:2]
    float32, int8 = (session(model).run(None, {"image": image, **asked}) for model in (exported, variant))
    for one, other in zip(float32, int8, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 0.6
    if "colour_only" in asked:
        assert np.array_equal(float32[0], int8[0]), "the colour stage stays as it is"


@needs_vnni
def test_a_photo_in_a_batch_gets_the_same_bytes_as_alone(exported: onnx.ModelProto) -> None:
    given = [phantom(96, 80, seed) for seed in range(3)]
    variant = session(in_eight_bits(exported, measured_ranges(exported, given)))
    (together,) = variant.run(["enhanced"], {"image": np.stack(given)})
    for photo, made in zip(given, together, strict=True):
        assert np.array_equal(variant.run(["enhanced"], {"image": photo[None]})[0][0], made)


def test_the_trunk_alone_is_rewritten(exported: onnx.ModelProto) -> None:
    variant = in_eight_bits(exported, measured_ranges(exported, [phantom(96, 80, 1)]))
    stage = first_stage_of(variant)
    makers = {name: node.op_type for node in stage.node for name in node.output}
    in_integers = {
        node.name for node in stage.node if node.op_type == "Conv" and makers.get(node.input[0]) == "DequantizeLinear"
    }
    assert in_integers == {one.node.name for one in convolutions(first_stage_of(exported))}
    assert len(in_integers) > 8
    assert not any("enter_half" in name or "strength" in name or "mix" in name for name in in_integers)
    assert variant.ByteSize() < exported.ByteSize() + 60_000, "the floats of the rewritten kernels are still there"


def first_stage_of(model: onnx.ModelProto) -> onnx.GraphProto:
    (stage,) = [branch for node in model.graph.node for branch in branches(node) if branch.name == "mended"]
    return stage


@needs_vnni
def test_the_same_photos_and_seed_give_the_same_file(root: Path, quantised: ModelCard, photos: Path) -> None:
    folder = root / "tiny" / "1.0.0"
    first = (folder / EIGHT_BIT_FILE).read_bytes()
    again = quantise(QuantiseRequest(folder, [photos]))
    assert (folder / EIGHT_BIT_FILE).read_bytes() == first
    assert again == quantised.eight_bit
    assert quantise(QuantiseRequest(folder, [photos], seed=1)).sha256 != again.sha256


@needs_vnni
def test_a_variant_that_loses_too_much_is_refused(quantised: ModelCard) -> None:
    assert quantised.eight_bit is not None
    require_close(quantised.eight_bit)
    for worse in ({"lost_db": {"noise .02": 0.2}}, {"lost_db": {"noise .02": 0.0}, "alike_db": {"noise .02": 30.0}}):
        with pytest.raises(ExportError, match=r"noise \.02"):
            require_close(
                quantised.eight_bit.model_copy(update=worse | {"alike_db": worse.get("alike_db", {"noise .02": 60.0})})
            )


def test_what_cannot_be_quantised_is_refused_and_leaves_nothing(tmp_path: Path, photos: Path, root: Path) -> None:
    models.install(tmp_path, models.identity(), "plain")
    with pytest.raises(ExportError, match="no detail stage"):
        quantise(QuantiseRequest(tmp_path / "plain" / "1.0.0", [photos]))
    with pytest.raises(DataError, match="at least 8"):
        quantise(QuantiseRequest(root / "tiny" / "1.0.0", [photos / "1.png"]))
    assert not list(tmp_path.rglob(EIGHT_BIT_FILE))


@needs_vnni
def test_the_command_says_what_is_lost_and_the_list_shows_the_variant(
    root: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = CliRunner().invoke(training, ["quantise", str(root / "tiny" / "1.0.0"), str(photos)])
    assert done.exit_code == 0, done.output
    assert "loses at most" in " ".join(done.stdout.split())
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    assert "int8" in CliRunner().invoke(app, ["models", "list"]).stdout
    monkeypatch.setenv("LAMEGAN_DEVICE", "cpu")
    assert "int8 variant, which serves here" in CliRunner().invoke(app, ["models", "verify", "tiny"]).stdout


@needs_vnni
def test_file_and_card_entry_go_together(root: Path, quantised: ModelCard) -> None:
    store, folder = ModelStore(root), root / "tiny" / "1.0.0"
    variant = (folder / EIGHT_BIT_FILE).read_bytes()
    assert store.weights(quantised, "int8") == variant
    (folder / EIGHT_BIT_FILE).write_bytes(variant[:-1] + b"\0")
    with pytest.raises(ModelCorrupt, match=EIGHT_BIT_FILE):
        store.weights(quantised)
    (folder / EIGHT_BIT_FILE).unlink()
    with pytest.raises(ModelInvalid, match="cannot be read"):
        store.weights(quantised)
    without = quantised.model_copy(update={"eight_bit": None})
    assert store.weights(without)
    with pytest.raises(ModelInvalid, match="no int8 variant"):
        store.weights(without, "int8")
    (folder / EIGHT_BIT_FILE).write_bytes(variant)
    with pytest.raises(ModelInvalid, match="card says nothing"):
        store.weights(without)


@needs_vnni
def test_the_variant_is_held_to_its_own_golden_image(root: Path, quantised: ModelCard) -> None:
    assert quantised.eight_bit is not None
    spoilt = quantised.eight_bit.model_copy(update={"golden_png": quantised.golden.input_png})
    write_card(quantised.model_copy(update={"eight_bit": spoilt}), root / "tiny" / "1.0.0" / "card.json")
    SingleModel(ModelStore(root), "tiny", EngineOptions("cpu", threads=1, streams=1)).__exit__()
    with pytest.raises(SelfTestFailed):
        SingleModel(ModelStore(root), "tiny", INT8)


@pytest.mark.parametrize(
    ("wanted", "variants", "provider", "vnni", "runs"),
    [
        ("auto", ["int8"], "cpu", True, "int8"),
        ("auto", ["int8", "float16"], "cpu", False, "float32"),
        ("auto", ["int8", "float16"], "cuda", True, "float32"),
        ("auto", ["float16"], "cpu", True, "float32"),
        ("auto", [], "cpu", True, "float32"),
        ("float32", ["int8"], "cpu", True, "float32"),
        ("int8", ["int8"], "cpu", True, "int8"),
        ("float16", ["int8", "float16"], "cuda", True, "float16"),
    ],
)
def test_auto_takes_eight_bits_where_everything_suits(
    wanted: str, variants: list[str], provider: str, vnni: bool, runs: str
) -> None:
    assert choose_precision(wanted, variants, provider, vnni) == runs  # type: ignore[arg-type]


def test_eight_bits_on_a_gpu_are_refused_and_without_vnni_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ProviderUnavailable, match="LAMEGAN_PRECISION"):
        choose_precision("int8", ["int8"], "cuda", True)
    with caplog.at_level(logging.WARNING):
        assert choose_precision("int8", ["int8"], "cpu", False) == "int8"
    assert "VNNI" in caplog.text


def test_vnni_is_told_by_the_processors_flags(tmp_path: Path) -> None:
    for name, flags, has in (
        ("a", "fpu avx2 avx_vnni", True),
        ("b", "fpu avx512_vnni", True),
        ("c", "avx2 avx512f", False),
    ):
        (tmp_path / name).write_text(f"processor\t: 0\nflags\t\t: {flags}\n", encoding="ascii")
        assert has_vnni(tmp_path / name) is has
    assert not has_vnni(tmp_path / "absent")


@needs_vnni
@pytest.mark.parametrize("processes", [0, 1])
def test_the_service_runs_the_precision_that_is_set_and_says_so(
    root: Path, quantised: ModelCard, processes: int
) -> None:
    made = {}
    for precision in ("auto", "int8", "float32"):
        with LiveService(root, precision=precision, processes=processes) as live:
            (served,) = live.http.get("/models").json()["models"]
            assert served["precision"] == ("float32" if precision == "float32" else "int8")
            digest = quantised.digest_in(served["precision"])
            assert served["digest"] == f"sha256={digest}"
            runs = f'lamegan_model_eight_bit{{model_digest="{digest}"}} {float(precision != "float32")}'
            assert runs in live.http.get("/metrics").text
            answer = live.http.post("/enhance?format=png", content=encoded(scene(320, 240)))
            assert answer.status_code == 200
            assert answer.headers["Model-Digest"] == f"sha256={digest}"
            made[precision] = answer.content
    assert made["auto"] == made["int8"]
    assert made["float32"] != made["int8"], "the same model ran"


def test_eight_bits_without_a_variant_are_an_error_at_start(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with LiveService(tmp_path, precision="int8") as live:
        assert "no int8 variant" in live.fatal[0].detail
        assert live.http.get("/health/ready").status_code == 503


@needs_vnni
def test_a_variant_added_to_a_model_in_service_is_taken_at_the_next_reload(root: Path, photos: Path) -> None:
    with LiveService(root) as live:
        assert live.http.get("/models").json()["models"][0]["precision"] == "float32"
        quantise(QuantiseRequest(root / "tiny" / "1.0.0", [photos]))
        live.service.load_models()
        assert live.http.get("/models").json()["models"][0]["precision"] == "int8"
