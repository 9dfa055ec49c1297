"""Signed models: Ed25519 over the digests of card and weights, so that neither can be exchanged.

A signature lies beside the model as `signature.json`. Keys are PEM files, as `openssl genpkey -algorithm ed25519` makes
them; a public key is called by its fingerprint, the SHA-256 of its 32 bytes. `cryptography` is the extra `signing`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import CommandError, ConfigurationError, ModelUntrusted

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_FILE = "signature.json"
_PEM = re.compile(rb"-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----\n?", re.DOTALL)


class TrustedKeys:
    """The public keys whose models may serve."""

    def __init__(self, path: Path) -> None:
        """Read every public key in the PEM file `path`.

        Raises:
            ConfigurationError: it cannot be read, holds no Ed25519 public key, or `cryptography` is not installed.
        """
        try:
            found = [_public_key(block) for block in _PEM.findall(path.read_bytes())]
        except OSError as error:
            raise ConfigurationError(f"The file of trusted keys cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ConfigurationError("The file of trusted keys holds something other than Ed25519 keys.") from error
        if not found:
            raise ConfigurationError("The file of trusted keys holds no public key in PEM.")
        self._keys = {fingerprint(key): key for key in found}

    def check(self, folder: Path, weights: bytes) -> str:
        """The fingerprint of the trusted key that signed the model in `folder`, whose file holds `weights`.

        Raises:
            ModelUntrusted: it is not signed, by another key, or card or weights were changed since.
        """
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (optional)

        signer, signature = _read(folder)
        key = self._keys.get(signer)
        if key is None:
            raise ModelUntrusted(f"{folder}: it is signed by {signer[:16]}, which is not a trusted key.")
        try:
            key.verify(signature, _message(folder, weights))
        except InvalidSignature as error:
            raise ModelUntrusted(f"{folder}: card or weights are not those that were signed.") from error
        return signer


def sign(folder: Path, private_key: Path) -> str:
    """Sign the model in `folder` with the PEM key in `private_key`; return the fingerprint of its public half.

    Raises:
        CommandError: the key cannot be read or is not Ed25519, or the model cannot be read or its folder written.
        ConfigurationError: `cryptography` is not installed.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey  # noqa: PLC0415  (optional)
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415

    try:
        key = load_pem_private_key(private_key.read_bytes(), password=None)
    except OSError as error:
        raise CommandError.unreadable(private_key, error) from error
    except (ValueError, TypeError) as error:
        raise CommandError(f"{private_key} is not a private key in PEM without a password.") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise CommandError(f"{private_key} is no Ed25519 key; openssl genpkey -algorithm ed25519 makes one.")
    path = folder / SIGNATURE_FILE
    try:
        signature = key.sign(_message(folder, (folder / "model.onnx").read_bytes()))
        signer = fingerprint(key.public_key())
        facts = {"algorithm": "ed25519", "key": signer, "signature": base64.b64encode(signature).decode()}
        path.write_text(json.dumps(facts, indent=2) + "\n", encoding="ascii")
    except OSError as error:
        raise CommandError.unwritable(path, error) from error
    return signer


def fingerprint(key: Ed25519PublicKey) -> str:
    """SHA-256 of the key's 32 bytes, hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _message(folder: Path, weights: bytes) -> bytes:
    """What is signed: the digests of the card and of the weights."""
    card = hashlib.sha256((folder / "card.json").read_bytes()).hexdigest()
    return f"lamegan model 1\n{card}\n{hashlib.sha256(weights).hexdigest()}\n".encode()


def _read(folder: Path) -> tuple[str, bytes]:
    """The signer's fingerprint and the signature beside a model.

    Raises:
        ModelUntrusted: the signature is absent or cannot be understood.
    """
    try:
        facts = json.loads((folder / SIGNATURE_FILE).read_bytes())
        if facts["algorithm"] != "ed25519":
            raise ModelUntrusted(f"{folder}: its signature is not Ed25519.")
        return str(facts["key"]), base64.b64decode(facts["signature"], validate=True)
    except FileNotFoundError as error:
        raise ModelUntrusted(f"{folder}: it is not signed, and only signed models may serve.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelUntrusted(f"{folder}: its signature cannot be read.") from error


def _public_key(pem: bytes) -> Ed25519PublicKey:
    _need_cryptography()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415  (optional)
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415

    key = load_pem_public_key(pem)
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not Ed25519")  # noqa: TRY004  (told like any other file that holds no key)
    return key


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401, PLC0415
    except ImportError as error:
        raise ConfigurationError("Signed models need the extra `signing`: pip install 'lamegan[signing]'.") from error
