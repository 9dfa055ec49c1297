"""Sessions for a photo of one size and one stage of a model each: captured as CUDA graphs, or built by TensorRT.

They take lone photos of the sizes that were warmed; whatever else comes runs in the model's ordinary session. Each must
give what that gives before it is used, and one that cannot be made, or does not, is left out with a warning.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from service.engine.graph_file import with_choices
from service.engine.runtime import (
    TENSORRT,
    Accelerator,
    Batch,
    FixedTensors,
    Made,
    Provider,
    SessionOptions,
    Shape,
    load,
    nodes_on_cpu,
    run_alone,
)
from service.errors import ModelInvalid
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY, Output

MOST_SIZES = 16
"""Sizes for which a model is prepared; each keeps up to three sessions with their memory on the GPU."""

MOST_DIFFERENCE = 2
"""Grey levels by which such a session may differ from the ordinary one: as a card's golden image allows."""

FETCHED: dict[Output, str] = {"enhanced": "enhanced", "detail": "detail", "colour": "enhanced"}
"""What is fetched of the graph for each output."""

Run = Callable[[Batch, Output], Batch]

_log = logging.getLogger(__name__)


class FixedShapes:
    """The sessions of one model."""

    def __init__(
        self, model: bytes, outputs: Sequence[Output], options: SessionOptions, provider: Provider = "cuda"
    ) -> None:
        self._model = model
        self._outputs = outputs
        self._options = options
        self._provider: Provider = provider
        self._ready: dict[tuple[Output, Shape], FixedTensors] = {}
        self._sizes: set[Shape] = set()
        self.accelerator: Accelerator = provider
        """`tensorrt` once a session runs on it."""

    def prepare(self, height: int, width: int, plain: Run) -> None:
        """Make the sessions for photos of this size, and hold each to what `plain` gives."""
        shape = (1, height, width)
        if shape in self._sizes or not self._options.for_one_shape:
            return
        if len(self._sizes) >= MOST_SIZES:
            _log.warning("More than %d sizes are warmed: %dx%d runs as any other.", MOST_SIZES, width, height)
            return
        self._sizes.add(shape)
        for output in self._outputs:
            try:
                made = self._made(output, shape)
                if made is not None:
                    self.alone(self._require_alike, made, output, shape, plain)
                    self._ready[output, shape] = made
            except Exception as error:  # onnxruntime's exceptions share no base but Exception
                _log.warning("%dx%d (%s) runs as any other size: %s", width, height, output, _reason(error))

    def alone(self, work: Callable[..., Made], *given: object) -> Made:
        """What `work` returns; done by the one thread of the GPU, if graphs are captured."""
        return run_alone(work, *given) if self._options.cuda_graphs else work(*given)

    def close(self) -> None:
        """Free the sessions."""
        self.alone(self._ready.clear)

    def run(self, batch: Batch, output: Output) -> Batch | None:
        """What the model makes of (B, H, W, 3) uint8 RGB; None where it is not a lone photo of a size prepared for."""
        found = self._ready.get((output, batch.shape[:3]))
        return found.run(batch) if found is not None else None

    def _made(self, output: Output, shape: Shape) -> FixedTensors | None:
        """A session and its tensors; None where TensorRT alone was asked for and cannot be used."""
        if not self._options.for_one_shape:
            return None
        model = with_choices(self._model, {DETAIL_ONLY: output == "detail", COLOUR_ONLY: output == "colour"})
        try:
            session = load(model, self._provider, self._options, shape)
        except ModelInvalid as error:
            if self._options.tensorrt_cache is None:
                raise
            _log.warning("TensorRT cannot be used, and CUDA runs without it: %s", _reason(error))
            self._options = replace(self._options, tensorrt_cache=None)
            return self._made(output, shape)
        if self._provider == "cuda" and (left := nodes_on_cpu(session)):
            _log.warning("%s for %dx%d leaves nodes to the CPU: %s", output, shape[2], shape[1], as_list(left))
        if TENSORRT in session.get_providers():
            self.accelerator = "tensorrt"
        return FixedTensors(session, FETCHED[output], shape, self._provider)

    def _require_alike(self, made: FixedTensors, output: Output, shape: Shape, plain: Run) -> None:
        """Run two pictures, so that the second is a replay of what the first captured.

        Raises:
            ModelInvalid: one comes out otherwise than by `plain`.
        """
        for seed in range(2):
            picture = _picture(shape, seed)
            off = int(np.abs(made.run(picture).astype(np.int16) - plain(picture, output)).max())
            if off > MOST_DIFFERENCE:
                raise ModelInvalid(f"its result differs by {off} grey levels.")


def _reason(error: Exception) -> str:
    """The first line of what the runtime said, cut short."""
    return (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0][:300]


def as_list(nodes: dict[str, int]) -> str:
    """Kinds of nodes and how many there are, the most frequent first."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(nodes.items(), key=lambda item: -item[1]))


def _picture(shape: Shape, seed: int) -> Batch:
    """A smooth picture with some grain, (B, H, W, 3) uint8 RGB, another one for each seed."""
    rng = np.random.default_rng(seed)
    rows, columns = np.linspace(0, 3 + seed, shape[1])[:, None, None], np.linspace(0, 5, shape[2])[None, :, None]
    smooth = 128 + 60 * np.sin(rows + columns + rng.uniform(0, 6, 3))
    return np.clip(smooth + rng.normal(0, 4, (*shape, 3)), 0, 255).astype(np.uint8)
