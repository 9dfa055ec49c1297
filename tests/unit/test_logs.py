"""What logs hold, and what they never do."""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Iterator

import pytest
import structlog

from service.monitoring.logs import configure_logs, get_logger


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    logging.captureWarnings(False)
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_every_event_is_one_json_object_with_time_level_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    get_logger("lamegan.test").info("something", count=3)
    get_logger("lamegan.test").debug("too fine")
    (event,) = lines(capsys)
    assert event["event"] == "something"
    assert event["count"] == 3
    assert event["level"] == "info"
    assert event["source"] == "lamegan.test"
    assert str(event["time"]).endswith("Z")


def test_an_exception_is_logged_by_type_and_place_but_not_by_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    try:
        try:
            raise ValueError("SENTINEL inside")
        except ValueError as error:
            raise RuntimeError("SENTINEL outside") from error
    except RuntimeError as error:
        get_logger("lamegan.test").error("failed", exc_info=error)
        logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n", exc_info=error)
    text = capsys.readouterr().err
    assert "SENTINEL" not in text
    for event in map(json.loads, text.splitlines()):
        assert event["exception"] == "RuntimeError"
        assert event["cause"] == "ValueError"
        assert any("test_logs.py" in place for place in event["places"])


def test_our_own_warnings_are_not_withheld(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    logging.getLogger("service.engine.runtime").warning("A GPU is there, but %s: the CPU is used.", "it has no driver")
    (event,) = lines(capsys)
    assert event["event"] == "A GPU is there, but it has no driver: the CPU is used."
    assert event["level"] == "warning"


@pytest.mark.parametrize("name", ["PIL.TiffImagePlugin", "python_multipart.multipart", "asyncio", "anything"])
def test_the_words_of_libraries_are_withheld(capsys: pytest.CaptureFixture[str], name: str) -> None:
    configure_logs("debug")
    logging.getLogger(name).debug("tag ImageDescription: %s", "SENTINEL")
    logging.getLogger(name).warning("SENTINEL")
    text = capsys.readouterr().err
    assert "SENTINEL" not in text
    assert {json.loads(line)["source"] for line in text.splitlines()} == {name}


def test_warnings_are_withheld_too(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("SENTINEL", UserWarning, stacklevel=1)
    (event,) = lines(capsys)
    assert event["source"] == "py.warnings"
    assert "SENTINEL" not in json.dumps(event)


def test_the_servers_access_log_which_quotes_paths_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("debug")
    logging.getLogger("uvicorn.access").info('127.0.0.1 - "GET /SENTINEL HTTP/1.1" 404')
    assert capsys.readouterr().err == ""


def test_people_may_ask_for_plain_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("info", "console")
    get_logger("lamegan.test").info("something", count=3)
    assert "something" in capsys.readouterr().err
