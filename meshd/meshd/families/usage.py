"""What was spent, and on what conversations. The proxy's database is read only where there is one."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from mesh_protocol.ops.usage import (
    BodyAnswer,
    ConversationAnswer,
    ConversationsAnswer,
    DayRow,
    ImportAnswer,
    ImportUsage,
    ListConversations,
    ReadBody,
    Reconcile,
    ReconcileAnswer,
    Reprice,
    RepriceAnswer,
    ShowConversation,
    ShowUsage,
    UsageAnswer,
    UsageRow,
    WindowRow,
)
from mesh_protocol.wire.errors import MeshError
from meshd.local.dispatch import Call, handles
from meshd.pages import Page

if TYPE_CHECKING:
    import apsw

DAY_MS: Final = 86_400_000
NANO: Final = 10**9
PIECE: Final = 256 * 1024
"""Bytes of a body that one answer carries: what is no text takes three times as many."""
_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d\Z")
_SPAN: Final = re.compile(r"([1-9]\d{0,3})d\Z")


@handles(ShowUsage)
async def show_usage(call: Call, request: ShowUsage) -> UsageAnswer:
    from meshd.services.proxy.reports import NOTHING, Sums, list_limits, sum_all, sum_by, sum_window  # only where asked

    since, trouble = _since(call, request.since), ""
    groups, whole, windows = list[Sums](), NOTHING, list[WindowRow]()
    if call.app.proxy.used:
        service, now = call.app.proxy.service(), call.app.node.now()
        counts = service.recorder.counts

        def read_windows(db: "apsw.Connection") -> list[WindowRow]:
            current = [limit for limit in list_limits(db) if not limit.until_ms or limit.until_ms > now]
            return [WindowRow(*limit, *sum_window(db, limit)) for limit in current]

        groups, whole, windows = await service.ask(
            lambda db: (sum_by(db, request.by, since), sum_all(db, since), read_windows(db))
        )
        trouble = f"{counts.lost} requests were not recorded: {counts.trouble}" if counts.lost else ""
    page = Page()
    shown = page.take(windows)
    wanted = groups[request.skip : request.skip + request.limit]
    rows = page.take(UsageRow(**group._asdict()) for group in wanted)
    more = max(0, len(groups) - request.skip - len(rows))
    sums = {name: value for name, value in whole._asdict().items() if name != "key"}
    return UsageAnswer(**sums, by=request.by, since=since, rows=rows, more=more, windows=shown, trouble=trouble)


@handles(ListConversations)
async def list_conversations(call: Call, request: ListConversations) -> ConversationsAnswer:
    from meshd.services.proxy.entries import day_begins
    from meshd.services.proxy.reports import list_talks

    since = _since(call, request.since)
    if not call.app.proxy.used:
        return ConversationsAnswer(conversations=[], more=False)
    begin_ms = day_begins(since) if since else 0
    talks = await call.app.proxy.service().ask(lambda db: list_talks(db, begin_ms, request.limit + 1, request.skip))
    rows = Page().take(talks[: request.limit])
    return ConversationsAnswer(conversations=rows, more=len(talks) > len(rows))


@handles(ShowConversation)
async def show_conversation(call: Call, request: ShowConversation) -> ConversationAnswer:
    from meshd.services.proxy.reports import find_talks, list_strands, list_turns

    if not call.app.proxy.used:
        raise MeshError("not_found", what="conversation", id=request.id)
    service = call.app.proxy.service()
    talks = await service.ask(lambda db: find_talks(db, request.id))
    if not talks:
        raise MeshError("not_found", what="conversation", id=request.id)
    if len(talks) > 1:
        raise MeshError("ambiguous_id", id=request.id, candidates=[talk.id for talk in talks])
    talk = talks[0]
    strands, turns = await service.ask(
        lambda db: (list_strands(db, talk.id), list_turns(db, talk.id, request.limit + 1, request.before))
    )
    sizes = service.bodies.sizes(number for number, _ in turns) if service.bodies is not None else {}
    page = Page()
    threads = page.take(strands[request.skip :], spare=2)
    newest = page.take(
        msgspec.structs.replace(turn, stored_bytes=sizes.get(number, 0)) for number, turn in turns[: request.limit]
    )
    return ConversationAnswer(
        **msgspec.structs.asdict(talk),
        threads=threads,
        more_threads=len(strands) > request.skip + len(threads),
        turns=newest[::-1],
        more=len(turns) > len(newest),
    )


@handles(ReadBody)
async def read_body(call: Call, request: ReadBody) -> BodyAnswer:
    service = call.app.proxy.service() if call.app.proxy.used else None
    content = await service.said(request.row, request.part) if service is not None else None
    if content is None or request.offset > len(content):
        raise MeshError("not_found", what=f"{request.part} stored of the request", id=str(request.row))
    piece = content[request.offset : request.offset + PIECE]
    if request.offset + len(piece) < len(content):
        piece = _whole_characters(piece)
    end = request.offset + len(piece)
    return BodyAnswer(
        row=request.row,
        part=request.part,
        size=len(content),
        next_offset=end if end < len(content) else 0,
        text=piece.decode("utf-8", "replace"),
    )


@handles(ImportUsage)
async def import_usage(call: Call, request: ImportUsage) -> ImportAnswer:
    follower = call.app.proxy.service().follower
    if request.stop:
        await follower.follow("")
        return ImportAnswer(files=0, messages=0, added=0, following=False)
    config = _config(request.config)
    if not config.is_dir():
        raise MeshError("not_found", what="folder of Claude Code", id=str(config))
    if request.follow:
        await follower.follow(str(config))
    files, taken = await follower.read(config)
    return ImportAnswer(files=files, messages=taken.messages, added=taken.added, following=bool(follower.config))


@handles(Reconcile)
async def reconcile(call: Call, request: Reconcile) -> ReconcileAnswer:
    from meshd.services.proxy.imports import compare_days

    since = _since(call, request.since)
    if not call.app.proxy.used:
        return ReconcileAnswer(days=[], difference=0, more=0)
    days = await call.app.proxy.service().ask(lambda db: compare_days(db, since))
    rows = Page().take(DayRow(*day) for day in days[request.skip :])
    more = max(0, len(days) - request.skip - len(rows))
    return ReconcileAnswer(days=rows, difference=sum(day.difference for day in days), more=more)


@handles(Reprice)
async def reprice(call: Call, request: Reprice) -> RepriceAnswer:
    if not call.app.proxy.used:
        return RepriceAnswer(requests=0, changed=0, before_usd=0.0, after_usd=0.0)
    done = await call.app.proxy.service().reprice()
    return RepriceAnswer(
        requests=done.looked, changed=done.changed, before_usd=done.before / NANO, after_usd=done.after / NANO
    )


def _whole_characters(piece: bytes) -> bytes:
    """Without the beginning of a character (UTF-8) whose rest is in the next piece."""
    for back in range(1, 4):
        byte = piece[-back]
        if byte >= 0xC0:
            return piece[:-back]
        if byte < 0x80:
            break
    return piece


def _config(given: str) -> Path:
    """Claude Code's folder: what the client says, or where it is for everybody."""
    if not given:
        return Path.home() / ".claude"
    if not Path(given).is_absolute():
        raise MeshError("bad_request", what="Claude Code's folder is given by its absolute path")
    return Path(given)


def _since(call: Call, said: str) -> str:
    """The day that is meant, YYYY-MM-DD; empty for the beginning. Raises `MeshError`."""
    from meshd.services.proxy.entries import is_day, local_day

    now = call.app.node.now()
    if said == "today":
        return local_day(now)
    if span := _SPAN.match(said):
        return local_day(now - (int(span[1]) - 1) * DAY_MS)
    if said and not (_DAY.match(said) and is_day(said)):
        raise MeshError("bad_request", what=f"since is a day such as 2026-11-21, today, or 7d, not {said!r}")
    return said
