"""Files that a text announces: what is packed is read back, and nothing else passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh_protocol.attachments import Attachment, pack_text, unpack_text
from mesh_protocol.pae import BadEncoding, lst, u64

NAMES = st.text(st.characters(exclude_categories=["C"], exclude_characters="/\\"), min_size=1, max_size=60).filter(
    lambda name: name not in (".", "..")
)
FILES = st.builds(Attachment, NAMES, st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
GOOD = Attachment("report.pdf", 12, bytes(32))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.lists(FILES, min_size=1, max_size=16))
def test_what_is_packed_is_read_back(text: str, files: list[Attachment]) -> None:
    assert unpack_text(pack_text(text, files)) == (text, (*files,))


@given(st.binary(max_size=400))
def test_garbage_is_refused_in_one_way(data: bytes) -> None:
    try:
        text, files = unpack_text(data)
    except BadEncoding:
        return
    assert pack_text(text, files) == data


@pytest.mark.parametrize(
    "bad",
    [
        GOOD._replace(name=""),
        GOOD._replace(name=".."),
        GOOD._replace(name="a/b"),
        GOOD._replace(name="a\\b"),
        GOOD._replace(name="a\x00b"),
        GOOD._replace(name="a\u202eb"),
        GOOD._replace(name="ä" * 128),
        GOOD._replace(size=-1),
        GOOD._replace(size=2**63),
        GOOD._replace(digest=bytes(31)),
    ],
)
def test_a_name_that_is_a_path_or_a_size_that_is_none_is_not_announced(bad: Attachment) -> None:
    with pytest.raises(BadEncoding):
        pack_text("x", [bad])
    if 0 <= bad.size < 2**63:
        with pytest.raises(BadEncoding):
            unpack_text(lst(b"x", lst(bad.name.encode(), u64(bad.size), bad.digest)))


@pytest.mark.parametrize("count", [0, 17])
def test_one_to_sixteen_files_are_announced(count: int) -> None:
    with pytest.raises(BadEncoding):
        pack_text("x", [GOOD] * count)
    with pytest.raises(BadEncoding):
        unpack_text(lst(b"x", *[GOOD.encode()] * count))
