"""Signed models: what a trusted key signed serves, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from service.errors import CommandError, ConfigurationError, ModelUntrusted
from service.registry.card import read_card, write_card
from service.registry.signature import TrustedKeys
from service.registry.store import ModelStore
from tests import models
from tests.live import LiveService


def key_pair(folder: Path, name: str) -> tuple[Path, Path]:
    """Paths of a private key and of its public half, in PEM."""
    key = Ed25519PrivateKey.generate()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    nothing = serialization.NoEncryption()
    pem = serialization.Encoding.PEM
    private.write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, nothing))
    public.write_bytes(key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private key, and a file of two trusted keys of which it is one."""
    private, public = key_pair(tmp_path, "ours")
    _, other = key_pair(tmp_path, "other")
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(other.read_bytes() + public.read_bytes())
    return private, trusted


def test_a_signed_model_serves_and_says_by_whom(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, trusted = keys
    root = tmp_path / "models"
    models.install(root, models.brighten(12), "tiny", "1.0.0")
    models.install(root, models.identity(), "tiny", "2.0.0")
    signer = ModelStore(root).sign("tiny/1.0.0", private)
    with LiveService(root, trusted_keys_file=trusted) as live:
        (served,) = live.http.get("/models").json()["models"]
        assert (served["version"], served["signed_by"]) == ("1.0.0", signer)
        assert len(signer) == 64


def test_unsigned_changed_and_foreign_models_are_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, trusted = keys
    root = tmp_path / "models"
    store = ModelStore(root, trusted=TrustedKeys(trusted))
    card = models.install(root, models.identity())
    with pytest.raises(ModelUntrusted, match="not signed"):
        store.weights(card)
    store.sign("tiny/1.0.0", key_pair(tmp_path, "foreign")[0])
    with pytest.raises(ModelUntrusted, match="not a trusted key"):
        store.weights(card)
    store.sign("tiny/1.0.0", private)
    assert store.weights(card)
    path = root / "tiny" / "1.0.0" / "card.json"
    write_card(read_card(path).model_copy(update={"limits": "none at all"}), path)
    with pytest.raises(ModelUntrusted, match="not those that were signed"):
        store.weights(read_card(path))
    assert store.installed()[0].fault
    assert ModelStore(root).installed()[0].fault is None


def test_files_that_hold_no_key_are_refused(tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ConfigurationError, match="no public key"):
        TrustedKeys(empty)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        TrustedKeys(tmp_path / "absent.pem")
    models.install(tmp_path / "models", models.identity())
    with pytest.raises(CommandError, match="not a private key"):
        ModelStore(tmp_path / "models").sign("tiny/1.0.0", empty)
