"""Decoding in a process of its own, for formats whose decoders are large, young, or both.

HEIC (libheif, libde265), AVIF (libavif), JPEG XL (libjxl) and 12-bit JPEG are decoded by
`python -m service.imaging.decoder_process`: a crash or a runaway there is the file's fault and takes nothing else
along. The process is started with the first such file, kept for the next, and gets no more memory and time than said
here. Decoders that stay in the service's own process (libjpeg-turbo, libpng, libwebp, libtiff, Pillow's BMP and GIF)
are those that browsers and servers have fed with hostile files for decades.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from service.errors import ImageDimensions, UndecodableImage

MAX_PROCESSES = 2
"""Decoder processes at once; more files wait for one."""

MEMORY_BYTES = 700 << 20
"""What a decoder may allocate beyond what it holds at its start: 64 megapixels with room to spare, for most formats."""

DECODE_TIMEOUT_S = 10.0
LARGE_PIXELS = 16_000_000
"""After an image of more pixels the process is ended, so that its memory is given back."""

REQUEST = struct.Struct(">8sQQ")
"""What to decode, most pixels, length of the body that follows."""

ANSWER = struct.Struct(">cII")
"""How it went, then height and width of the pixels that follow, or 0 and the length of a sentence."""

PIXELS, REFUSED, TOO_LARGE = b"P", b"R", b"L"


def decode_isolated(kind: str, body: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """The picture in `body` as (H, W, 3) uint8 sRGB, upright, decoded in another process.

    `kind` is heic, avif, jxl, jpeg12, or ljpeg, whose samples are as stored: see `decoder_process`.

    Raises:
        UndecodableImage: it cannot be decoded, or its decoder crashed or took too long.
        ImageDimensions: it is larger than its header said, or takes too much memory to decode.
    """
    with _DECODERS.lend() as decoder:
        return decoder.decode(kind, body, max_pixels)


class _Decoder:
    """One process, started when first needed and again after it ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def decode(self, kind: str, body: bytes, max_pixels: int) -> NDArray[np.uint8]:
        process = self._started()
        late = threading.Event()

        def give_up() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(DECODE_TIMEOUT_S, give_up)
        timer.start()
        try:
            pixels = _exchange(process, kind, body, max_pixels)
        except (OSError, EOFError) as error:
            self.end()
            if late.is_set():
                raise UndecodableImage("The image takes too long to decode.", limit=DECODE_TIMEOUT_S) from error
            raise UndecodableImage("The image is damaged: its decoder gave up.") from error
        finally:
            timer.cancel()
        if pixels.size > 3 * LARGE_PIXELS:
            self.end()
        return pixels

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "service.imaging.decoder_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,  # decoders write there what they think of the file
                env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
                process_group=0,  # Ctrl-C at a terminal is for the service, which ends this one
            )
        return self._process

    def end(self) -> None:
        """End the process, if it runs."""
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if pipe is not None:
                    pipe.close()
        process.wait()


class _Decoders:
    """Lends one of at most `MAX_PROCESSES` decoders to each caller in turn."""

    def __init__(self) -> None:
        self._free = threading.Semaphore(MAX_PROCESSES)
        self._lock = threading.Lock()
        self._idle = [_Decoder() for _ in range(MAX_PROCESSES)]

    @contextlib.contextmanager
    def lend(self) -> Iterator[_Decoder]:
        with self._free:
            with self._lock:
                decoder = self._idle.pop()
            try:
                yield decoder
            finally:
                with self._lock:
                    self._idle.append(decoder)

    def end(self) -> None:
        with self._lock:
            for decoder in self._idle:
                decoder.end()


_DECODERS = _Decoders()
atexit.register(_DECODERS.end)


def _exchange(process: subprocess.Popen[bytes], kind: str, body: bytes, max_pixels: int) -> NDArray[np.uint8]:
    """Send one request and read its response."""
    into, out = process.stdin, process.stdout
    if into is None or out is None:
        raise EOFError
    into.write(REQUEST.pack(kind.encode().ljust(8, b"\0"), max_pixels, len(body)))
    into.write(body)
    into.flush()
    how, height, width = ANSWER.unpack(_exactly(out.read(ANSWER.size), ANSWER.size))
    if how == PIXELS:
        if height * width > max_pixels:
            raise EOFError
        pixels = np.empty((height, width, 3), np.uint8)
        if out.readinto(pixels.reshape(-1).data) != pixels.size:  # type: ignore[attr-defined]
            raise EOFError
        return pixels
    words = _exactly(out.read(width), width).decode()
    raise (ImageDimensions if how == TOO_LARGE else UndecodableImage)(words)


def _exactly(data: bytes, length: int) -> bytes:
    if len(data) != length:
        raise EOFError
    return data
