"""Names of announced files that would be no file of that folder, or none at all."""

import pytest

from mesh_protocol.attachments import Attachment, pack_text, unpack_text
from mesh_protocol.pae import BadEncoding, lst


@pytest.mark.parametrize("name", [".", "..", "", "/", "\\", "a/b", "a\\b", "a\0", "\u202e", "n" * 256])
def test_a_name_that_is_none_is_neither_written_nor_read(name):
    file = Attachment(name, 1, bytes(32))
    with pytest.raises(BadEncoding):
        pack_text("x", [file])
    with pytest.raises(BadEncoding):
        unpack_text(lst(b"x", lst(name.encode(), bytes(8), bytes(32))))


@pytest.mark.parametrize("name", ["a", "...", ".a", "a.", "a b", "n" * 255])
def test_any_other_name_is_read_back(name):
    file = Attachment(name, 0, bytes(32))
    assert unpack_text(pack_text("x", [file])) == ("x", (file,))
