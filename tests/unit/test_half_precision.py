"""The variant in half precision: how it is made, and that it is for GPUs alone. None of this has run on a GPU yet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import NodeProto, TensorProto, numpy_helper
from typer.testing import CliRunner

from model_training.cli import app as training
from model_training.data.phantom import phantom
from model_training.export.half_precision import in_half_precision
from model_training.export.quantise import QuantiseRequest, quantise, require_close
from model_training.export.stages import branches
from model_training.export.trunk import convolutions
from service.commands.main import app
from service.engine.engine import EngineOptions
from service.engine.precision import choose_precision
from service.engine.runtime import gpu_count
from service.errors import ExportError, ModelInvalid, ProviderUnavailable
from service.registry.card import ModelCard, read_card
from service.registry.store import ModelStore, self_test
from service.serving.single_model import SingleModel
from service.vocabulary import HALF_FILE
from tests import models
from tests.live import LiveService, encoded, scene
from tests.unit import test_eight_bit
from tests.unit.test_eight_bit import first_stage_of, session

exported, photos, root = test_eight_bit.exported, test_eight_bit.photos, test_eight_bit.root
needs_no_gpu = pytest.mark.skipif(gpu_count() > 0, reason="this machine has a GPU")
needs_gpu = pytest.mark.skipif(gpu_count() == 0, reason="this machine has no GPU")


@pytest.fixture
def halved(root: Path, photos: Path) -> ModelCard:
    """The card of a model with a variant in half precision, in `root`."""
    quantise(QuantiseRequest(root / "tiny" / "1.0.0", [photos], precision="float16"))
    return read_card(root / "tiny" / "1.0.0" / "card.json")


def nodes_of(graph: onnx.GraphProto) -> Iterator[NodeProto]:
    for node in graph.node:
        yield node
        for branch in branches(node):
            yield from nodes_of(branch)


@pytest.mark.parametrize("asked", [{}, {"detail_only": np.array(True)}, {"colour_only": np.array(True)}])
def test_the_variant_gives_nearly_the_models_pixels_in_every_branch(
    exported: onnx.ModelProto, asked: dict[str, np.ndarray]
) -> None:
    image = np.stack([phantom(96, 80, seed) for seed in range(2)])
    float32, float16 = (
        session(model).run(None, {"image": image, **asked}) for model in (exported, in_half_precision(exported))
    )
    for one, other in zip(float32, float16, strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    if "colour_only" in asked:
        assert np.array_equal(float32[0], float16[0]), "the colour stage stays as it is"


def test_the_same_convolutions_as_in_eight_bits_are_in_float16_and_nothing_else_is(exported: onnx.ModelProto) -> None:
    variant = in_half_precision(exported)
    found = convolutions(first_stage_of(exported))
    stage = first_stage_of(variant)
    types = {item.name: item.data_type for item in stage.initializer}
    narrow = {node.name for node in stage.node if node.op_type == "Conv" and types.get(node.input[1]) == 10}
    assert narrow == {one.node.name for one in found}
    assert len(narrow) > 8
    assert sum(kind == TensorProto.FLOAT16 for kind in types.values()) == 2 * len(found), "kernels and biases alone"
    casts = [node for node in nodes_of(variant.graph) if node.op_type == "Cast" and node.attribute[0].i == 10]
    assert {node.input[0] for node in casts} == {one.source for one in found} - {one.result for one in found}
    assert variant.ByteSize() < exported.ByteSize()


def test_features_between_two_convolutions_stay_in_float16(exported: onnx.ModelProto) -> None:
    stage = first_stage_of(in_half_precision(exported))
    found = convolutions(first_stage_of(exported))
    chained = {one.source for one in found} & {one.result for one in found}
    assert chained, "no convolution follows another in this model"
    readers = {name: node for node in stage.node for name in node.input}
    assert all(readers[name].op_type in {"Conv", "Pad", "Cast"} for name in chained)


def test_weights_are_rounded_to_float16_and_not_otherwise_changed(exported: onnx.ModelProto) -> None:
    variant = first_stage_of(in_half_precision(exported))
    before = {item.name: item for item in first_stage_of(exported).initializer}
    after = {item.name: item for item in variant.initializer}
    for one in convolutions(first_stage_of(exported)):
        kernel = numpy_helper.to_array(before[one.node.input[1]])
        assert np.array_equal(kernel.astype(np.float16), numpy_helper.to_array(after[f"{one.node.name}_kernel"]))


def test_what_has_no_detail_stage_cannot_be_halved(tmp_path: Path, photos: Path) -> None:
    models.install(tmp_path, models.identity(), "plain")
    with pytest.raises(ExportError, match="no detail stage"):
        quantise(QuantiseRequest(tmp_path / "plain" / "1.0.0", [photos], precision="float16"))
    assert not list(tmp_path.rglob(HALF_FILE))


def test_the_card_names_the_file_its_figures_and_its_own_golden_image(root: Path, halved: ModelCard) -> None:
    assert halved.half is not None
    assert halved.half.measured_photos == 2
    assert halved.digest_in("float16") == halved.half.sha256 != halved.digest_in("float32")
    store = ModelStore(root)
    run = session(onnx.load_from_string(store.weights(halved, "float16")))
    assert self_test(halved, lambda batch: run.run(["enhanced"], {"image": batch})[0], "float16") == 0
    (root / "tiny" / "1.0.0" / HALF_FILE).unlink()
    with pytest.raises(ModelInvalid, match="cannot be read"):
        store.weights(halved)


def test_figures_that_are_not_numbers_are_refused(halved: ModelCard) -> None:
    assert halved.half is not None
    require_close(halved.half)
    with pytest.raises(ExportError, match=r"noise \.02") as caught:
        require_close(halved.half.model_copy(update={"lost_db": {"noise .02": float("nan")}}))
    assert "VNNI" not in caught.value.detail


def test_both_variants_stand_side_by_side(root: Path, halved: ModelCard, photos: Path) -> None:
    assert halved.half is not None
    quantise_again = quantise(QuantiseRequest(root / "tiny" / "1.0.0", [photos], precision="float16"))
    assert quantise_again == halved.half, "the same photos and seed give the same file"
    assert halved.variants.keys() == {"float16"}


def test_the_command_makes_it_and_the_list_shows_it(root: Path, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["quantise", str(root / "tiny" / "1.0.0"), str(photos), "--precision", "float16"]
    done = CliRunner().invoke(training, command)
    assert done.exit_code == 0, done.output
    assert "in float16" in " ".join(done.stdout.split())
    monkeypatch.setenv("LAMEGAN_MODELS_DIR", str(root))
    assert "float16" in CliRunner().invoke(app, ["models", "list"]).stdout


def test_float16_on_a_cpu_is_refused() -> None:
    with pytest.raises(ProviderUnavailable, match="LAMEGAN_PRECISION=float16 is for a GPU"):
        choose_precision("float16", ["float16"], "cpu", True)


@needs_no_gpu
def test_a_service_without_a_gpu_does_not_start_in_float16(root: Path, halved: ModelCard) -> None:
    with LiveService(root, precision="float16") as live:
        assert "float16 is for a GPU" in live.fatal[0].detail
        assert live.http.get("/health/ready").status_code == 503


@needs_gpu
def test_a_service_on_a_gpu_runs_float16_and_names_its_digest(root: Path, halved: ModelCard) -> None:
    with LiveService(root, device="cuda", precision="float16") as live:
        (served,) = live.http.get("/models").json()["models"]
        assert served["precision"] == "float16"
        answer = live.http.post("/enhance?format=png", content=encoded(scene(320, 240)))
        assert answer.headers["Model-Digest"] == f"sha256={halved.digest_in('float16')}"


@needs_gpu
def test_a_model_without_the_variant_does_not_run_in_float16(tmp_path: Path) -> None:
    models.install(tmp_path, models.identity())
    with pytest.raises(ModelInvalid, match="no float16 variant"):
        SingleModel(ModelStore(tmp_path), "tiny", EngineOptions("cuda", precision="float16"))
