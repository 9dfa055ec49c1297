"""Every error states a stable code, a status and a title of its own."""

from __future__ import annotations

import gc
import re

import pytest

from service import errors
from service.errors import HTTP_STATUS, LameganError, every_error


def test_an_error_that_does_not_state_what_it_is_on_the_wire_cannot_be_defined() -> None:
    with pytest.raises(TypeError, match="code"):

        class Planted(LameganError):  # type: ignore[call-arg]
            pass

    gc.collect()  # Python knows the class until then


def test_no_two_errors_have_one_code() -> None:
    codes = [error.code for error in every_error()]
    assert len(codes) == len(set(codes)) == len(HTTP_STATUS)


@pytest.mark.parametrize("code", HTTP_STATUS)
def test_an_error_has_a_kebab_case_code_a_status_and_a_title(code: str) -> None:
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
