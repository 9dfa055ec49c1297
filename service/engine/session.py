"""One ONNX model, loaded on one device.

The graph takes and gives pixels (uint8, B H W 3); scaling, padding and rounding are inside it, so nothing here can
drift from training.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.engine.fixed_shapes import FETCHED, FixedShapes, as_list
from service.engine.runtime import (
    CUDA,
    Accelerator,
    Batch,
    Provider,
    SessionOptions,
    fall_back,
    free_memory,
    load,
    nodes_on_cpu,
    planned_provider,
    run_bound,
)
from service.errors import InferenceFailed, ModelInvalid
from service.vocabulary import COLOUR_ONLY, DETAIL_ONLY, Output

CONTRACT = {"image": "tensor(uint8)", "enhanced": "tensor(uint8)"}
DETAIL_CONTRACT = {**CONTRACT, "detail": "tensor(uint8)"}
"""A model in two stages also gives what its first stage, which mends detail at any size, makes of the image."""

_ALONE: dict[Output, str] = {"detail": DETAIL_ONLY, "colour": COLOUR_ONLY}
"""The option that lets only this stage run."""

_log = logging.getLogger(__name__)


class Session:
    """A loaded model; `run` may be called from several threads at once."""

    def __init__(self, model: Path | bytes, options: SessionOptions) -> None:
        """Load `model`, a file or its bytes, on the device that `options` name.

        Raises:
            ProviderUnavailable: a GPU was asked for, none can be used, and fallback is not allowed.
            ModelInvalid: the file is no ONNX model, or its input or output is not the export contract's.
        """
        self.provider: Provider = planned_provider(options)
        self._session = load(model, self.provider, options)
        if self.provider == "cuda" and CUDA not in self._session.get_providers():
            self.provider = fall_back(options, "the CUDA libraries could not be loaded")
        self.gives_detail = _check_contract(self._session)
        self._options = {node.name for node in self._session.get_overridable_initializers()}
        self._fixed: FixedShapes | None = None
        if self.provider == "cuda":
            if (left := nodes_on_cpu(self._session)) is not None:
                _log.info("Nodes that the runtime keeps on the CPU: %s", as_list(left) or "none")
            if options.for_one_shape:
                self._fixed = _fixed_shapes(model, self.gives_detail, options)
        elif options.for_one_shape:
            _log.warning("LAMEGAN_CUDA_GRAPHS and LAMEGAN_TENSORRT are for a GPU, and this model runs on the CPU.")

    @property
    def accelerator(self) -> Accelerator:
        """What computes lone photos of the warmed sizes."""
        return self._fixed.accelerator if self._fixed is not None else self.provider

    def warm(self, height: int, width: int) -> None:
        """Run a grey image of this size, and prepare what the options ask for sizes that are warmed."""
        if self._fixed is not None:
            self._fixed.prepare(height, width, self._run_bound)
        self.run(np.full((1, height, width, 3), 128, np.uint8))

    def free_memory(self) -> None:
        """Give back the memory that earlier runs left for later ones of their size; costs a run of a small image."""
        free_memory(self._session)

    def close(self) -> None:
        """Free what was prepared for the warmed sizes; the rest goes with the object."""
        if self._fixed is not None:
            self._fixed.close()

    def run(self, batch: Batch, output: Output = "enhanced") -> Batch:
        """Run the batch through the model or one of its stages: (B, H, W, 3) uint8 RGB in and out.

        A model that cannot run its colour stage alone runs whole instead.

        Raises:
            InferenceFailed: the runtime failed, or the output is not the input's shape.
        """
        try:
            if self._fixed is not None:
                enhanced = self._fixed.alone(self._run_fixed, self._fixed, batch, output)
            else:
                enhanced = (self._run_bound if self.provider == "cuda" else self._run_plain)(batch, output)
        except Exception as error:  # onnxruntime's exceptions share no base but Exception
            raise InferenceFailed("The model failed on this image.") from error
        if enhanced.shape != batch.shape or enhanced.dtype != np.uint8:
            raise InferenceFailed("The model answered with an image of another shape.")
        return enhanced

    def run_detail(self, batch: Batch) -> Batch:
        """Run the batch through the detail stage alone; see `run`."""
        return self.run(batch, "detail")

    def run_colour(self, batch: Batch) -> Batch:
        """Run the batch, whose detail is mended already, through the colour stage alone; see `run`."""
        return self.run(batch, "colour")

    def _run_plain(self, batch: Batch, output: Output) -> Batch:
        made: Batch = self._session.run([FETCHED[output]], {"image": batch, **dict(self._asked(output))})[0]
        return made

    def _run_bound(self, batch: Batch, output: Output) -> Batch:
        return run_bound(self._session, batch, self._asked(output), FETCHED[output])

    def _run_fixed(self, fixed: FixedShapes, batch: Batch, output: Output) -> Batch:
        made = fixed.run(batch, output)
        return made if made is not None else self._run_bound(batch, output)

    def _asked(self, output: Output) -> Sequence[tuple[str, NDArray[np.bool_]]]:
        option = _ALONE.get(output)
        return [(option, np.array(True))] if option is not None and option in self._options else []


def _fixed_shapes(model: Path | bytes, gives_detail: bool, options: SessionOptions) -> FixedShapes:
    outputs: Sequence[Output] = ("enhanced", "detail", "colour") if gives_detail else ("enhanced",)
    return FixedShapes(model if isinstance(model, bytes) else model.read_bytes(), outputs, options)


def _check_contract(session: Any) -> bool:
    """Whether the model gives `detail` too.

    Raises:
        ModelInvalid: its inputs and outputs are not the contract's.
    """
    found = {node.name: node.type for node in (*session.get_inputs(), *session.get_outputs())}
    if found not in (CONTRACT, DETAIL_CONTRACT):
        raise ModelInvalid("The model must take `image` and give `enhanced`, and may give `detail`, all uint8.")
    return found == DETAIL_CONTRACT
