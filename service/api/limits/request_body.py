"""Request bodies: read within limits while they stream in, and taken apart when they are multipart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import (
    BodyTimeout,
    BodyTooLarge,
    ClientGone,
    InvalidParameter,
    MissingImage,
    Overloaded,
    UnsupportedType,
)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_PARTS = 64
LEAST_BYTES_PER_S = 4000
"""The slowest a body may come in, on average, once its first `timeout_s` are over."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What a body may cost.

    Attributes:
        max_bytes: most bytes of one body.
        timeout_s: longest pause, and how long a body may take however slowly it comes.
        memory_bytes: most bytes of all bodies being held at once.
    """

    max_bytes: int
    timeout_s: float
    memory_bytes: int


class BodyReader:
    """Reads bodies; holds the sum of what is held now."""

    def __init__(self, limits: BodyLimits) -> None:
        self.limits = limits
        self._held = 0

    def check_declared(self, content_length: str | None) -> None:
        """Raise if the declared length is over the limit.

        Raises:
            BodyTooLarge: it is.
        """
        if content_length is not None and content_length.isdecimal() and int(content_length) > self.limits.max_bytes:
            raise BodyTooLarge("The body is too large.", limit=self.limits.max_bytes, actual=int(content_length))

    @contextmanager
    def hold(self) -> Iterator[Account]:
        """An account for the bytes of one request, settled at the end."""
        account = Account(self)
        try:
            yield account
        finally:
            self._held -= account.taken

    def take(self, count: int) -> None:
        """Hold `count` bytes more.

        Raises:
            Overloaded: too many are held already.
        """
        if self._held + count > self.limits.memory_bytes:
            raise Overloaded("Too many uploads are under way.", retry_after_s=1)
        self._held += count


class Account:
    """The bytes that one request holds."""

    def __init__(self, reader: BodyReader) -> None:
        self._reader = reader
        self.taken = 0

    async def read(self, receive: Receive) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: more bytes than the limit came.
            BodyTimeout: it came too slowly.
            ClientGone: the client hung up before its end.
            Overloaded: too many bodies are held already.
        """
        timeout_s, started = self._reader.limits.timeout_s, time.monotonic()
        limit, chunks = self._reader.limits.max_bytes, []
        while True:
            left_s = started + timeout_s + self.taken / LEAST_BYTES_PER_S - time.monotonic()
            try:
                async with asyncio.timeout(min(timeout_s, left_s)):
                    message = await receive()
            except TimeoutError as error:
                raise BodyTimeout("The body came in too slowly, or stopped coming.", limit=timeout_s) from error
            if message["type"] == "http.disconnect":
                raise ClientGone("The client hung up.")
            chunk = message.get("body", b"")
            if self.taken + len(chunk) > limit:
                raise BodyTooLarge("The body is too large.", limit=limit)
            self._reader.take(len(chunk))
            self.taken += len(chunk)
            chunks.append(chunk)
            if not message.get("more_body", False):
                return b"".join(chunks)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of a request: its bytes and the media type declared for them. Its file name is never kept."""

    content: bytes
    declared_type: str | None


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a form: its name, whether it is a file, and what it holds."""

    name: str
    is_file: bool
    part: Part


def image_of(body: bytes, content_type: str | None, encoding: str | None = None) -> Part:
    """The one image of a request: the `file` part of a multipart body, or the bare body.

    A form without a part `file` but with a single file under another name means that one: uploaders have names of
    their own (FilePond's is `filepond`). Fields that are not files are ignored.

    Raises:
        MissingImage: no file, or an empty one.
        InvalidParameter: more than one image, or a multipart body that cannot be taken apart.
        UnsupportedType: a compressed body.
    """
    if not is_multipart(content_type):
        _check_plain(encoding)
        if not body:
            raise MissingImage("The body is empty; send an image.")
        return Part(body, content_type)
    _check_plain(encoding)
    fields = _split(body, content_type or "")
    named = [field for field in fields if field.name == "file" and field.is_file]
    chosen = named or [field for field in fields if field.is_file] or [f for f in fields if f.name == "file"]
    if len(chosen) > 1:
        raise InvalidParameter("The form has more than one image; send one, as the part file.")
    if not chosen or not chosen[0].part.content:
        raise MissingImage("The form has no image; send it as the part file.")
    return chosen[0].part


def images_of(
    body: bytes, content_type: str | None, names: tuple[str, ...], encoding: str | None = None
) -> dict[str, Part]:
    """The images of a multipart body, one part for each of `names`; other fields are ignored.

    Raises:
        MissingImage, InvalidParameter, UnsupportedType: as `image_of`.
    """
    _check_plain(encoding)
    if not is_multipart(content_type):
        raise UnsupportedType("Send the images as multipart/form-data.")
    parts: dict[str, Part] = {}
    for field_ in _split(body, content_type or ""):
        if field_.name not in names:
            continue
        if field_.name in parts:
            raise InvalidParameter(f"The body has more than one part {field_.name}.")
        parts[field_.name] = field_.part
    for name in names:
        if name not in parts or not parts[name].content:
            raise MissingImage(f"The body has no image in a part {name}.")
    return parts


def is_multipart(content_type: str | None) -> bool:
    """Whether the declared type is multipart/form-data."""
    return (content_type or "").partition(";")[0].strip().lower() == "multipart/form-data"


def _check_plain(encoding: str | None) -> None:
    if encoding is not None and encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedType("Send the body without Content-Encoding.")


@dataclass(slots=True)
class _Splitter:
    """Callbacks of the parser; `parts` grows as they are called."""

    parts: list[_Field] = field(default_factory=list)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    _content: bytearray = field(default_factory=bytearray)

    def begin(self) -> None:
        if len(self.parts) >= MAX_PARTS:
            raise InvalidParameter("The body has too many parts.", limit=MAX_PARTS)
        self._headers, self._name, self._value, self._content = {}, b"", b"", bytearray()

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name, self._value = b"", b""

    def content(self, data: bytes, start: int, end: int) -> None:
        self._content += memoryview(data)[start:end]

    def finish(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b"").decode("latin-1"))
        declared = self._headers.get(b"content-type")
        name = options.get(b"name", b"").decode("latin-1")
        part = Part(bytes(self._content), declared.decode("latin-1") if declared else None)
        self.parts.append(_Field(name, b"filename" in options or b"filename*" in options, part))


def _split(body: bytes, content_type: str) -> list[_Field]:
    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if not body:
        raise MissingImage("The body is empty; send an image.")
    if not boundary:
        raise InvalidParameter("The multipart body has no boundary in its Content-Type.")
    start = body.find(b"--" + boundary)
    if start > 0 and body[:start].endswith(b"\n"):  # a preamble, to be ignored: RFC 2046 section 5.1.1
        body = body[start:]
    splitter = _Splitter()
    ended: list[bool] = []
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": splitter.begin,
                "on_header_field": splitter.header_field,
                "on_header_value": splitter.header_value,
                "on_header_end": splitter.header_end,
                "on_part_data": splitter.content,
                "on_part_end": splitter.finish,
                "on_end": lambda: ended.append(True),
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidParameter("The multipart body cannot be taken apart.") from error
    if not ended:
        raise InvalidParameter("The multipart body is cut off.")
    return splitter.parts
