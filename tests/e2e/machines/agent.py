"""What an agent session does, as a program of its own: started by a process that looks like Claude Code.

`python agent.py HOME CONFIG SESSION_ID STEPS`: registers its parent in Claude's registry, opens MCP as the shim does,
and makes the calls of the JSON file STEPS, each `[method, params, text]`; prints their answers as JSON lines.
"""

import json
import os
import sys
from pathlib import Path

from mesh_protocol.io.blocking import Client
from mesh_protocol.wire.errors import MeshError


def main(home: str, config: str, session_id: str, steps: str) -> None:
    parent = os.getppid()
    start = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    sessions = Path(config) / "sessions"
    sessions.mkdir(parents=True, exist_ok=True)
    entry = {"pid": parent, "sessionId": session_id, "procStart": start, "cwd": str(Path.cwd()), "version": "2.1.329"}
    (sessions / f"{parent}.json").write_text(json.dumps({**entry, "status": "idle", "kind": "interactive"}))
    place = (Path(home) / "run" / "where").read_text().splitlines()[0]
    env = {"CLAUDE_CONFIG_DIR": config, "CLAUDE_CODE_SESSION_ID": session_id}
    with Client(place, build="test") as client:
        client.call("mcp.open", {"env": {**env}, "cwd": str(Path.cwd())}, timeout=20)
        for method, params, text in json.loads(Path(steps).read_text()):
            try:
                answer, _ = client.call(method, params, text.encode(), timeout=20)
            except MeshError as error:
                answer = {"error": error.code}
            print(json.dumps(answer, default=str), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
