"""Makes the frozen vectors of `mesh_protocol/vectors/`: `python tests/vectors/make_vectors.py` writes what is missing.

A file that exists is never changed: a difference is an error, because peers in the field make the old bytes. To change
a format knowingly, delete the file first and say why in the news fragment. HPKE texts come from the
reference with a fixed ephemeral key (the library makes its own), so everything here is deterministic.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import vectors_attachments
import vectors_group
import vectors_links
import vectors_membership
import vectors_mesh
import vectors_messages
import vectors_onetime
import vectors_primitives
import vectors_profile
import vectors_refused
import vectors_told
import vectors_void
from vectors_shown import Json

VECTORS = Path(__file__).resolve().parents[2] / "protocol" / "mesh_protocol" / "vectors"

MAKERS: dict[str, Callable[[], Json]] = {
    "pae": vectors_primitives.make_pae,
    "keys": vectors_primitives.make_keys,
    "onetime": vectors_onetime.make_onetime,
    "hpke": vectors_primitives.make_hpke,
    "padding": vectors_primitives.make_padding,
    "envelope": vectors_messages.make_envelope,
    "group": vectors_group.make_group,
    "receipt": vectors_messages.make_receipt,
    "profile": vectors_profile.make_profile,
    "void": vectors_void.make_void,
    "attachments": vectors_attachments.make_attachments,
    "witness": vectors_told.make_witness,
    "standing": vectors_told.make_standing,
    "hello": vectors_mesh.make_hello,
    "tip": vectors_mesh.make_tip,
    "chain": vectors_mesh.make_chain,
    "seals": vectors_mesh.make_seals,
    "names": vectors_primitives.make_names,
    "invite": vectors_mesh.make_invite,
    "links": vectors_links.make_links,
    "live": vectors_messages.make_live,
    "membership": vectors_membership.make_membership,
    "forks": vectors_membership.make_forks,
    "requests": vectors_membership.make_requests,
    "verifying": vectors_membership.make_verifying,
    # Last: it alters the objects of the files above.
    "refused": vectors_refused.make_refused,
}


def render(name: str) -> str:
    """The text of one vector file."""
    return json.dumps(MAKERS[name](), indent=1, ensure_ascii=True) + "\n"


def main() -> int:
    """Write missing files; the number of files that differ is the exit status."""
    differing = 0
    for name in MAKERS:
        path = VECTORS / f"{name}.json"
        text = render(name)
        if not path.exists():
            path.write_text(text)
            print(f"wrote {path.name}")
        elif path.read_text() != text:
            differing += 1
            print(f"{path.name} differs from what the code makes now: frozen bytes changed")
    return differing


if __name__ == "__main__":
    sys.exit(main())
