"""Structured logs: one JSON object a line on standard error, with nothing personal in it.

An exception is logged by its type and the places it passed, never by its message, which may quote what a client sent.
Libraries' own messages are withheld for the same reason (Pillow's debug lines quote EXIF fields); the server's and our
modules' own pass, for they are written here and quote nothing that a client sent.
"""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Literal

import structlog

Event = MutableMapping[str, Any]

TRUSTED = ("service", "uvicorn")
"""Packages whose messages quote nothing that a client sent."""


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """A logger whose events carry `source=name`."""
    logger: structlog.stdlib.BoundLogger = structlog.get_logger(source=name)
    return logger


def configure_logs(level: str = "info", style: Literal["json", "console"] = "json") -> None:
    """Send our events and the server's own to standard error in one format, from `level` upwards."""
    least = logging.getLevelNamesMapping()[level.upper()]
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        name_exception,
    ]
    renderer = structlog.dev.ConsoleRenderer() if style == "console" else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[withhold_foreign_words, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _drop_colour, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(least)
    logging.captureWarnings(True)
    for name in ("uvicorn", "uvicorn.error", "asyncio", "py.warnings"):
        foreign = logging.getLogger(name)
        foreign.handlers[:] = []
        foreign.propagate = True
    silent = logging.getLogger("uvicorn.access")  # its lines quote paths and queries; ours name the route alone
    silent.handlers[:] = []
    silent.propagate = False


def name_exception(_logger: object, _method: str, event: Event) -> Event:
    """Replace `exc_info` by the exception's type and the places it passed, innermost last."""
    given = event.pop("exc_info", None)
    if given is True:
        given = sys.exc_info()[1]
    error = given[1] if isinstance(given, tuple) else given
    if isinstance(error, BaseException):
        event.update(exception_facts(error))
    return event


def exception_facts(error: BaseException) -> dict[str, Any]:
    """What may be logged of an exception: its type, its cause's, and the places it passed, innermost last.

    Give these to a logger instead of `exc_info`: structlog's own configuration, which holds where `configure_logs` was
    not called, prints the local variables with it, and those may hold a photo or a name.
    """
    cause = {} if error.__cause__ is None else {"cause": type(error.__cause__).__qualname__}
    passed = traceback.extract_tb(error.__traceback__)
    places = [f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in passed]
    return {"exception": type(error).__qualname__, **cause, "places": places}


def withhold_foreign_words(_logger: object, _method: str, event: Event) -> Event:
    """Keep the messages of this package and of the server; of other libraries, which may quote an image, the name."""
    record: logging.LogRecord = event["_record"]
    event["source"] = record.name
    if record.name.partition(".")[0] not in TRUSTED:
        event["event"] = "message of a library withheld"
    return event


def _drop_colour(_logger: object, _method: str, event: Event) -> Event:
    event.pop("color_message", None)
    return event
