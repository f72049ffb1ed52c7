"""The real Claude Code offers the prompt library as slash commands, filled as they are written, and learns of changes."""

import os

import pytest

from claude_harness.fake_api import Text
from claude_harness.settled import Settled
from claude_harness.stage import Stage

pytestmark = [pytest.mark.claude, pytest.mark.slow]


async def test_prompts_are_slash_commands_and_come_anew_when_their_files_change(
    claude_stage: Stage, settled: Settled
) -> None:
    home = await settled.home()
    folder = settled.machine.home / "prompts"
    folder.mkdir(mode=0o700)
    (folder / "review.yaml").write_text(
        "description: Look through one file\ntemplate: |\n  Please look through {{file}}{{#if focus}} for {{focus}}{{/if}}.\n"
    )
    (folder / "broken.yaml").write_text("template: '{{'\n")
    claude_stage.api.on("Please look through main.py for speed.", Text("it is quick"))
    claude_stage.api.on("A second one", Text("twice as good"))
    async with claude_stage.interactive(home) as session:
        await session.is_idle()
        await settled.until_named("proj")
        await session.keys("/review")
        await session.shows("Look through one file")
        await session.keys("\x1b" + "\x7f" * 20)
        await session.say("/mcp__mesh__review main.py speed")
        await session.shows("it is quick")
        (folder / "next.tmp").write_text("name: second\ndescription: Another of them\ntemplate: A second one\n")
        os.rename(folder / "next.tmp", folder / "second.yaml")
        await session.is_idle()
        await session.keys("/mcp__mesh__sec")
        await session.shows("Another of them", seconds=60)
        await session.keys("ond\r")
        await session.shows("twice as good")
    status, said, _ = await settled.mesh(home, "prompts")
    assert status == 0
    assert "review FILE [FOCUS]" in said
    assert "broken.yaml is not served: template, line 1:" in said
