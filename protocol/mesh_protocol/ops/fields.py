"""Field types that several families share: bounds and help in one place."""

from typing import Annotated, Literal, TypeAlias

import msgspec

from mesh_protocol.op import MAX_TEXT

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Short = Annotated[str, msgspec.Meta(max_length=1_024)]
Url = Annotated[str, msgspec.Meta(min_length=1, max_length=2_048)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Limit = Annotated[int, msgspec.Meta(ge=1, le=100)]
Id = Annotated[str, msgspec.Meta(min_length=8, max_length=64, pattern="^[0-9a-f]+$")]
MeshArg = Annotated[
    str, msgspec.Meta(max_length=64, description="which mesh, by its local name; empty: the session's or default one")
]
Priority: TypeAlias = Literal["now", "next", "low"]
Status: TypeAlias = Literal["idle", "working", "dnd"]
State: TypeAlias = Literal[
    "queued",
    "accepted",
    "stored",
    "shown",
    "turn_started",
    "held",
    "refused",
    "expired",
    "cancelled",
    "no_such_session",
    "removed",
    "too_large",
    "unreadable",
]
