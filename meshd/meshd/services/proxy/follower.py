"""Reads Claude Code's transcripts into the record, once when asked and again and again when told to follow them."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

import apsw
import trio

from mesh_protocol.io.sqlite import Database, StorageFailed
from mesh_protocol.wire.errors import MeshError
from meshd.log import Word, get_logger
from meshd.seams import Seams
from meshd.services.proxy.imports import Taken, add_piece, read_places
from meshd.services.proxy.prices import Prices
from meshd.services.proxy.transcripts import Piece, find_transcripts, read_transcripts

log = get_logger("proxy")

EVERY_S: Final = 30.0
_KEY: Final = "follow"


class Follower:
    """`config` is the folder that is followed, empty for none; it is remembered in the database."""

    def __init__(self, db: Database, seams: Seams, prices: Callable[[], Prices]) -> None:
        self._db = db
        self._seams = seams
        self._prices = prices
        found = db.reader.execute("SELECT value FROM meta WHERE key=?", (_KEY,)).fetchone()
        self.config = bytes(found[0]).decode() if found and isinstance(found[0], bytes) else ""
        self._one_at_a_time = trio.Lock()

    async def follow(self, config: str) -> None:
        """Follow the transcripts of that folder from now on; empty: of none."""
        await self._db.write(partial(_remember, value=config.encode()))
        self.config = config

    async def run(self) -> None:
        """Follow, while there is something to follow; until cancelled."""
        while True:
            if self.config:
                try:
                    await self.read(Path(self.config))
                except MeshError as error:  # a full disk: what was not taken is read again
                    log.warning("transcripts were not taken in", code=Word(error.code))
                except StorageFailed:
                    return
                except Exception as error:  # noqa: BLE001 - whatever a transcript holds, the proxy goes on
                    log.error("transcripts were not taken in", error=error)  # noqa: TRY400 - it may quote them
            await trio.sleep(EVERY_S)

    async def read(self, config: Path) -> tuple[int, Taken]:
        """Read what is new. Returns how many transcripts there are, and what was taken in. Raises `MeshError`."""
        async with self._one_at_a_time:
            places = read_places(self._db.reader)
            pieces = read_transcripts(config, places, self._prices(), self._seams.clock())
            messages = added = 0
            while (piece := await self._seams.threads(partial(_next, pieces))) is not None:
                taken = await self._db.write(partial(add_piece, piece=piece))
                messages, added = messages + taken.messages, added + taken.added
            files = await self._seams.threads(lambda: len(find_transcripts(config)))
            return files, Taken(messages, added)


def _next(pieces: Iterator[Piece]) -> Piece | None:
    return next(pieces, None)


def _remember(tx: apsw.Connection, value: bytes) -> None:
    tx.execute("INSERT OR REPLACE INTO meta(key, value) VALUES(?,?)", (_KEY, value))
