"""Files that are not read, by name, and what their sender can do instead."""

from __future__ import annotations

from service.imaging.bmff import brands

READ = "JPEG, PNG, WebP, TIFF, BMP, GIF, HEIC, AVIF or JPEG XL"
"""What is read, in words."""

_AS_JPEG = "send the photo as JPEG or PNG"

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (0, b"\0\0\0\x0cjP  ", "a JPEG 2000", _AS_JPEG),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000", _AS_JPEG),
    (0, b"II+\0", "a BigTIFF", "save it as a plain TIFF, which holds up to 4 GB"),
    (0, b"MM\0+", "a BigTIFF", "save it as a plain TIFF, which holds up to 4 GB"),
    (0, b"II\xbc", "a JPEG XR", _AS_JPEG),
    (0, b"8BPS", "a Photoshop", "export it as PNG or TIFF"),
    (0, b"IIRO", "an Olympus raw", "export it as JPEG or TIFF"),
    (0, b"IIU\0", "a Panasonic raw", "export it as JPEG or TIFF"),
    (0, b"FUJIFILMCCD-RAW", "a Fujifilm raw", "export it as JPEG or TIFF"),
    (0, b"%PDF", "a PDF", "send the photo itself, as JPEG or PNG"),
    (0, b"%!PS", "a PostScript", "send the photo itself, as JPEG or PNG"),
    (0, b"PK\x03\x04", "a ZIP", "unpack it and send each photo"),
    (0, b"\x1f\x8b", "a gzip", "unpack it and send each photo"),
    (0, b"\x1a\x45\xdf\xa3", "a Matroska or WebM video", "send one frame of it as JPEG or PNG"),
    (0, b"\0\0\x01\0", "an icon", _AS_JPEG),
    (0, b"\x76\x2f\x31\x01", "an OpenEXR", _AS_JPEG),
    (0, b"qoif", "a QOI", _AS_JPEG),
    (0, b"<svg", "an SVG", "send a photo, as JPEG or PNG"),
    (0, b"<!doctype html", "an HTML", "send the photo itself, as JPEG or PNG"),
    (0, b"<html", "an HTML", "send the photo itself, as JPEG or PNG"),
    (0, b"data:image/", "a data URL in text", "decode its base64 and send the bytes"),
    (8, b"AVI ", "an AVI video", "send one frame of it as JPEG or PNG"),
    (128, b"DICM", "a DICOM", "export its picture as JPEG, PNG or TIFF and send that"),
)
_VIDEO_BRANDS = frozenset((b"isom", b"iso2", b"mp41", b"mp42", b"avc1", b"qt  ", b"M4V ", b"3gp4", b"3gp5", b"dash"))


def name_foreign(body: bytes) -> str:
    """One sentence that names what `body` is, as far as its first bytes tell, and says what to do."""
    head = body[:512]
    for at, signature, name, remedy in _SIGNATURES:
        if head[at : at + len(signature)].lower() == signature.lower():
            return f"This is {name} file, which is not read: {remedy}."
    found = brands(body)
    if b"crx " in found:
        return "This is a Canon raw file, which is not read: export it as JPEG or TIFF."
    if found & _VIDEO_BRANDS:
        return "This is a video, which is not read: send one frame of it as JPEG or PNG."
    return f"The bytes are not a {READ} image."
