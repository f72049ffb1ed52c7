"""Whether `mesh up` may install the service: what a person once said against it is remembered, below the data directory."""

import os

from mesh_clients import ancestry
from mesh_clients.install import programs
from mesh_clients.install.documents import remove_file, replace_file
from mesh_clients.install.service import why_not

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from mesh_clients.install.service import Service

FILE = "no-service"


def is_wanted(environ: "Mapping[str, str]", found: "Service") -> bool:
    """Whether a `mesh up` that says nothing of a service installs `found`.

    Not where it is in already or its manager does not answer, not after `--no-service` or `mesh uninstall`, not for a home
    that MESH_HOME names (that is a second one, or a trial), and not for an agent: what starts at login is for its person to
    decide.
    """
    return not (
        found.is_there
        or programs.own_home(environ)
        or os.path.lexists(note_path(environ))
        or ancestry.is_below_agent(environ, os.getpid())
        or why_not(found)
    )


def decline(environ: "Mapping[str, str]") -> None:
    """Remember that no service is wanted. Raises `MeshError`."""
    replace_file(note_path(environ), b"mesh up installs no service; mesh up --service does, and removes this file\n")


def accept(environ: "Mapping[str, str]") -> None:
    """Forget it. Raises `MeshError`."""
    remove_file(note_path(environ))


def note_path(environ: "Mapping[str, str]") -> str:
    return f"{os.fsdecode(programs.data_directory(environ))}/{FILE}"
