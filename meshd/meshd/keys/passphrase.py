"""The passphrase that a daemon is given at its start: by a file descriptor, or as a credential of its systemd service.

Nothing here waits for long or fails: a daemon without its passphrase starts locked, and says why.
"""

import os
import select
import stat
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from meshd.keys.argon2 import PASSPHRASE_LIMIT

CREDENTIAL: Final = "meshd-passphrase"
"""The credential's name in $CREDENTIALS_DIRECTORY (systemd.exec(5), LoadCredential)."""
WAIT_S: Final = 2.0
"""For somebody to write to the descriptor: half of what a start may wait, the other half is Argon2's."""
STRETCH_S: Final = 3.0


class Given(NamedTuple):
    """What the start was given. `note` is a sentence about what was wrong with it, empty when nothing was."""

    passphrase: bytearray | None
    note: str = ""


def read_given(descriptor: int | None, environ: Mapping[str, str], clock: Callable[[], int]) -> Given:
    """The passphrase of the descriptor, else of the credential, else none. Takes at most `WAIT_S` seconds by `clock` (ms).

    It ends with the first line break or the end of the file. The descriptor is closed.
    """
    if descriptor is not None:
        return _from_descriptor(descriptor, f"the descriptor {descriptor}", clock)
    folder = environ.get("CREDENTIALS_DIRECTORY", "")
    if not folder:
        return Given(None)
    try:
        place = os.open(f"{folder}/{CREDENTIAL}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Given(None)  # the service has other credentials
    except OSError as error:
        return Given(None, f"the credential {CREDENTIAL} could not be read: {error.strerror}")
    if not stat.S_ISREG(os.fstat(place).st_mode):
        os.close(place)
        return Given(None, f"the credential {CREDENTIAL} is not a file")
    return _from_descriptor(place, f"the credential {CREDENTIAL}", clock)


def _from_descriptor(descriptor: int, shown: str, clock: Callable[[], int]) -> Given:
    if descriptor <= 2:
        return Given(None, f"{shown} cannot be the passphrase's: 0, 1 and 2 are the standard streams")
    line = bytearray()
    until = clock() + WAIT_S * 1000
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN | select.POLLHUP)
        while len(line) <= PASSPHRASE_LIMIT and b"\n" not in line:
            if not poll.poll(max(0.0, until - clock())):
                return Given(None, f"{shown} gave no passphrase within {WAIT_S:g} s")
            chunk = os.read(descriptor, PASSPHRASE_LIMIT + 1)
            if not chunk:
                break
            line += chunk
    except OSError as error:
        return Given(None, f"{shown} could not be read: {error.strerror}")
    finally:
        try:
            os.close(descriptor)
        except OSError:
            pass  # it was none: said above
    passphrase = line.partition(b"\n")[0].rstrip(b"\r")
    line[:] = bytes(len(line))
    if not passphrase:
        return Given(None, f"{shown} holds no passphrase")
    if len(passphrase) > PASSPHRASE_LIMIT:
        return Given(None, f"{shown} holds more than a passphrase may have: {PASSPHRASE_LIMIT} bytes")
    return Given(passphrase)
