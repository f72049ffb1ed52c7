"""`mesh-broker run`: the broker as a program of its own."""

import gc
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

import trio

from mesh_broker.app import Broker, open_broker
from mesh_broker.config import Config, read_config
from mesh_broker.folder import BadFolder, FolderTaken
from mesh_broker.keyfile import BadKeyFile
from mesh_broker.listener import Listener, open_sockets
from mesh_broker.log import Log
from mesh_broker.pages import StatusPages
from mesh_protocol.io.sqlite import StorageFailed, WrongDatabase

STORAGE_DEAD: Final = 70
TRY_LATER: Final = 75
BAD_CONFIG: Final = 78
GC_THRESHOLDS: Final = (20_000, 50, 50)
"""Many long-lived objects, little garbage in cycles: fewer rounds save a fifth of the CPU at 1,000 connections."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run and exit: 0 after SIGTERM or SIGINT, 2 usage, 70 storage dead, 75 folder in use, 78 configuration."""
    config = read_config(sys.argv[1:] if arguments is None else arguments)
    os.umask(0o077)
    status, why = 0, ""
    try:
        trio.run(_run, config)
    except* StorageFailed:
        status, why = (
            STORAGE_DEAD,
            "the database failed: look at the disk, then start again; what was accepted is on it",
        )
    except* FolderTaken as group:
        status, why = TRY_LATER, _text(group)
    except* (BadFolder, BadKeyFile, WrongDatabase) as group:
        status, why = BAD_CONFIG, _text(group)
    if status:
        _quit(status, why)
    sys.exit(0)


async def _run(config: Config) -> None:
    tls = _tls_context(config)
    try:
        sockets = open_sockets(config.host, config.port)
    except OSError as error:
        _quit(BAD_CONFIG, f"cannot listen on {config.host}:{config.port}: {error.strerror or error}")
    async with open_broker(config.data, limits=config.limits) as broker:
        pages = StatusPages(broker.store, broker.metrics, lambda: broker.storage_full)
        listener = Listener(
            sockets,
            broker.serve,
            pages.page,
            limits=broker.limits,
            metrics=broker.metrics,
            log=broker.log,
            tls=tls,
            proxies=config.proxies,
        )
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listener.run)
                gc.collect()
                gc.freeze()
                gc.set_threshold(*GC_THRESHOLDS)
                host, port = sockets[0].getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                _say(f"mesh-broker ready on {'wss' if tls else 'ws'}://{shown}:{port}")
                async for number in signals:
                    if number != signal.SIGHUP:
                        break
                    _reload(config, tls, broker.log)
                listener.stop()
                await _drain(broker)
                nursery.cancel_scope.cancel()


async def _drain(broker: Broker) -> None:
    broker.log.info("stopping", connections=len(broker.clients))
    await broker.drain()


def _tls_context(config: Config) -> ssl.SSLContext | None:
    if config.cert is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(config.cert, config.key)
    except (OSError, ssl.SSLError) as error:
        _quit(BAD_CONFIG, f"the TLS certificate cannot be used: {error.strerror or error}")
    return context


def _reload(config: Config, tls: ssl.SSLContext | None, log: Log) -> None:
    """Take a renewed certificate for connections to come; a bad one changes nothing."""
    if tls is None or config.cert is None:
        return
    try:
        tls.load_cert_chain(config.cert, config.key)
        log.info("certificate-reloaded")
    except (OSError, ssl.SSLError):
        log.warn("certificate-bad")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _text(group: BaseExceptionGroup[BaseException]) -> str:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)


def _quit(status: int, text: str) -> NoReturn:
    sys.stderr.write(f"mesh-broker: {text}\n")
    sys.exit(status)


if __name__ == "__main__":
    main()
