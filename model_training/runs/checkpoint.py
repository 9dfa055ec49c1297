"""Checkpoints that hold everything, written atomically, and that know when they are damaged.

One file is one run's whole state and the SHA-256 of that state's content: a truncated or altered file is recognised
when read, and two runs from the same seed and data have the same digest.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from service.durable import write_whole
from service.errors import CheckpointError

FORMAT = 1
UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AssertionError,
    struct.error,
    pickle.UnpicklingError,
    zipfile.BadZipFile,
)
"""What torch.load and numpy.load raise for files of other kinds and damaged ones (found by reading random bytes)."""

_NAME = re.compile(r"step-(\d{8})\.pt")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint file holds: a run's state (tensors on the CPU) and the digest of its content."""

    path: Path
    digest: str
    state: dict[str, Any]


def exported_weights(state: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """G's weights in a checkpoint's state, as an export takes them: the moving average where there is one beside G."""
    weights: Mapping[str, Tensor] = state.get("average") or state["networks"]["G"]
    return weights


def handed_on(state: Mapping[str, Any]) -> dict[str, Mapping[str, Tensor]]:
    """The networks that another run may begin with, by name: of G its average."""
    networks = dict(state.get("networks", {}))
    return {**networks, "G": exported_weights(state)} if "G" in networks else networks


def load_weights(network: nn.Module, weights: Mapping[str, Tensor], whose: str) -> None:
    """Puts `weights` into `network`.

    Raises:
        CheckpointError: they are of a network of other parts or sizes; it begins with `whose`.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            f"{whose} is another network than the configuration's: of other sizes, or of another version."
        ) from error


def all_finite(value: Any) -> bool:
    """Whether no tensor in nested mappings and sequences holds a NaN or an infinity."""
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    if isinstance(value, Mapping):
        return all(all_finite(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return all(all_finite(item) for item in value)
    return True


def content_digest(value: Any) -> str:
    """SHA-256 of nested mappings, sequences, numbers, strings and tensors: types, shapes and bytes, nothing else."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, Tensor):
        dense = value.detach().cpu().contiguous()
        digest.update(f"T{dense.dtype}{tuple(dense.shape)}".encode())
        digest.update(dense.reshape(-1).view(torch.uint8).numpy().data if dense.numel() else b"")
    elif isinstance(value, Mapping):
        digest.update(f"M{len(value)}".encode())
        for key in sorted(value, key=repr):
            digest.update(repr(key).encode())
            _feed(digest, value[key])
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        digest.update(f"S{len(value)}".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(f"{type(value).__name__}:{value!r};".encode())


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> str:
    """Writes ``state`` whole or not at all, and returns its digest. What was at ``path`` stays until then.

    Raises:
        CheckpointError: the disk is full or cannot be written.
    """
    digest = content_digest(state)
    payload = io.BytesIO()
    torch.save({"format": FORMAT, "digest": digest, "state": dict(state)}, payload)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, payload.getbuffer())
    except OSError as error:
        raise CheckpointError(
            f"The checkpoint {path} could not be written ({error.strerror}); those saved before it are untouched.",
            path=str(path),
        ) from error
    return digest


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in a file, checked against its own digest.

    Raises:
        CheckpointError: it is missing, truncated, altered, or of another format.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.", path=str(path))
    try:
        content = _content(path)
        version, digest, state = content["format"], content["digest"], content["state"]
    except UNREADABLE as error:
        raise CheckpointError(f"{path} is truncated or is not a checkpoint.", path=str(path)) from error
    if version != FORMAT:
        raise CheckpointError(f"{path} has checkpoint format {version}; this version reads format {FORMAT}.")
    if content_digest(state) != digest:
        raise CheckpointError(f"{path} is damaged: its content does not match its digest.", path=str(path))
    return Checkpoint(path, digest, state)


def _content(path: Path) -> dict[str, Any]:
    # torch.save writes zip files: nothing else need be shown to the unpickler.
    if not zipfile.is_zipfile(path):
        raise ValueError("not a file of torch.save")
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise TypeError("not a mapping")
    return content


class Vault:
    """A run's checkpoints: ``step-NNNNNNNN.pt`` in one folder, the newest ``keep`` of them."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self._keep = keep

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Writes the checkpoint of ``step``, then lets go of the oldest beyond ``keep``.

        Raises:
            CheckpointError: it could not be written; nothing older was touched.
        """
        path = self.folder / f"step-{step:08d}.pt"
        write_checkpoint(path, state)
        for old in self.paths()[: -self._keep]:
            old.unlink()
        return path

    def paths(self) -> list[Path]:
        """The checkpoints there are, oldest first."""
        return sorted(path for path in self.folder.glob("step-*.pt") if _NAME.fullmatch(path.name))

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest checkpoint that is whole, and a sentence for each newer one that is not."""
        damaged: list[str] = []
        for path in reversed(self.paths()):
            try:
                return read_checkpoint(path), damaged
            except CheckpointError as error:
                damaged.append(error.detail)
        return None, damaged


def best_path(folder: Path) -> Path:
    """Where a run's best generator by validation is kept."""
    return folder / "best.pt"
