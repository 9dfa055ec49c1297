"""The methods an evaluation compares: exported models, checkpoints, classical ones, and doing nothing."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_training.evaluation.classical import CLASSICAL, Enhance, identity
from service.errors import DataError
from service.quality.pyramid import Image

INPUT = "input"
"""Name of the method that returns its input."""

CONTRACT = {"image": "tensor(uint8)", "enhanced": "tensor(uint8)"}
DETAIL = {"detail": "tensor(uint8)"}
"""What a model in two stages gives besides."""
"""What an exported generator takes and gives, as the service holds it to."""


@dataclass(frozen=True, slots=True)
class Method:
    """A named way to enhance (H, W, 3) uint8 RGB into the same shape.

    Attributes:
        sha256: of an exported model's file; None for other methods.
    """

    name: str
    enhance: Enhance
    sha256: str | None = None


def find_method(text: str) -> Method:
    """The method that `text` means: `input`, a classical name, or `[NAME=]PATH` of a model or checkpoint.

    A path may be a model's folder or its model.onnx, a training run's folder, or a checkpoint file.

    Raises:
        DataError: no method has that name, and there is no such path.
        CheckpointError: the checkpoint cannot be read or holds no generator.
    """
    if text == INPUT:
        return Method(INPUT, identity)
    if text in CLASSICAL:
        return Method(text, CLASSICAL[text])
    name, rest = _named(text)
    path = Path(rest)
    if not rest or not path.exists():
        known = ", ".join((INPUT, *CLASSICAL))
        raise DataError(f"{text!r} is not a method: give one of {known}, or the path of a model or checkpoint.")
    model = path / "model.onnx" if path.is_dir() else path
    if model.suffix == ".onnx" and model.is_file():
        return exported_method(model, name)
    return Method(name or path.stem, _checkpoint(path))


def _named(text: str) -> tuple[str, str]:
    """Name and path of `[NAME=]PATH`; a path may hold "=" itself, so what exists as it stands is a path."""
    if "=" not in text or Path(text).exists():
        return "", text
    name, _, path = text.partition("=")
    return name, path


def exported_method(model: Path, name: str = "") -> Method:
    """The exported model in the file `model` as a method, called by its own name where none is given.

    Raises:
        DataError: it is not a model.
    """
    return Method(name or model_name(model), exported(model), file_digest(model))


def exported(model: Path, *, threads: int = 0) -> Enhance:
    """The exported model in the file `model`, run on the CPU; 0 threads are as many as there are cores.

    Raises:
        DataError: ONNX Runtime cannot load it, or it takes or gives something else than an export does.
    """
    import onnxruntime  # noqa: PLC0415 (classical methods need no runtime)

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # it warns of the optional input of a model in two stages
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # one photo at a time, mostly waiting
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no base class of their own
        raise DataError(f"{model} is not a model that ONNX Runtime can load.") from error
    ends = {end.name: (end.type, end.shape) for end in (*session.get_inputs(), *session.get_outputs())}
    kinds = {name: kind for name, (kind, _) in ends.items()}
    if kinds not in (CONTRACT, CONTRACT | DETAIL) or not _of_any_size(ends["image"][1]):
        raise DataError(
            f"{model} is not an exported generator: it must take `image` and give `enhanced`, both uint8 (B, H, W, 3) "
            "of any size."
        )

    def enhance(image: Image) -> Image:
        return np.asarray(session.run(["enhanced"], {"image": image[None]})[0][0], np.uint8)

    return enhance


def _of_any_size(shape: Sequence[int | str | None]) -> bool:
    """Whether an input of this `shape` takes one RGB image of any height and width."""
    if len(shape) != 4:
        return False
    batch, height, width, channels = shape
    free = not isinstance(height, int) and not isinstance(width, int)
    return free and (batch == 1 or not isinstance(batch, int)) and (channels == 3 or not isinstance(channels, int))


def file_digest(model: Path) -> str:
    """SHA-256 of a model's file, which tells it from every other."""
    return hashlib.sha256(model.read_bytes()).hexdigest()


def model_name(model: Path) -> str:
    """`name/version` where the file lies in models/name/version/, else the file's own name."""
    folder = model.resolve().parent
    has_card = (folder / "card.json").is_file()
    return f"{folder.parent.name}/{folder.name}" if has_card else model.stem


def _checkpoint(path: Path) -> Callable[[Image], Image]:
    import torch  # noqa: PLC0415 (torch takes seconds)

    from model_training.export.wrapper import PixelContract  # noqa: PLC0415
    from model_training.runs.generator import find_checkpoint, load_generator  # noqa: PLC0415

    contract = PixelContract(load_generator(find_checkpoint(path))).eval()

    def enhance(image: Image) -> Image:
        with torch.no_grad():
            pixels = contract(torch.from_numpy(np.ascontiguousarray(image))[None])
        return np.asarray(pixels[0].numpy(), np.uint8)

    return enhance
