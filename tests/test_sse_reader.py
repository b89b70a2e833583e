"""Frames out of bytes, whatever the bytes' pieces."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gateway.backends.json_values import Surrogates
from gateway.backends.sse_reader import FrameReader

TEXTS = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30)


@given(
    frames=st.lists(st.tuples(TEXTS, st.lists(TEXTS, min_size=1, max_size=3)), max_size=5),
    line_end=st.sampled_from(["\n", "\r\n", "\r"]),
    cuts=st.lists(st.integers(0, 400), max_size=40),
)
def test_frames_are_the_same_in_any_pieces(frames: list[tuple[str, list[str]]], line_end: str, cuts: list[int]) -> None:
    lines: list[str] = []
    for event, datas in frames:
        lines += [": comment", f"event: {event}", *(f"data: {data}" for data in datas), ""]
    raw = "".join(line + line_end for line in lines).encode()
    reader = FrameReader()
    marks = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    got = [frame for a, b in itertools.pairwise(marks) for frame in reader.feed(raw[a:b])]
    if line_end == "\r":
        got += reader.feed(b"\n")  # a lone CR ends its line at once; nothing is left over
    whole = [(event, "\n".join(datas).encode()) for event, datas in frames]
    assert got == [(event, data) for event, data in whole if data.strip()]


def test_a_comment_makes_no_frame() -> None:
    assert FrameReader().feed(b": keepalive\n\n") == []


def test_a_frame_without_its_empty_line_is_none() -> None:
    assert FrameReader().feed(b"data: cut\n") == []


def test_a_byte_order_mark_and_a_missing_space_are_read() -> None:
    assert FrameReader().feed(b"\xef\xbb\xbfdata:1\n\ndata: 2\n\n") == [("", b"1"), ("", b"2")]


@given(st.text(st.characters(exclude_categories=[]), max_size=20), st.lists(st.integers(0, 20), max_size=5))
def test_halves_are_joined_wherever_a_text_is_cut(text: str, cuts: list[int]) -> None:
    units = text.encode("utf-16-le", "surrogatepass")
    marks = [0, *sorted(min(2 * cut, len(units)) for cut in cuts), len(units)]
    pieces = [units[a:b].decode("utf-16-le", "surrogatepass") for a, b in itertools.pairwise(marks)]
    surrogates = Surrogates()
    joined = "".join(map(surrogates.join, pieces)) + surrogates.flush()
    assert joined == units.decode("utf-16-le", "replace")
