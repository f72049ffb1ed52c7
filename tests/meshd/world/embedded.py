"""The broker inside a daemon of the world: as `mesh_broker.app.open_embedded`, in virtual time and of one seed.

A daemon loads it by this module's name, which its configuration gives.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from mesh_broker.app import Broker, EmbeddedBroker
from mesh_broker.store.schema import APPLICATION_ID, MIGRATIONS
from mesh_broker.store.sqlite import SqliteStore
from mesh_protocol.io.sqlite import Database, InlineWorker
from mesh_protocol.keys import SigningKey
from world.seeds import SeededRng, WallClock


@asynccontextmanager
async def open_embedded(data: Path) -> AsyncIterator[EmbeddedBroker]:
    """A broker that keeps its data in the folder `data`."""
    rng = SeededRng("embedded", data.parent.parent.name)
    key = SigningKey.from_seed(rng(32))
    database = Database(data / "broker.db", application_id=APPLICATION_ID, migrations=MIGRATIONS, worker=InlineWorker())
    try:
        broker = Broker(SqliteStore(database), key=key, token=b"", clock=WallClock(), rng=rng)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broker.run)
            yield EmbeddedBroker(broker, nursery)
            nursery.cancel_scope.cancel()
    finally:
        database.close()
