"""Every error has one row: a stable code, a status and a title."""

from __future__ import annotations

import gc
import re

import pytest

from service import errors
from service.errors import HTTP_STATUS, LameganError, every_error


def unmapped() -> list[str]:
    """Errors whose code has no row of its own."""
    return [error.__name__ for error in every_error() if error.code not in HTTP_STATUS]


def test_every_error_has_a_row() -> None:
    assert unmapped() == []


def test_a_planted_error_without_a_row_is_found() -> None:
    class Planted(LameganError):
        code = "planted"

    assert unmapped() == ["Planted"]
    del Planted
    gc.collect()
    assert unmapped() == []


def test_every_row_has_an_error_and_every_code_one_class() -> None:
    codes = [error.code for error in every_error()]
    assert sorted(codes) == sorted(HTTP_STATUS)


@pytest.mark.parametrize("code", HTTP_STATUS)
def test_a_row_is_a_kebab_case_code_an_error_status_and_a_title(code: str) -> None:
    status, title = HTTP_STATUS[code]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", code)
    assert 400 <= status < 600
    assert title[0].isupper()
    assert not title.endswith(".")


def test_the_tree_at_the_top_of_the_module_names_every_error() -> None:
    drawn = errors.__doc__ or ""
    for error in every_error():
        assert re.search(rf"\b{error.__name__}\b", drawn), error.__name__
        if not error.__subclasses__():
            assert re.search(rf"{error.__name__}\s+{error.code}\b", drawn), error.code


def test_an_error_carries_its_sentence_and_its_facts() -> None:
    error = errors.BodyTooLarge("The body is too large.", limit=10, actual=11)
    assert str(error) == error.detail == "The body is too large."
    assert error.facts == {"limit": 10, "actual": 11}
