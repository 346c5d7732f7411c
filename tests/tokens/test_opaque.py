"""Images and other base64 cost what they are billed, and not what their characters would come to as text."""

import struct
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctxgc.core.segment import Kind, Role, Segment
from ctxgc.daemon.sessions.intake import Intake
from ctxgc.tokens.opaque import BASE64_CHARS_MIN, IMAGE_TOKENS_UNKNOWN, PAGE_TOKENS, image_tokens, strip_base64
from tests.daemon.harness import COUNTER

REST = b"\x9c\x01\xfe" * 200_000
IMAGES = {
    "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 280, 29),
    "gif": b"GIF89a" + struct.pack("<HH", 280, 29),
    "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(10) + b"\xff\xc0\0\x11\x08" + struct.pack(">HH", 29, 280),
    "webp": b"RIFF\0\0\0\0WEBPVP8X" + bytes(8) + (279).to_bytes(3, "little") + (28).to_bytes(3, "little"),
}


def test_an_image_is_billed_by_its_patches_and_a_large_one_is_scaled_down():
    assert image_tokens(280, 29) == 20
    assert image_tokens(15_680, 1568) == image_tokens(1568, 157)


@pytest.mark.parametrize("name", IMAGES)
def test_the_size_of_an_image_is_read_from_its_head(name):
    text, tokens = strip_base64(b'{"data":"' + b64encode(IMAGES[name] + REST) + b'"}')

    assert (text, tokens) == (b'{"data":""}', 20)


def test_an_image_that_does_not_tell_its_size_costs_what_a_large_one_does():
    assert strip_base64(b64encode(b"\xff\xd8\xff" + REST))[1] == IMAGE_TOKENS_UNKNOWN


def test_a_screenshot_does_not_fill_the_window():
    block = b'{"opaque":[{"source":{"data":"' + b64encode(IMAGES["png"] + REST) + b'"},"type":"image"}]}'
    seen = Segment(id="x", kind=Kind.ATTACHMENT, role=Role.USER, place=0, born_turn=0, skeleton=block)

    assert Intake(COUNTER, redacts=True).prepare(seen).skeleton_tokens < 60


def test_encrypted_content_counts_as_the_text_it_may_hold():
    assert strip_base64(b64encode(REST[:4000]))[1] == pytest.approx(1000, abs=2)


@given(st.binary(max_size=200), st.binary(max_size=3 * BASE64_CHARS_MIN))
def test_whatever_stands_there_is_counted_without_complaint(text, content):
    left, tokens = strip_base64(text + b'"' + b64encode(content) + b'"')

    assert left.startswith(text + b'"')
    assert (tokens > 0) == (len(b64encode(content).rstrip(b"=")) >= BASE64_CHARS_MIN)


def pdf(pages, size=0):
    return b64encode(
        b"%PDF-1.7\n/Type /Pages\n" + b"<< /Type /Page /Parent 1 0 R >>\n" * pages + bytes(range(256)) * (size // 256)
    )


def test_a_document_costs_its_pages_and_not_its_bytes():
    assert strip_base64(pdf(20, 4 * 2**20))[1] == 20 * PAGE_TOKENS


def test_a_document_whose_pages_are_packed_costs_a_bounded_share_of_its_bytes():
    assert 60_000 <= strip_base64(pdf(0, 4 * 2**20))[1] <= 90_000
