"""A card that asks for what the service does not do is refused; no field of it is read and ignored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from service.errors import ModelInvalid
from service.registry.card import read_card
from tests import models


def with_change(folder: Path, section: str, change: dict[str, Any]) -> Path:
    """The file of a valid card with `change` made to one of its sections."""
    models.install(folder, models.identity())
    path = folder / "tiny" / "1.0.0" / "card.json"
    card = json.loads(path.read_bytes())
    card[section] |= change
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("section", "change", "reason"),
    [
        ("contract", {"min_side": 128}, "min_side is above 64"),
        ("contract", {"opset": 21}, "opset is not 18"),
        ("lassim", {"level": 2}, "level 3"),
        ("lassim", {"scale": "native"}, "canonical scale"),
    ],
)
def test_what_the_service_does_not_do_is_refused(
    tmp_path: Path, section: str, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelInvalid, match=reason):
        read_card(with_change(tmp_path, section, change))


def test_a_model_that_takes_smaller_images_is_welcome(tmp_path: Path) -> None:
    assert read_card(with_change(tmp_path, "contract", {"min_side": 16})).contract.min_side == 16


def test_options_of_a_network_may_be_lists(tmp_path: Path) -> None:
    card = read_card(with_change(tmp_path, "network", {"options": {"widths": [8, 16], "name": "x"}}))
    assert card.network.options == {"widths": [8, 16], "name": "x"}
