"""The real Claude Code and channels, as far as they can be had offline: the flag is seen, the capability read, the gate named.

What a session does with a notification is behind a switch of its vendor and a login; the day this test fails, it can be tried.
"""

import pytest

from claude_harness.settled import Settled
from claude_harness.stage import Stage
from claude_harness.waiting import until
from meshd.claude.channel import names_channel
from meshd.deliver.channels import read_arguments

pytestmark = [pytest.mark.claude, pytest.mark.slow]


@pytest.mark.parametrize("flags", [["--channels", "server:mesh"], []])
async def test_offline_the_binary_reads_our_capability_and_says_why_it_takes_no_channel(
    claude_stage: Stage, settled: Settled, flags: list[str]
) -> None:
    home = await settled.home()
    log = home.root / "debug.txt"
    async with claude_stage.interactive(home, *flags, "--debug-file", str(log)) as view:
        await view.is_idle()
        await settled.until_named("proj")
        assert names_channel(read_arguments(view.pid)) is bool(flags)
        said = "Channel notifications skipped: channels feature is not currently available"
        await until(lambda: log.exists() and said in log.read_text(), what=said, explain=log.read_text)
        assert (await settled.row())["rung"] == "inbox"
        sent = await settled.send("proj", "all the same")
        await settled.until_shown(sent)
