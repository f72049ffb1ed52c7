"""The frozen announcements of files: read to what is written beside them, made again, and made by the reference."""

import json

import pytest

import make_vectors
import mesh_reference as ref
from mesh_protocol.attachments import Attachment, pack_text, unpack_text
from mesh_protocol.keys import BadEncoding

DOCUMENT = json.loads((make_vectors.VECTORS / "attachments.json").read_text())


def files_of(row):
    return tuple(Attachment(each["name"], each["size"], bytes.fromhex(each["digest"])) for each in row["files"])


@pytest.mark.parametrize("row", DOCUMENT["texts"], ids=lambda row: row["name"])
def test_a_frozen_announcement_is_read_and_made_again(row):
    assert unpack_text(bytes.fromhex(row["hex"])) == (row["text"], files_of(row))
    assert pack_text(row["text"], files_of(row)).hex() == row["hex"]


@pytest.mark.parametrize("row", DOCUMENT["texts"], ids=lambda row: row["name"])
def test_the_reference_makes_every_announcement(row):
    entries = (
        ref.lst(each["name"].encode(), ref.u64(each["size"]), bytes.fromhex(each["digest"])) for each in row["files"]
    )
    assert ref.lst(row["text"].encode(), *entries).hex() == row["hex"]


@pytest.mark.parametrize("row", DOCUMENT["refused"], ids=lambda row: row["why"])
def test_an_announcement_frozen_as_refused_is_refused(row):
    with pytest.raises(BadEncoding):
        unpack_text(bytes.fromhex(row["hex"]))
