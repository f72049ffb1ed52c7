"""What the command line says, checked."""

import argparse
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mesh_broker.limits import Limits, replaced
from mesh_broker.listener import Network

USAGE = 2


@dataclass(frozen=True, slots=True)
class Config:
    """How to run one broker. `host` may be empty: all addresses."""

    host: str
    port: int
    data: Path
    cert: Path | None
    key: Path | None
    proxies: tuple[Network, ...]
    limits: Limits


def read_config(arguments: Sequence[str]) -> Config:
    """Parse `arguments`; exits with status 2 and one line when they are wrong."""
    parser = argparse.ArgumentParser(prog="mesh-broker", description="The blind broker of meshd.")
    commands = parser.add_subparsers(required=True, metavar="run")
    run = commands.add_parser("run", help="serve until SIGTERM")
    run.add_argument("--listen", metavar="HOST:PORT", required=True, help="port 0: any free one")
    run.add_argument("--data", metavar="DIR", type=Path, required=True, help="database, key and admission token")
    run.add_argument("--tls-cert", metavar="FILE", type=Path, help="PEM chain; with --tls-key the broker speaks wss")
    run.add_argument("--tls-key", metavar="FILE", type=Path)
    run.add_argument(
        "--trusted-proxy", metavar="CIDR", action="append", default=[], help="its X-Forwarded-For is believed"
    )
    run.add_argument("--limit", metavar="NAME=NUMBER", action="append", default=[], help="change one limit")
    given = parser.parse_args(arguments)
    try:
        host, port = _split(given.listen)
        return Config(
            host,
            port,
            given.data.absolute(),
            *_pair(given.tls_cert, given.tls_key),
            tuple(ipaddress.ip_network(text) for text in given.trusted_proxy),
            replaced(Limits(), dict(_named(text) for text in given.limit)),
        )
    except ValueError as error:
        parser.exit(USAGE, f"mesh-broker: {error}\n")


def _split(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"--listen wants HOST:PORT, not {listen!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _pair(cert: Path | None, key: Path | None) -> tuple[Path | None, Path | None]:
    if (cert is None) != (key is None):
        raise ValueError("--tls-cert and --tls-key belong together")
    return cert, key


def _named(text: str) -> tuple[str, str]:
    name, equals, number = text.partition("=")
    if not equals:
        raise ValueError(f"--limit wants NAME=NUMBER, not {text!r}")
    return name, number
