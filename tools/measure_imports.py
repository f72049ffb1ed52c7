"""Prints what importing each runtime dependency costs beyond a bare interpreter, as docs/dependencies.md states it."""

import os
import subprocess
import sys
import time
from statistics import median
from typing import Final

ROUNDS: Final = 15
MODULES: Final = {
    "trio": "trio",
    "websockets": "websockets.server",
    "httptools": "httptools",
    "apsw": "apsw",
    "msgspec": "msgspec",
    "msgpack": "msgpack",
    "PyNaCl": "nacl.bindings",
    "cryptography": "cryptography.hazmat.primitives.hpke",
    "keyring": "keyring",
    "segno": "segno",
    "brotli": "brotli",
    "zstandard": "zstandard",
    "PyYAML": "yaml",
}
"""What of each package the program imports."""


def main() -> None:
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    programs = {"": "pass"} | {package: f"import {module}" for package, module in MODULES.items()}
    times: dict[str, list[float]] = {package: [] for package in programs}
    for number in range(ROUNDS + 1):
        for package, code in programs.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], env=env, check=True)
            if number:  # the first round writes byte-code
                times[package].append((time.perf_counter() - began) * 1000)
    bare = median(times.pop(""))
    print(f"python -c pass: {bare:.1f} ms")
    for package, taken in times.items():
        print(f"{package}: +{median(taken) - bare:.0f} ms, {median(taken) / bare:.1f} times python -c pass")


if __name__ == "__main__":
    main()
