"""A checkpoint is whole or is not there, and knows which."""

import errno
import resource
from pathlib import Path

import pytest
import torch

from model_training.runs.checkpoint import Vault, all_finite, content_digest, read_checkpoint, write_checkpoint
from service.errors import CheckpointError

STATE = {
    "step": 3,
    "networks": {"G": {"weight": torch.arange(2000.0), "half": torch.ones(3, dtype=torch.bfloat16)}},
    "list": [1.5, None, "text"],
    "random": torch.get_rng_state(),
}


def test_what_is_written_is_read_back_with_its_digest(tmp_path):
    digest = write_checkpoint(tmp_path / "a.pt", STATE)
    checkpoint = read_checkpoint(tmp_path / "a.pt")
    assert checkpoint.digest == digest == content_digest(checkpoint.state)
    assert torch.equal(checkpoint.state["networks"]["G"]["weight"], torch.arange(2000.0))


def test_the_digest_sees_every_value_type_and_shape_but_not_the_order_of_keys():
    base = {"a": torch.zeros(4), "b": [1, 2]}
    others = [
        {"a": torch.zeros(4, dtype=torch.float64), "b": [1, 2]},
        {"a": torch.zeros(2, 2), "b": [1, 2]},
        {"a": torch.tensor([0.0, 0, 0, 1]), "b": [1, 2]},
        {"a": torch.zeros(4), "b": [1, 2.0]},
        {"a": torch.zeros(4), "b": [12]},
        {"a": torch.zeros(4), "c": [1, 2]},
    ]
    assert len({content_digest(value) for value in [base, *others]}) == 7
    assert content_digest({"b": [1, 2], "a": torch.zeros(4)}) == content_digest(base)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_checkpoint_is_recognised(tmp_path, share):
    path = tmp_path / "a.pt"
    write_checkpoint(path, STATE)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="truncated or is not a checkpoint"):
        read_checkpoint(path)


def test_an_altered_checkpoint_is_recognised(tmp_path):
    path = tmp_path / "a.pt"
    torch.save({"format": 1, "digest": content_digest(STATE), "state": STATE | {"step": 4}}, path)
    with pytest.raises(CheckpointError, match="damaged: its content does not match"):
        read_checkpoint(path)


def test_one_flipped_byte_anywhere_in_the_weights_is_recognised(tmp_path):
    path = tmp_path / "a.pt"
    write_checkpoint(path, STATE)
    content = bytearray(path.read_bytes())
    at = content.find(torch.arange(2000.0).numpy().tobytes()) + 4000
    content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"damaged|truncated"):
        read_checkpoint(path)


def test_other_files_and_formats_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(CheckpointError, match="no checkpoint at"):
        read_checkpoint(tmp_path / "absent.pt")
    (tmp_path / "text.pt").write_text("hello")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save(torch.zeros(3), tmp_path / "tensor.pt")
    (tmp_path / "photo.pt").write_bytes(b"RIFF\x10\x00\x00\x00WEBPVP8 ")
    for name in ("text.pt", "list.pt", "tensor.pt", "photo.pt"):
        with pytest.raises(CheckpointError, match="not a checkpoint"):
            read_checkpoint(tmp_path / name)
    torch.save({"format": 99, "digest": "", "state": {}}, tmp_path / "new.pt")
    with pytest.raises(CheckpointError, match="format 99"):
        read_checkpoint(tmp_path / "new.pt")


def test_a_checkpoint_that_has_no_place_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    for place in ("file/a.pt", "file/below/a.pt"):
        with pytest.raises(CheckpointError, match="could not be written"):
            write_checkpoint(tmp_path / place, STATE)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_one_number_that_is_not_finite_is_found_wherever_it_is(value):
    assert all_finite(STATE | {"best": value})  # a number of the run's own, no weight
    spoilt = torch.zeros(9).index_fill(0, torch.tensor(4), value)
    assert not all_finite(STATE | {"deep": [{"G": spoilt}]})
    assert not all_finite(spoilt.to(torch.bfloat16))


def test_a_vault_keeps_the_newest(tmp_path):
    vault = Vault(tmp_path, keep=2)
    for step in range(1, 6):
        vault.save(step, STATE | {"step": step})
    assert [path.name for path in vault.paths()] == ["step-00000004.pt", "step-00000005.pt"]


def test_a_vault_passes_over_damaged_checkpoints_and_says_so(tmp_path):
    vault = Vault(tmp_path, keep=3)
    for step in (1, 2, 3):
        vault.save(step, STATE | {"step": step})
    for step in (2, 3):
        path = tmp_path / f"step-{step:08d}.pt"
        path.write_bytes(path.read_bytes()[:-100])
    checkpoint, damaged = vault.latest()
    assert checkpoint is not None
    assert checkpoint.state["step"] == 1
    assert len(damaged) == 2


def test_an_empty_vault_has_no_latest(tmp_path):
    assert Vault(tmp_path / "none", keep=1).latest() == (None, [])


def test_a_file_size_limit_while_saving_is_one_sentence_and_loses_nothing(tmp_path):
    vault = Vault(tmp_path, keep=1)
    before = vault.save(1, STATE | {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(CheckpointError, match=r"could not be written .* those saved before it are untouched"):
            vault.save(2, STATE | {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert vault.paths() == [before]
    assert read_checkpoint(before).state["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == [before.name]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this machine has no /dev/full")
def test_a_full_disk_is_the_same_sentence(tmp_path, monkeypatch):
    # The temporary file is /dev/full itself: the kernel answers ENOSPC to real writes.
    (tmp_path / ".a.pt.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match="No space left on device") as caught:
        write_checkpoint(tmp_path / "a.pt", STATE)
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.ENOSPC
    assert not (tmp_path / "a.pt").exists()
