"""The user's own prices, read again when their file changes. A file that cannot be used leaves the prices as they were."""

import os
from pathlib import Path

from meshd.private_files import OTHERS_WRITE, NotPrivate, open_directory, read_file
from meshd.services.proxy.prices import FILE_BYTES, BadPrices, Prices

NAME = "prices.toml"


class PriceFile:
    """`trouble` says why the file is not used; empty when it is, or when there is none."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.trouble = ""
        self._seen: tuple[int, int] | None = None
        self._prices = Prices()

    def current(self) -> Prices:
        """The prices now."""
        try:
            found = self.path.stat()
            seen = (found.st_mtime_ns, found.st_size)
        except OSError:
            seen = None
        if seen != self._seen:
            self._seen = seen
            self._load()
        return self._prices

    def _load(self) -> None:
        try:
            directory = open_directory(self.path.parent)
            try:
                own = read_file(directory, NAME, self.path, FILE_BYTES, forbidden=OTHERS_WRITE)
            finally:
                os.close(directory)
            self._prices = Prices(own)
            self.trouble = ""
        except (NotPrivate, BadPrices) as error:
            self.trouble = f"{self.path}: {error}"
