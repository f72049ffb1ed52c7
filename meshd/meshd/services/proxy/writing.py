"""Writing what was recorded, whatever the disk does: a record that fails must not fail what it is about."""

from collections.abc import Callable
from typing import TypeVar

import apsw

from mesh_protocol.io.sqlite import Database, StorageFailed
from mesh_protocol.wire.errors import MeshError
from meshd.log import Word, get_logger

log = get_logger("proxy")

T = TypeVar("T")


class Writer:
    """Writes to a database of the proxy's. `lose` is told how much was not written, and why."""

    def __init__(self, db: Database, what: str, lose: Callable[[int, str], None]) -> None:
        self._db = db
        self._what = what
        self._lose = lose

    async def write(self, work: Callable[[apsw.Connection], T], count: int) -> T | None:
        """What `work` returned; None where nothing of its `count` was written. Raises nothing but cancellation."""
        try:
            return await self._db.write(work)
        except MeshError as error:
            log.warning("the proxy could not write", what=Word(self._what), code=Word(error.code), count=count)
            full = error.code == "storage_full"  # its own words are of what is not lost
            self._lose(count, "the disk is full: free some space" if full else error.message)
        except StorageFailed:
            self._lose(count, f"the database of {self._what} failed: restart the daemon (mesh down, mesh up)")
        except Exception as error:  # noqa: BLE001 - whatever the record meets, the streams go on
            log.error("the proxy could not write", what=Word(self._what), error=error)  # noqa: TRY400 - it may quote them
            self._lose(count, f"{self._what} could not be written (see the log)")
        return None
