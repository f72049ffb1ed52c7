"""`meshd run`: the daemon in the foreground. Logs go to stderr, one line `meshd ready` to stdout when it serves."""

import argparse
import gc
import os
import socket
import sys
import time
from collections.abc import Sequence
from typing import Final

from meshd import hardening, instance, paths
from meshd.config import Config, load_config
from meshd.keys.passphrase import Given, read_given
from meshd.log import RotatingFile, catch_uncaught, configure, get_logger, write_stderr
from meshd.refusal import NO_ROOM, DiskFull, StartRefused

VERSION: Final = "0.1.0"


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and run. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="meshd", description="The mesh daemon of this machine.")
    parser.add_argument("--version", action="version", version=f"meshd {VERSION}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run in the foreground until SIGTERM (people start it with: mesh up)")
    run.add_argument(
        "--passphrase-fd", type=int, metavar="N", help="read the passphrase of the keys from this open file descriptor"
    )
    arguments = parser.parse_args(argv)
    try:
        return run_daemon(arguments.passphrase_fd)
    except StartRefused as refused:
        print(f"meshd: {refused}", file=sys.stderr)  # noqa: T201 - the person who started it reads this
        return refused.exit_status


def run_daemon(passphrase_fd: int | None = None) -> int:
    """Take the home, its keys and its database, and serve until SIGTERM. Raises `StartRefused`."""
    hard = hardening.harden(os.environ, sys.platform)
    where = paths.resolve(os.environ, sys.platform, os.geteuid(), cwd=os.getcwd())  # noqa: PTH109
    try:
        return _run_at(where, hard, passphrase_fd)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise DiskFull(where.data) from error
        raise


def _run_at(where: paths.Paths, hard: hardening.Hardening, passphrase_fd: int | None) -> int:
    place = paths.prepare(where)
    held = instance.hold(where, VERSION)
    try:
        config = load_config(where.config, os.environ)
        sinks = [write_stderr]
        if config.log_file:
            limits = config.limits
            sinks.append(RotatingFile(where.logs, "meshd.log", limits.log_file_bytes, limits.log_files))
        configure(config.log_level, *sinks)
        catch_uncaught()
        listener = instance.bind_socket(held, place, os.urandom)
        try:
            return _serve(where, config, hard, listener, read_given(passphrase_fd, os.environ, _clock))
        finally:
            listener.close()
    finally:
        held.release()


def _serve(where: paths.Paths, config: Config, hard: hardening.Hardening, listener: socket.socket, given: Given) -> int:
    import trio  # after the lock and the socket: a second daemon, or a wrong home, is refused without its 60 ms

    from meshd.serving import serve

    os.chdir("/")
    status: int = trio.run(serve, where, config, hard, listener, VERSION, _clock, _told, given)
    return status


def _clock() -> int:
    return time.time_ns() // 1_000_000


def _told() -> None:
    """Say that we serve: to the service manager, and on stdout."""
    gc.collect()
    gc.freeze()  # what start-up made lives as long as we do: the collector need not look at it again
    address = os.environ.get("NOTIFY_SOCKET")
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
            try:
                notify.connect("\0" + address[1:] if address.startswith("@") else address)
                notify.sendall(b"READY=1")
            except OSError as error:
                get_logger("main").warning("the service manager could not be told", error=error)
    sys.stdout.write("meshd ready\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
