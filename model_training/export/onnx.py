"""``lamegan-train export``: from a checkpoint to a model folder that gives torch's own pixels, or no folder at all."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime
import torch
from PIL import Image
from torch import nn

from model_training.config.schema import TrainingConfig
from model_training.data.phantom import phantom
from model_training.export.card import CardFacts, compose_card
from model_training.export.stages import CHANGE, skip_first_stage_on_request, skip_second_stage_on_request
from model_training.export.wrapper import PixelContract, StagedPixelContract, TracedStages, pixel_contract
from model_training.networks import parameter_count
from model_training.runs.generator import find_checkpoint, load_generator
from model_training.runs.provenance import read_notes
from service.errors import ExportError
from service.pixels import Pixels
from service.registry.card import MODEL_REFERENCE, OPSET, Golden, write_card

SEVERITY_ERROR = 3
"""onnxruntime writes its own lines to stderr from this on."""

WORST_DIFFERENCE = 1
"""Grey levels that ONNX Runtime may differ from torch."""
LARGEST_SHARE = 0.001
"""Share of the values that may differ at all."""

# (B, H, W): the least size, odd ones, batches, and the size that the generator knows.
_PARITY_SHAPES = ((1, 64, 64), (2, 65, 127), (3, 97, 64), (1, 272, 480))
_TRACED_SHAPE = (2, 97, 131, 3)
_GOLDEN_WIDTH, _GOLDEN_HEIGHT, _GOLDEN_SEED = 160, 96, 7


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What ``export`` is asked for; see its options."""

    checkpoint: Path
    name: str
    version: str
    out: Path
    sources: Path | None = None


@dataclass(frozen=True, slots=True)
class Parity:
    """How far ONNX Runtime and torch differ: the worst in grey levels, and the share of values that differ."""

    worst: int
    share: float


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how it compares."""

    folder: Path
    parameters: int
    size_bytes: int
    parity: Parity


def export_model(request: ExportRequest) -> Exported:
    """Writes ``<out>/<name>/<version>/model.onnx`` and ``card.json``, whole or not at all.

    Raises:
        CheckpointError: the checkpoint cannot be read or holds no generator.
        ExportError: the version exists, its name is not one, or the pixels are not torch's.
    """
    folder = _destination(request)
    checkpoint = find_checkpoint(request.checkpoint)
    generator = load_generator(checkpoint)
    contract = pixel_contract(generator)
    model = to_onnx(contract)
    parity = require_parity(contract, model)
    card = compose_card(
        CardFacts(
            name=request.name,
            version=request.version,
            model_sha256=hashlib.sha256(model).hexdigest(),
            model_bytes=len(model),
            parameters=parameter_count(generator),
            config=TrainingConfig.from_recipe(checkpoint.state["config"]),
            state=checkpoint.state,
            checkpoint_digest=checkpoint.digest,
            notes=read_notes(request.sources),
            golden=_golden(model),
        )
    )
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        (partial / "model.onnx").write_bytes(model)
        write_card(card, partial / "card.json")
        partial.rename(folder)
    except OSError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise ExportError(f"The model could not be written to {folder}: {error.strerror}.") from error
    return Exported(folder, parameter_count(generator), len(model), parity)


def to_onnx(contract: PixelContract) -> bytes:
    """The contract as an ONNX file of opset 18: ``image`` to its outputs, any batch, height and width."""
    staged = isinstance(contract, StagedPixelContract)
    outputs = (*outputs_of(contract), CHANGE) if staged else outputs_of(contract)
    with TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        path = Path(folder) / "model.onnx"
        # The tracing exporter is deprecated in favour of the dynamo one, which takes 30 times longer for the same
        # networks and cannot convert the index arithmetic of the bounced padding (decision 0007).
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", message="Converting a tensor to a Python")
        # Instance norm without running statistics always uses the image's own, which is what "train" means here.
        warnings.filterwarnings("ignore", message=".*instance_norm.*", category=UserWarning)
        warnings.filterwarnings("ignore", message="Constant folding", category=UserWarning)
        torch.onnx.export(
            TracedStages(contract) if isinstance(contract, StagedPixelContract) else contract,
            (torch.zeros(_TRACED_SHAPE, dtype=torch.uint8),),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["image"],
            output_names=list(outputs),
            dynamic_axes={name: {0: "B", 1: "H", 2: "W"} for name in ("image", *outputs)},
        )
        model = onnx.load(path)
    if staged:
        model = skip_second_stage_on_request(skip_first_stage_on_request(model))
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString())


def outputs_of(contract: PixelContract) -> tuple[str, ...]:
    """What the exported graph gives: ``enhanced``, and ``detail`` where the generator has a detail stage."""
    return ("enhanced", "detail") if isinstance(contract, StagedPixelContract) else ("enhanced",)


def require_parity(contract: PixelContract, model: bytes) -> Parity:
    """Runs both on odd sizes and batches.

    Raises:
        ExportError: they differ by more than a grey level, or in more than one value of a thousand, or torch's values
            are not finite: as bytes, such values may be equal.
    """
    stages = list(contract.generator.children()) if outputs_of(contract)[1:] else [contract.generator]
    hooks = [stage.register_forward_hook(_require_finite) for stage in stages]
    try:
        return _parity(contract, model)
    finally:
        for hook in hooks:
            hook.remove()


def _require_finite(_generator: nn.Module, _given: tuple[torch.Tensor, ...], made: torch.Tensor) -> None:
    if not torch.isfinite(made).all():
        raise ExportError(
            f"The generator gives values that are not finite for {made.shape[-1]}x{made.shape[-2]} pixels."
        )


def _parity(contract: PixelContract, model: bytes) -> Parity:
    session = _session(model)
    rng = np.random.default_rng(0)
    worst, different, total = 0, 0, 0
    for batch, height, width in _PARITY_SHAPES:
        drawn = np.stack([phantom(width, height, seed) for seed in range(batch)]).astype(np.int16)
        image = np.clip(drawn + rng.integers(-20, 21, drawn.shape), 0, 255).astype(np.uint8)
        with torch.no_grad():
            made = contract(torch.from_numpy(image))
            contract.generator(contract.given(torch.from_numpy(image)))  # tells whether its values are finite
        for name, expected in zip(outputs_of(contract), made if isinstance(made, tuple) else (made,), strict=True):
            got = session.run([name], {"image": image})[0]
            if got.shape != expected.shape or got.dtype != np.uint8:
                raise ExportError(f"The exported model gives {got.dtype} {got.shape} for {image.shape} pixels.")
            difference = np.abs(got.astype(np.int16) - expected.numpy())
            worst = max(worst, int(difference.max()))
            different += int(np.count_nonzero(difference))
            total += difference.size
    parity = Parity(worst, different / total)
    if parity.worst > WORST_DIFFERENCE or parity.share > LARGEST_SHARE:
        raise ExportError(
            f"The exported model does not give torch's pixels: they differ by up to {parity.worst} grey levels, "
            f"in {parity.share:.3%} of the values."
        )
    return parity


def _destination(request: ExportRequest) -> Path:
    if not re.fullmatch(MODEL_REFERENCE, f"{request.name}/{request.version}"):
        raise ExportError(
            f"{request.name!r} and {request.version!r} are not a model's name (a-z, 0-9, -) and version (1.0.0)."
        )
    folder = request.out / request.name / request.version
    if folder.exists():
        raise ExportError(f"{folder} exists already: a version is exported once; choose another.")
    return folder


def _golden(model: bytes) -> Golden:
    """A drawn throat and what the exported file makes of it."""
    image = phantom(_GOLDEN_WIDTH, _GOLDEN_HEIGHT, _GOLDEN_SEED)
    enhanced = _session(model).run(["enhanced"], {"image": image[None]})[0][0]
    return Golden(input_png=as_base64_png(image), output_png=as_base64_png(enhanced))


def _session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = SEVERITY_ERROR  # it warns of the optional input of a model in two stages
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def as_base64_png(image: Pixels) -> str:
    """(H, W, 3) uint8 RGB as a card holds it."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def from_base64_png(text: str) -> Pixels:
    """What `as_base64_png` was given."""
    with Image.open(io.BytesIO(base64.b64decode(text))) as image:
        return np.asarray(image.convert("RGB"))
