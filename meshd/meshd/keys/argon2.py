"""Argon2id in a child process: its memory is taken and given back by a process that lives for a moment."""

import struct
import sys
from dataclasses import dataclass
from pathlib import Path

from meshd.keys.states import KeysNotReady

OPS = 3
UNLOCK_MEMORY = 64 * 1024 * 1024
"""For the keys, at each start."""
BACKUP_MEMORY = 256 * 1024 * 1024
"""For a backup, which lies about for years (crypto design 2.16)."""
PASSPHRASE_MIN = 8
PASSPHRASE_LIMIT = 1024
# A tenth of a second on an idle machine; this is for one that swaps.
TIMEOUT_S = 60
_HEAD = struct.Struct(">II16s")
_CHILD = Path(__file__).with_name("argon2_child.py")


def stretch(
    passphrase: bytes | bytearray, salt: bytes, memory: int = UNLOCK_MEMORY, timeout_s: float = TIMEOUT_S
) -> bytes:
    """32 bytes from a passphrase (at most 1024 bytes) and a 16-byte salt. Blocks: call it in a worker.

    Raises KeysNotReady when the child dies or takes more than `timeout_s`.
    """
    import subprocess  # 8 ms, and only for who has a passphrase

    if not 0 < len(passphrase) <= PASSPHRASE_LIMIT:
        raise KeysNotReady(f"a passphrase has 1 to {PASSPHRASE_LIMIT} bytes")
    request = bytearray(_HEAD.pack(OPS, memory, salt)) + passphrase
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(_CHILD)],
            input=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            timeout=timeout_s,
            check=False,
        )
    except (OSError, subprocess.SubprocessError) as error:
        # Neither the exception nor its text may keep the request: it holds the passphrase.
        raise KeysNotReady(f"the passphrase could not be stretched ({type(error).__name__}); try again") from None
    finally:
        request[:] = bytes(len(request))
    if done.returncode != 0 or len(done.stdout) != 32:
        mib = memory // (1024 * 1024)
        raise KeysNotReady(f"the passphrase could not be stretched: {mib} MiB of memory were not to be had; try again")
    return done.stdout


@dataclass(slots=True)
class Stretching:
    """`stretch` for the key store, with a patience of its own: a start waits less than a person who typed."""

    timeout_s: float = TIMEOUT_S

    def __call__(self, passphrase: bytes | bytearray, salt: bytes) -> bytes:
        return stretch(passphrase, salt, UNLOCK_MEMORY, self.timeout_s)
