"""What a chain and the other histories kept beside it come to, worked out on the broker's own copy, step by step."""

from collections.abc import Mapping
from typing import Final, NamedTuple

import trio

from mesh_broker.store.interface import Store
from mesh_protocol.chain import Record
from mesh_protocol.forks import Frozen, Settled, Trunk, judge
from mesh_protocol.ids import MeshId
from mesh_protocol.members import ChainState, extend, settled

VERIFY_STEP: Final = 64
"""Records verified in one go, about 4 ms; others get their turn between."""


class Weighed(NamedTuple):
    """The chain that was served until now, and what all records together come to."""

    served: tuple[Record, ...]
    result: Settled | Frozen


async def weigh(store: Store, mesh: MeshId, branches: Mapping[bytes, Record]) -> Weighed:
    """Judge the stored chain of `mesh` with `branches`, records by their hashes; there is one at least. Raises `ChainError`."""
    low = min(record.seq for record in branches.values() if record.prev_hash not in branches) - 1
    state: ChainState | None = None
    served: list[Record] = []
    while len(served) < low:
        page = _page(store, mesh, len(served), min(VERIFY_STEP, low - len(served)))
        whole = page[: settled(page)]
        if not whole:
            break  # they part within an append
        state = extend(state, whole)
        served += whole
        await trio.lowlevel.checkpoint()
    trunk = Trunk(tuple(served), state) if state is not None else None
    while page := _page(store, mesh, len(served), VERIFY_STEP):
        served += page
        await trio.lowlevel.checkpoint()
    above = served[len(trunk.records) if trunk is not None else 0 :]
    return Weighed(tuple(served), judge(mesh, [*above, *branches.values()], trunk))


def _page(store: Store, mesh: MeshId, after: int, count: int) -> list[Record]:
    return [Record.decode(data) for data in store.records(mesh, after, count, 2**31)]
