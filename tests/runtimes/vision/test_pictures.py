"""What callers may send as a picture, and what they are told about the rest."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from django_inference.exceptions import InvalidInput
from django_inference.runtimes.vision.pictures import PictureReader

RED, BLUE = (255, 0, 0), (0, 0, 255)


@pytest.fixture
def reader() -> PictureReader:
    return PictureReader(max_pixels=1_000_000)


def picture(mode: str = "RGB") -> Image.Image:
    """Four pixels wide, two high: red on the left, blue on the right."""
    pixels = np.array([[RED, RED, BLUE, BLUE]] * 2, np.uint8)
    return Image.fromarray(pixels).convert(mode)


def file(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    written = io.BytesIO()
    image.save(written, kind, **options)
    return written.getvalue()


def assert_red_and_blue(pixels: Any, tolerance: int = 0) -> None:
    assert (pixels.shape, pixels.dtype) == ((2, 4, 3), np.uint8)
    assert np.abs(pixels[:, :2].astype(int) - RED).max() <= tolerance
    assert np.abs(pixels[:, 2:].astype(int) - BLUE).max() <= tolerance


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF", "WEBP", "JPEG"])
def test_files_of_every_kind_are_red_green_and_blue(reader: PictureReader, kind: str) -> None:
    lossy = kind in ("WEBP", "JPEG")
    options = {"quality": 100, "lossless": True} if kind == "WEBP" else {"quality": 100}
    content = file(picture().resize((32, 16), 0) if lossy else picture(), kind, **options)
    pixels = reader.read(content)
    if lossy:
        pixels = pixels[4::8, 4::8]
    assert_red_and_blue(pixels, 6 if kind == "JPEG" else 0)


def test_bytes_of_every_type_are_read(reader: PictureReader) -> None:
    content = file(picture())
    for item in (content, bytearray(content), memoryview(content)):
        assert_red_and_blue(reader.read(item))


def test_arrays_and_images_are_taken_as_they_are(reader: PictureReader) -> None:
    pixels = np.asarray(picture())
    assert reader.read(pixels) is pixels
    assert_red_and_blue(reader.read(picture()))


@pytest.mark.parametrize("mode", ["RGBA", "P", "CMYK", "YCbCr"])
def test_other_colours_become_red_green_and_blue(reader: PictureReader, mode: str) -> None:
    assert_red_and_blue(reader.read(picture(mode)), 4)


def test_transparent_palettes_are_read(reader: PictureReader) -> None:
    content = file(picture("P"), transparency=bytes([255, 255]))
    assert_red_and_blue(reader.read(content), 4)


def test_grey_is_grey(reader: PictureReader) -> None:
    assert (reader.read(file(Image.new("L", (2, 2), 77))) == 77).all()


def test_sixteen_bits_lose_the_lower_eight(reader: PictureReader) -> None:
    deep = Image.fromarray(np.array([[0, 0x1234], [0x8000, 0xFFFF]], np.uint16))
    assert reader.read(file(deep))[..., 1].tolist() == [[0, 0x12], [0x80, 0xFF]]


def test_twelve_bits_are_read_as_twelve(reader: PictureReader) -> None:
    assert reader.read(tiff([0, 0x123, 0xFFF], bits=12))[0, :, 0].tolist() == [0, 0x12, 0xFF]


def test_white_may_be_zero(reader: PictureReader) -> None:
    values = [0, 0x1234, 0xFFFF]
    assert reader.read(tiff(values, white=0))[0, :, 0].tolist() == [0xFF, 0xFF - 0x12, 0]
    assert reader.read(tiff(values, white=1))[0, :, 0].tolist() == [0, 0x12, 0xFF]


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.float32, np.int16])
def test_what_has_no_range_is_refused(reader: PictureReader, dtype: Any) -> None:
    deep = Image.fromarray(np.array([[0, 1], [100, 255]]).astype(np.float32))
    deep = deep if dtype is np.float32 else deep.convert("I")
    for item in (deep, file(deep, "TIFF"), tiff([0, 100, 255], dtype=dtype)):
        with pytest.raises(InvalidInput, match="floats|32 bits|none of these"):
            reader.read(item)


@pytest.mark.parametrize("mode", ["1", "LA", "PA", "RGBX"])
def test_every_other_mode_is_read(reader: PictureReader, mode: str) -> None:
    grey = Image.new("L", (2, 2), 255).convert("LA" if mode == "PA" else mode)
    assert (reader.read(grey.convert(mode)) == 255).all()


def tiff(values: list[int], *, bits: int = 16, white: int = 1, dtype: Any = np.uint16) -> bytes:
    """A file of one row, without Pillow, which writes few of the kinds that it reads."""
    size = np.dtype(dtype).itemsize
    if bits == 12:
        number = 0
        for value in values:
            number = number << 12 | value
        length = -(-12 * len(values) // 8)
        data = (number << (8 * length - 12 * len(values))).to_bytes(length, "big")
    else:
        bits, data = 8 * size, np.array(values, dtype).astype(f"<{dtype().dtype.str[1:]}").tobytes()
    kind = {"u": 1, "i": 2, "f": 3}[np.dtype(dtype).kind]
    entries = [
        *((256, len(values)), (257, 1), (258, bits), (259, 1), (262, white)),
        *((273, 8 + 2 + 12 * 10 + 4), (277, 1), (278, 1), (279, len(data)), (339, kind)),
    ]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    return b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + table + bytes(4) + data


def test_a_picture_is_turned_as_the_camera_was_held(reader: PictureReader) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # its right side is up
    pixels = reader.read(file(picture(), "PNG", exif=exif.tobytes()))
    assert pixels.shape == (4, 2, 3)
    assert pixels[0].tolist() == [list(RED)] * 2
    assert pixels[-1].tolist() == [list(BLUE)] * 2


def test_data_urls_are_read(reader: PictureReader) -> None:
    text = "data:image/png;base64," + base64.b64encode(file(picture())).decode()
    assert_red_and_blue(reader.read(text))


def png_that_claims(width: int, height: int) -> bytes:
    """A few dozen bytes."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("side", [1001, 10_000, 100_000])
def test_a_bomb_is_not_decoded(reader: PictureReader, side: int) -> None:
    with pytest.raises(InvalidInput, match=r"1000000 pixels at the most \(max_pixels\)"):
        reader.read(png_that_claims(side, side))


def test_the_limit_is_what_the_option_says() -> None:
    content = file(Image.new("RGB", (30, 20)))
    assert PictureReader(max_pixels=600).read(content).shape == (20, 30, 3)
    with pytest.raises(InvalidInput, match="599 pixels at the most.*it has 30 x 20"):
        PictureReader(max_pixels=599).read(content)


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (b"", "given: 0 bytes of none of these"),
        (b"no picture at all", "given: 17 bytes of none of these"),
        # It would start a program.
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n", "bytes of none of these"),
        ("/etc/passwd", "given: a text. Paths of files are never read"),
        ("https://example.org/a.jpg", "may not be fetched from 'https://example.org/a.jpg'"),
        ("file:///etc/passwd", "given: a text"),
        ("data:image/png,abc", "must be in base64"),
        ("data:image/png;base64,a", "is not base64"),
        (None, "given: a NoneType"),
        ({"image": b""}, "given: a dict"),
        ([[0, 0, 0]], "given: a list"),
        (io.BytesIO(b"x"), r"given: a BytesIO, whose read\(\) would return such bytes"),
        (np.zeros((3, 8, 8), np.uint8), r"given: an array uint8 \[3, 8, 8\]"),
        (np.zeros((8, 8, 3), np.float32), r"given: an array float32 \[8, 8, 3\]"),
        (np.zeros((8, 8), np.uint8), r"given: an array uint8 \[8, 8\]"),
        (np.zeros((0, 8, 3), np.uint8), r"given: an array uint8 \[0, 8, 3\]"),
    ],
)
def test_what_is_no_picture_is_refused_by_what_it_is(
    reader: PictureReader, item: Any, said: str
) -> None:
    with pytest.raises(InvalidInput, match=said) as error:
        reader.read(item)
    if "given" in said:
        assert "a picture is wanted: the bytes of a JPEG, PNG" in str(error.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_half_a_file_is_refused(reader: PictureReader, kind: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    content = file(Image.fromarray(noise), kind)
    with pytest.raises(InvalidInput, match="the picture cannot be read|bytes of none of these"):
        reader.read(content[: len(content) // 2])
