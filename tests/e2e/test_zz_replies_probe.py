import json, os, sys
import pytest, trio
from claude_harness.fake_api import Text, ToolUse
from claude_harness.stage import Stage
pytestmark = [pytest.mark.claude]
async def test_async(claude_stage: Stage):
    root = claude_stage.root
    script = root / "h.py"
    script.write_text("import sys,json,time\ne=json.load(sys.stdin)\nprint(json.dumps({'hookSpecificOutput':{'hookEventName':'PostToolUse','additionalContext':'line [mesh 7f 0000000000000002]\\nctx'}}))\n")
    h=[{"hooks":[{"type":"command","command":sys.executable,"args":[str(script)],"async":True}]}]
    home = claude_stage.home(settings={"hooks": {"PostToolUse":h}})
    with open("/tmp/scratch-replies/async.txt","w") as f:
        async with claude_stage.interactive(home, "--allowedTools","Bash") as view:
            await view.is_idle()
            claude_stage.api.on("run it", ToolUse("Bash", {"command":"echo one"}), times=1)
            claude_stage.api.on("one", ToolUse("Bash", {"command":"sleep 1; echo two"}), times=1)
            await view.say("run it")
            await trio.sleep(6)
            for l in view.transcript():
                if "0000000000000002" in json.dumps(l): print(json.dumps(l)[:500], file=f)
            for t in claude_stage.api.turns(): print("TURN", repr(t.news[-300:]), file=f)
