"""What a run shows and writes while it goes: a bar, losses, TensorBoard, and pictures."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import numpy as np
from PIL import Image
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from model_training.config.schema import JournalConfig
from model_training.training.validation import Score
from service.durable import write_whole

_LOSSES, _SCORES = "losses.jsonl", "validation.jsonl"


class Journal:
    """The bar on the terminal, ``losses.jsonl``, ``tensorboard/`` and ``grids/`` in the run's folder.

    A context manager. On any rank but the first it keeps silent. What a killed run wrote of steps after the one that
    it goes on from is forgotten, so that every step is there once.
    """

    def __init__(
        self, folder: Path, config: JournalConfig, *, steps: int, first_step: int, speaks: bool, console: Console
    ) -> None:
        self._folder, self._config, self._speaks = folder, config, speaks
        self._bar = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=12),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
            console=console,
            disable=not speaks,
            expand=True,
        )
        self._task = self._bar.add_task("training", total=steps, completed=first_step, losses="")
        self._board: SummaryWriter | None = None
        self._first_step = first_step

    def __enter__(self) -> Journal:
        if self._speaks:
            self._folder.mkdir(parents=True, exist_ok=True)
            for name in (_LOSSES, _SCORES):
                _forget_after(self._first_step, self._folder / name)
            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=self._first_step + 1)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if self._board is not None:
            self._board.close()

    def losses(self, step: int, losses: Mapping[str, float]) -> None:
        """Moves the bar to ``step``; every so many steps, writes the losses down."""
        short = " ".join(f"{name} {value:.3f}" for name, value in _summed(losses).items())
        self._bar.update(self._task, completed=step, losses=short)
        if self._due(step, self._config.log):
            self._write(_LOSSES, {"step": step, **losses})
            self._scalars("loss", step, losses)

    def score(self, step: int, score: Score, best: bool) -> None:
        """Writes a validation score down."""
        if self._speaks:
            self._write(_SCORES, {"step": step, **asdict(score), "best": best})
            self._scalars("validation", step, asdict(score))
            mark = " (best so far)" if best else ""
            self._bar.console.print(
                f"step {step}: PSNR {score.psnr_db:.2f} dB, LaSSIM {score.lassim:.4f} to the input, "
                f"{score.lassim_clean:.4f} to the clean; score {score.score:.2f}{mark}"
            )

    def wants_grid(self, step: int) -> bool:
        """Whether pictures are due."""
        return self._due(step, self._config.grid)

    def grid(self, step: int, images: Tensor, columns: int = 6) -> None:
        """Writes pictures as one PNG and to TensorBoard. Shape: (rows * columns, 3, H, W) uint8."""
        count, channels, height, width = images.shape
        rows = count // columns
        tiled = images.cpu().view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
        picture: np.ndarray[tuple[int, ...], np.dtype[np.uint8]] = tiled.reshape(
            rows * height, columns * width, channels
        ).numpy()
        folder = self._folder / "grids"
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / f"step-{step:08d}.png")
        if self._board is not None:
            self._board.add_image("images", picture, step, dataformats="HWC")

    def say(self, message: str) -> None:
        """One line above the bar."""
        if self._speaks:
            self._bar.console.print(message)

    def _due(self, step: int, every: int) -> bool:
        return self._speaks and step % every == 0

    def _write(self, name: str, record: Mapping[str, float | int | bool]) -> None:
        with (self._folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _scalars(self, group: str, step: int, values: Mapping[str, float]) -> None:
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{group}/{name}", value, step)


def _forget_after(step: int, path: Path) -> None:
    """Keeps of a file of JSON records those up to ``step``; a line that a killed run wrote half goes too."""
    if not path.is_file():
        return
    kept = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if _until(step, line)]
    write_whole(path, "".join(f"{line}\n" for line in kept).encode())


def _until(step: int, line: str) -> bool:
    try:
        return bool(json.loads(line)["step"] <= step)
    except (ValueError, KeyError, TypeError):
        return False


class _Rate(ProgressColumn):
    """Steps a second."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} steps/s" if task.speed else "")


def _summed(losses: Mapping[str, float]) -> dict[str, float]:
    """Losses by kind, both directions added: few enough for one line."""
    sums: dict[str, float] = {}
    for name, value in losses.items():
        kind = name.removesuffix("_x").removesuffix("_y")
        sums[kind] = sums.get(kind, 0.0) + value
    return sums
