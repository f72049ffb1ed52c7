"""`mesh statusline` and `mesh hook`: one request, one answer, on built-in modules alone.

Claude Code runs these many times a minute, so nothing is imported but builtins and `_socket`, the request is packed by
hand (msgpack specification; frozen vectors hold it equal to the other encoders), standard input travels as raw bytes in
the body, and what the daemon answers is printed as it is. A daemon is never started here. Also the ground of the
other clients: where the daemon is, and how to reach it.
"""

import _signal  # type: ignore[import-not-found]  # the signal module needs enum
import _socket
import posix
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

SECONDS = 0.7
"""The hard limit of a run, whatever hangs: standard input, the daemon, or the reader of the output."""
MAX_BODY = 1024 * 1024
MAX_HEADER = 64 * 1024
MAX_VALUE = 4096
MAX_SHORT = 1024
MAX_COLUMNS = 1000
SOCKET_PATH = 107 if sys.platform != "darwin" else 103
VARIABLES = (
    b"CLAUDE_CONFIG_DIR",
    b"HOME",
    b"CLAUDE_CODE_SESSION_ID",
    b"CLAUDE_PROJECT_DIR",
    b"CLAUDE_CODE_TMPDIR",
    b"MESH",
)
"""The only variables that are ever sent."""


class NoDaemon(Exception):
    """Nothing answers, or nothing sensible. The text fits a status line and says what to do."""


class NotTrusted(NoDaemon):
    """What there is must not be talked to, nor a daemon be started there."""


class Late(Exception):
    """`SECONDS` are over."""


# Where the daemon is.


def data_directory(environ: dict[bytes, bytes], home: bytes = b"") -> bytes:
    """The data directory: `home` (from --home), MESH_HOME, or the platform's own. Raises `NoDaemon` for neither.

    A MESH_HOME inside the session's own project is refused: a cloned repository may set variables, and would
    point its reader's hooks at a daemon of its own.
    """
    if home:
        return absolute(home)
    home = environ.get(b"MESH_HOME", b"")
    if home:
        home = absolute(home)
        project = environ.get(b"CLAUDE_PROJECT_DIR", b"")
        if project and is_inside(home, project):
            raise NotTrusted("MESH_HOME lies inside this session's project: set it elsewhere")
        return home
    home = environ.get(b"HOME", b"")
    if home[:1] != b"/":
        raise NotTrusted("neither MESH_HOME nor HOME is set")
    return home + (b"/Library/Application Support/meshd" if sys.platform == "darwin" else b"/.local/share/meshd")


def absolute(path: bytes) -> bytes:
    return path if path[:1] == b"/" else posix.getcwdb() + b"/" + path


def is_inside(path: bytes, folder: bytes) -> bool:
    """Whether `path` is `folder` or below it, by inode, so that links do not matter. A missing `path` is judged by its parents."""
    try:
        wanted = posix.stat(folder)
    except OSError:
        return False
    for _ in range(64):
        try:
            found = posix.stat(path)
        except OSError:
            path = path.rstrip(b"/").rpartition(b"/")[0] or b"/"
            continue
        if found.st_ino == wanted.st_ino and found.st_dev == wanted.st_dev:
            return True
        above = posix.stat(path + b"/..")
        if above.st_ino == found.st_ino and above.st_dev == found.st_dev:
            return False
        path += b"/.."
    return True  # deeper than any real path: not believed


def socket_path(data: bytes) -> bytes:
    """The path in `<data>/run/where`. Raises `NoDaemon` when there is none."""
    try:
        file = posix.open(data + b"/run/where", posix.O_RDONLY | posix.O_CLOEXEC)
    except OSError:
        raise NoDaemon("no daemon (mesh up)") from None
    try:
        path = posix.read(file, 4097).partition(b"\n")[0]
    finally:
        posix.close(file)
    if path[:1] != b"/" or len(path) > 4096:
        raise NoDaemon("the daemon's address is broken (mesh up)")
    return path


def connect(path: bytes, blocking: bool = True) -> _socket.socket:
    """A connection to the daemon at `path`. Raises `NoDaemon`, and `NotTrusted` when another user answers there."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    folder = -1
    try:
        sock.setblocking(blocking)
        if len(path) > SOCKET_PATH:  # sockaddr_un is too small for it; Linux's way round
            folder = posix.open(path.rpartition(b"/")[0], posix.O_PATH | posix.O_DIRECTORY | posix.O_CLOEXEC)
            path = b"/proc/self/fd/%d/%s" % (folder, path.rpartition(b"/")[2])
        sock.connect(path)
        check_owner(sock)
    except OSError:
        sock.close()
        raise NoDaemon("no daemon (mesh up)") from None
    except BaseException:
        sock.close()
        raise
    finally:
        if folder >= 0:
            posix.close(folder)
    return sock


def check_owner(sock: _socket.socket) -> None:
    """Raises `NotTrusted` when the other end is another user's. Where the kernel does not say, the folder's mode has to do."""
    if hasattr(_socket, "SO_PEERCRED"):
        owner = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[4:8]
        if int.from_bytes(owner, sys.byteorder) != posix.geteuid():
            raise NotTrusted("another user answers at the daemon's address")


# The one request.


def pack_text(raw: bytes) -> bytes:
    """msgpack str; at most `MAX_VALUE` bytes."""
    size = len(raw)
    if size < 32:
        return bytes((0xA0 | size,)) + raw
    if size < 256:
        return bytes((0xD9, size)) + raw
    return b"\xda" + size.to_bytes(2, "big") + raw


def pack_number(value: int) -> bytes:
    """msgpack unsigned integer below 65,536."""
    if value < 128:
        return bytes((value,))
    if value < 256:
        return bytes((0xCC, value))
    return b"\xcd" + value.to_bytes(2, "big")


def pack_environment(environ: dict[bytes, bytes]) -> bytes:
    """msgpack map of those of `VARIABLES` that are set, short enough and UTF-8."""
    count = 0
    packed = b""
    for name in VARIABLES:
        value = environ.get(name, b"")
        if not value or len(value) > MAX_VALUE:
            continue
        try:
            value.decode()
        except UnicodeDecodeError:
            continue
        count += 1
        packed += pack_text(name) + pack_text(value)
    return bytes((0x80 | count,)) + packed


def pack_request(method: bytes, fields: list[tuple[bytes, bytes]], body: bytes = b"") -> bytes:
    """The frame of request 1: `fields` are names and packed values."""
    header = b"\x94\x00\x01" + pack_text(method) + bytes((0x80 | len(fields),))
    for name, value in fields:
        header += pack_text(name) + value
    return len(header).to_bytes(4, "big") + len(body).to_bytes(4, "big") + header + body


def read_exactly(sock: _socket.socket, size: int) -> bytes:
    pieces = []
    while size:
        piece = sock.recv(size if size < 65536 else 65536)
        if not piece:
            raise NoDaemon("the daemon stopped (mesh up)")
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def ask(sock: _socket.socket, frame: bytes) -> tuple[int, bytes]:
    """Send `frame`, wait for the answer: (exit status, bytes to print). Raises `NoDaemon` for a refusal."""
    sock.sendall(frame)
    prefix = read_exactly(sock, 8)
    header_len = int.from_bytes(prefix[:4], "big")
    body_len = int.from_bytes(prefix[4:], "big")
    if header_len > MAX_HEADER or body_len > MAX_BODY:
        raise NoDaemon("the daemon answered nonsense (mesh doctor)")
    header = read_exactly(sock, header_len)
    body = read_exactly(sock, body_len)
    place = header.find(b"\xa4exit")
    if header[:4] != b"\x94\x01\x01\xc0" or place < 0 or place + 5 >= len(header):
        raise NoDaemon("the daemon refused (mesh doctor)")
    status = header[place + 5]
    return (status if status < 128 else 1), body


# The commands.


def read_input() -> bytes | None:
    """Standard input to its end; empty for a terminal, None when it is larger than a body."""
    if posix.isatty(0):
        return b""
    pieces: list[bytes] = []
    size = 0
    while True:
        try:
            piece = posix.read(0, 65536)
        except OSError:
            piece = b""
        if not piece:
            return b"".join(pieces)
        size += len(piece)
        if size > MAX_BODY:
            return None
        pieces.append(piece)


def write_output(data: bytes) -> None:
    while data:
        data = data[posix.write(1, data) :]


def number(text: bytes) -> int:
    """A number of at most four digits; 0 for anything else."""
    return int(text) if text.isdigit() and len(text) < 5 else 0


def out_of_time(signal: int, frame: object) -> None:
    raise Late


def run(verb: str, environ: dict[bytes, bytes], options: dict[str, bytes]) -> int:
    """One hook or status line. Returns the exit status."""
    if verb == "statusline":
        return run_status_line(environ, options)
    try:
        body = read_input()
        if body is None:
            return 0  # a part of a JSON text is of no use
        sock = connect(socket_path(data_directory(environ, options.get("--home", b""))))
        status, answer = ask(sock, pack_request(b"hook", [(b"env", pack_environment(environ))], body))
        write_output(answer)
        return status
    except (NoDaemon, OSError, Late):
        return 0  # a hook has nobody to tell


def run_status_line(environ: dict[bytes, bytes], options: dict[str, bytes]) -> int:
    """Our line, below what the user's own command prints if there is one. Never blank."""
    above = None
    try:
        body = read_input() or b""  # of a document that is too large nothing is used
        if "--chain" in options:
            from mesh_clients.chained import start

            above = start(options["--chain"], body, environ, number(options.get("--within", b"")))
        sock = connect(socket_path(data_directory(environ, options.get("--home", b""))))
        line = ask(sock, pack_request(b"statusline", line_fields(environ, options), body))[1]
    except NoDaemon as error:
        line = b"mesh: " + str(error).encode() + b"\n"
    except OSError:
        line = b"mesh: the daemon stopped (mesh up)\n"
    except Late:
        line = b"mesh: the daemon is slow (mesh doctor)\n"
    if above is not None:
        _signal.setitimer(_signal.ITIMER_REAL, 0)  # it has a limit of its own
        line = above.finish() + line
        _signal.setitimer(_signal.ITIMER_REAL, SECONDS)
    write_output(line)
    return 0


def line_fields(environ: dict[bytes, bytes], options: dict[str, bytes]) -> list[tuple[bytes, bytes]]:
    columns = min(number(environ.get(b"COLUMNS", b"")), MAX_COLUMNS)
    fields = [(b"columns", pack_number(columns)), (b"env", pack_environment(environ))]
    layout = options.get("--layout", b"")
    if layout:
        fields.append((b"layout", pack_text(layout[:32])))
    if environ.get(b"NO_COLOR"):  # no-color.org
        fields.append((b"plain", b"\xc3"))
    return fields


def main(arguments: list[str]) -> "NoReturn":
    """`statusline` or `hook`, then `--home DIR`; for a status line also `--layout NAME`, `--chain COMMAND`, `--within MS`.

    Leaves the process without its ceremony, which costs a tenth of a run.
    """
    _signal.signal(_signal.SIGALRM, out_of_time)
    _signal.setitimer(_signal.ITIMER_REAL, SECONDS)
    options = {
        arguments[place]: arguments[place + 1].encode("utf-8", "surrogateescape")
        for place in range(1, len(arguments) - 1, 2)
    }
    status = 0
    try:
        status = run(arguments[0], posix.environ, options)
    except (OSError, Late):
        pass  # nobody reads the output any more
    posix._exit(status)
