"""Run as a program of its own: stretches one passphrase and ends, and its memory with it.

stdin: u32be ops, u32be bytes of memory, 16 bytes salt, then the passphrase. stdout: the 32-byte key.
"""

import resource
import struct
import sys

HEAD = struct.Struct(">II16s")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE: exec had switched it on again
    from nacl import bindings as sodium

    request = sys.stdin.buffer.read(HEAD.size + 4096)
    ops, memory, salt = HEAD.unpack_from(request)
    key = sodium.crypto_pwhash_alg(32, request[HEAD.size :], salt, ops, memory, sodium.crypto_pwhash_ALG_ARGON2ID13)
    sys.stdout.buffer.write(key)


if __name__ == "__main__":
    main()
