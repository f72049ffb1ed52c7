"""The prompt library over MCP, with the SDK's own client at the other end and line by line."""

from collections.abc import Callable
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from mcp import Client, MCPError
from mcp_kit.session import Daemon, Lines, T, always_sent, in_place, request, sdk_transport
from meshd.mcp.prompts import MAX_VALUE
from meshd.mcp.server import MAX_CALLS
from meshd.prompts.folder import PromptFolder


@pytest.fixture
def folder(tmp_path: Path) -> PromptFolder:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "review.yaml").write_text(
        "description: Review a file\ntemplate: Review {{file}}{{#if focus}} for {{focus}}{{/if}}\n"
        "arguments: {file: which file}\n"
    )
    return PromptFolder(tmp_path / "prompts", in_place)


async def test_the_sdks_client_lists_and_fills_prompts(folder: PromptFolder) -> None:
    async with Client(sdk_transport(Daemon(always_sent, folder))) as client:
        with trio.fail_after(60):
            (prompt,) = (await client.list_prompts()).prompts
            filled = await client.get_prompt("review", {"file": "a.py", "focus": "{{file}}"})
    assert (prompt.name, prompt.description) == ("review", "Review a file")
    assert [(each.name, each.description, each.required) for each in prompt.arguments or []] == [
        ("file", "which file", True),
        ("focus", None, False),
    ]
    (message,) = filled.messages
    assert (message.role, message.content.text) == ("user", "Review a.py for {{file}}")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("nobody", {}, "Unknown prompt"),
        ("../../etc/passwd", {}, "Unknown prompt"),
        ("review", {}, "needs file"),
        ("review", {"file": "  "}, "needs file"),
        ("review", {"file": "x", "other": "y"}, "has no argument 'other'"),
        ("review", {"file": "x" * (MAX_VALUE + 1)}, "at most"),
        ("review", {"file": "x" * MAX_VALUE, "focus": "é" * MAX_VALUE}, "longer than"),
    ],
)
async def test_what_cannot_be_filled_is_refused_with_the_reason(
    folder: PromptFolder, name: str, arguments: dict[str, str], said: str
) -> None:
    async with Client(sdk_transport(Daemon(always_sent, folder))) as client:
        with trio.fail_after(60), pytest.raises(MCPError, match=said):
            await client.get_prompt(name, arguments)


@pytest.mark.parametrize(
    "params", [{}, {"name": 5}, {"name": "review", "arguments": [1]}, {"name": "review", "arguments": {"file": 5}}]
)
async def test_arguments_that_are_no_texts_are_refused(
    folder: PromptFolder, nursery: trio.Nursery, params: dict[str, object]
) -> None:
    answer = await Lines(Daemon(always_sent, folder), nursery).ask(request(1, "prompts/get", **params))
    assert answer["error"]["code"] == -32602


async def test_a_client_that_is_ready_is_told_when_the_library_changes(
    folder: PromptFolder, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    nursery.start_soon(folder.run)
    lines = Lines(Daemon(always_sent, folder), nursery)
    await lines.ask(request(0, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={}))
    await lines.say({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert len((await lines.ask(request(1, "prompts/list")))["result"]["prompts"]) == 1
    (folder.path / "second.yaml").write_text("template: x\n")
    assert (await lines.hear())["method"] == "notifications/prompts/list_changed"
    listed = (await lines.ask(request(2, "prompts/list")))["result"]["prompts"]
    assert [each["name"] for each in listed] == ["review", "second"]


async def test_prompts_count_among_the_calls_of_a_session(tmp_path: Path, nursery: trio.Nursery) -> None:
    async def never(work: Callable[[], T]) -> T:
        await trio.sleep_forever()
        raise AssertionError

    lines = Lines(Daemon(always_sent, PromptFolder(tmp_path, never)), nursery)
    for number in range(MAX_CALLS):
        await lines.say(request(number, "prompts/list"))
    assert "at once" in (await lines.ask(request("one more", "prompts/list")))["error"]["message"]
    assert "is running" in (await lines.ask(request(0, "prompts/list")))["error"]["message"]
    await lines.say({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 0}})
    assert "error" not in await lines.ask(request("ping", "ping"))


async def test_a_folder_that_breaks_the_reading_is_an_error_of_that_request_alone(
    tmp_path: Path, nursery: trio.Nursery
) -> None:
    async def broken(work: Callable[[], T]) -> T:
        raise RuntimeError("a bug")

    daemon = Daemon(always_sent, PromptFolder(tmp_path, broken))
    lines = Lines(daemon, nursery)
    assert (await lines.ask(request(1, "prompts/list")))["error"]["code"] == -32603
    assert len(daemon.bugs) == 1
    assert (await lines.ask(request(2, "ping")))["result"] == {}
