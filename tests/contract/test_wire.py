"""Nothing on the wire is renamed, removed or retyped: what tests/contract/wire.txt lists is still there."""

from __future__ import annotations

from tests.contract.wire import SNAPSHOT, flattened, wire_contract


def test_everything_the_wire_contract_lists_is_still_there() -> None:
    listed = SNAPSHOT.read_text(encoding="utf-8").splitlines()
    assert len(listed) > 500
    missing = sorted(set(listed) - set(wire_contract()))
    assert not missing, "changed on the wire (only additions are allowed):\n" + "\n".join(missing)


def test_a_change_of_a_type_a_default_or_a_name_shows_but_one_of_words_does_not() -> None:
    before = {"properties": {"side": {"type": "integer", "default": 3, "description": "Of an image."}}}
    reworded = {"properties": {"side": {"type": "integer", "default": 3, "description": "Pixels."}}}
    renamed = {"properties": {"width": {"type": "integer", "default": 3}}}
    retyped = {"properties": {"side": {"type": "number", "default": 3}}}
    assert set(flattened("x", before)) == set(flattened("x", reworded))
    assert not set(flattened("x", before)) <= set(flattened("x", renamed))
    assert not set(flattened("x", before)) <= set(flattened("x", retyped))
