"""`mesh launch` as a process, with a program called claude that says what it was given."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from client_kit.answers import result
from client_kit.programs import MESH, SECONDS
from client_kit.scripted import Scripted, Talker
from mesh_protocol.wire.codec import JsonValue
from mesh_protocol.wire.rpc import RequestReceived

TEAM = {"mesh": "team", "me": "ann", "default": True, "state": "joined", "link": "online"}
CLAUDE = """\
#!/bin/sh
exec 3>"$MESH_TEST_OUT"
for word; do printf 'argument %s\\n' "$word" >&3; done
env | sed 's/^/variable /' >&3
echo "pid $$" >&3
echo "folder $PWD" >&3
echo "ignored $(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/$$/status)" >&3
[ -t 0 ] || sed 's/^/input /' >&3
"""


def prepared(talker: Talker, request: RequestReceived) -> None:
    """The daemon's answer to an announcement: what was announced."""
    params = request.params
    groups = params.get("groups", [])
    answer: dict[str, JsonValue] = {
        "name": params.get("name", ""),
        "role": params.get("role", ""),
        "groups": groups,
        "mesh": params.get("mesh", "") or "team",
        "mode": params.get("mode", "keep"),
        "template": params.get("template", ""),
        "announced": True,
    }
    talker.answer(request, answer)


class Launcher:
    """A person in a project, with a claude on his PATH."""

    def __init__(self, root: Path, environ: dict[str, str], daemon: Scripted) -> None:
        self.daemon = daemon
        self.project = root / "src" / "web"
        self.project.mkdir(parents=True)
        self.programs = root / "bin"
        self.programs.mkdir()
        self.put_claude(self.programs)
        self.out = root / "said"
        self.environ = environ | {
            "PATH": f"{self.programs}:/usr/bin:/bin",
            "MESH_TEST_OUT": str(self.out),
        }
        self.data = Path(environ["MESH_HOME"])

    @staticmethod
    def put_claude(folder: Path, text: str = CLAUDE) -> Path:
        program = folder / "claude"
        program.write_text(text)
        program.chmod(0o755)
        return program

    def run(self, *arguments: str, text: bytes = b"", **more: str) -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [*MESH, *arguments],
            env=self.environ | more,
            cwd=self.project,
            input=text,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )

    def lines(self, kind: str) -> list[str]:
        """What claude said of one kind."""
        text = self.out.read_text() if self.out.exists() else ""
        return [line.partition(" ")[2] for line in text.splitlines() if line.startswith(kind)]

    @property
    def announced(self) -> dict[str, object]:
        """The last announcement."""
        return [dict(each.params) for each in self.daemon.requests if each.method == "launch.prepare"][-1]

    @property
    def remembered(self) -> dict[str, object]:
        path = self.data / "launch.json"
        return json.loads(path.read_text()) if path.exists() else {}


@pytest.fixture
def launcher(tmp_path: Path, environ: dict[str, str], scripted: Scripted) -> Launcher:
    scripted.on_request["mesh.list"] = result({"meshes": [TEAM]})
    scripted.on_request["launch.prepare"] = prepared
    scripted.start()
    return Launcher(tmp_path, environ, scripted)


def test_this_process_becomes_claude(launcher: Launcher) -> None:
    process = subprocess.Popen(
        [*MESH, "launch", "-y", "--", "--model", "opus", "say 'hi'", "--", ""],
        env=launcher.environ,
        cwd=launcher.project,
        stdin=subprocess.DEVNULL,
    )
    assert process.wait(SECONDS) == 0
    assert launcher.lines("pid") == [str(process.pid)], "the daemon knows it by its pid"
    assert launcher.lines("argument")[1:] == ["--model", "opus", "say 'hi'", "--", ""]
    assert launcher.lines("folder") == [str(launcher.project)]
    assert int(launcher.lines("ignored")[0], 16) & (1 << 12) == 0, "SIGPIPE, which Python ignores, ends a program again"


def test_what_is_given_is_announced_before_anything_runs(launcher: Launcher) -> None:
    done = launcher.run(
        *("launch", "--name", "heron", "--role", "lead", "--groups", "web/ui, night", "--mode", "inbox"),
        *("--template", "dev-team", "--mesh", "team", "-y"),
    )
    assert done.returncode == 0, done.stderr
    assert launcher.announced == {
        "name": "heron",
        "role": "lead",
        "groups": ["web/ui", "night"],
        "mode": "inbox",
        "template": "dev-team",
        "mesh": "team",
    }
    assert "MESH=team" in launcher.lines("variable")


def test_nothing_of_another_session_is_handed_on_and_everything_else_is(launcher: Launcher) -> None:
    of_a_session = {"CLAUDECODE": "1", "CLAUDE_CODE_SESSION_ID": "x", "MESH_SESSION_FILE": "y", "CLAUDE_PID": "1"}
    launcher.run("launch", "-y", EDITOR="vi", ANTHROPIC_API_KEY="sk", **of_a_session)
    variables = dict(line.split("=", 1) for line in launcher.lines("variable") if "=" in line)
    assert not variables.keys() & of_a_session.keys()
    assert (variables["EDITOR"], variables["ANTHROPIC_API_KEY"]) == ("vi", "sk")


@pytest.mark.parametrize(
    ("arguments", "handed", "announced"),
    [
        (("--resume", "ID"), ["--resume", "ID"], {}),
        (("-c",), ["-c"], {}),
        (("--mesh", "team", "--continue", "--json"), ["--continue", "--json"], {"mesh": "team"}),
        (("--mesh=team", "-p", "status"), ["-p", "status"], {"mesh": "team"}),
        (("--no-start", "--model=opus", "--help"), ["--model=opus", "--help"], {}),
    ],
)
def test_a_flag_that_is_not_ours_launches(
    launcher: Launcher, arguments: tuple[str, ...], handed: list[str], announced: dict[str, str]
) -> None:
    done = launcher.run(*arguments)
    assert done.returncode == 0, done.stderr
    assert launcher.lines("argument")[1:] == handed
    assert launcher.announced == announced


@pytest.mark.parametrize("arguments", [("--json", "status"), ("--mesh", "team", "peers"), ("--version",), ("-h",)])
def test_our_own_flags_do_not(launcher: Launcher, arguments: tuple[str, ...]) -> None:
    launcher.daemon.on_request["daemon.status"] = result({})
    launcher.daemon.on_request["peer.list"] = result({"peers": [], "more": False}, "peers[].summary")
    assert launcher.run(*arguments).returncode == 0
    assert launcher.lines("pid") == []


def test_answers_are_remembered_for_the_folder_and_by_nobody_else(launcher: Launcher) -> None:
    launcher.run("launch", "--name", "heron", "--groups", "night", "-y")
    launcher.run("launch", "--mode", "off", "-y")
    assert launcher.announced == {"name": "heron", "groups": ["night"], "mode": "off"}
    launcher.run("launch", "--name", "egret", "-y")
    assert launcher.announced == {"name": "egret", "groups": ["night"], "mode": "off"}
    assert launcher.remembered == {str(launcher.project): {"name": "egret", "groups": "night", "mode": "off"}}
    assert stat.S_IMODE((launcher.data / "launch.json").stat().st_mode) == 0o600
    launcher.project = launcher.project.parent
    launcher.run("launch", "-y")
    assert launcher.announced == {}
    assert len(launcher.remembered) == 1, "nothing was said of this folder"


def test_a_session_that_was_there_before_is_not_made_what_is_remembered(launcher: Launcher) -> None:
    launcher.run("launch", "--name", "heron", "-y")
    launcher.run("--resume", "ID")
    assert launcher.announced == {}
    launcher.run("launch", "--name", "egret", "--", "-r", "ID")
    assert launcher.announced == {"name": "egret"}
    assert launcher.remembered == {str(launcher.project): {"name": "heron"}}


def test_a_mesh_that_was_left_is_forgotten(launcher: Launcher) -> None:
    launcher.run("launch", "--name", "heron", "--mesh", "team", "-y")
    launcher.daemon.on_request["mesh.list"] = result({"meshes": [TEAM | {"mesh": "other"}]})
    launcher.run("launch", "-y")
    assert launcher.announced == {"name": "heron"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"%s": 5}', '{"%s": {"name": 7, "role": "x\\u001b", "mode": "off"}}'])
def test_a_broken_memory_is_as_good_as_none(launcher: Launcher, text: str) -> None:
    (launcher.data / "launch.json").write_text(text.replace("%s", str(launcher.project)))
    assert launcher.run("launch", "--name", "heron", "-y").returncode == 0
    assert launcher.announced["name"] == "heron"
    assert "role" not in launcher.announced
    assert launcher.remembered[str(launcher.project)]


def test_the_link_is_the_first_line_of_the_input_and_the_rest_is_claudes(launcher: Launcher) -> None:
    launcher.daemon.on_request["mesh.join"] = result({"id": "ab", "mesh": "lab", "me": "ann", "state": "joined"})
    done = launcher.run("launch", "--join", "-", "--", "-p", text=b"mesh://join/secret\nsum this up\nplease\n")
    assert done.returncode == 0, done.stderr
    joined = [each.params for each in launcher.daemon.requests if each.method == "mesh.join"]
    assert [each["url"] for each in joined] == ["mesh://join/secret"]
    assert launcher.announced == {"mesh": "lab"}
    assert launcher.lines("input") == ["sum this up", "please"]
    assert "secret" not in json.dumps(launcher.remembered)


def refuse(code: str) -> Callable[[Talker, RequestReceived], None]:
    return lambda talker, request: talker.refuse(request, code, "said why")


@pytest.mark.parametrize(
    ("arguments", "method", "code", "status"),
    [
        (("--groups", "we b"), "launch.prepare", "bad_group", 2),
        (("--template", "circus"), "launch.prepare", "not_found", 1),
        (("--join", "mesh://x"), "mesh.join", "bad_invite", 65),
        (("--join", "mesh://x"), "mesh.join", "guarded", 77),
        ((), "mesh.list", "keys_locked", 75),
    ],
)
def test_what_is_refused_starts_nothing(
    launcher: Launcher, arguments: tuple[str, ...], method: str, code: str, status: int
) -> None:
    launcher.daemon.on_request[method] = refuse(code)
    done = launcher.run("launch", "--json", *arguments)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (status, code)
    assert launcher.lines("pid") == []


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("launch", "opus"), "one argument too many"),
        (("launch", "--join", "mesh://x", "--mesh", "team"), "leave out --mesh"),
        (("launch", "--join", "-"), "holds no invite link"),
        (("launch", "--mode", "loud"), "--mode is one of push, inbox, off"),
    ],
)
def test_a_mistake_is_named_and_starts_nothing(launcher: Launcher, arguments: tuple[str, ...], says: str) -> None:
    done = launcher.run(*arguments)
    assert done.returncode == 2
    assert says in done.stderr.decode()
    assert launcher.lines("pid") == []


def test_where_claude_was_set_up_it_is_given_nothing_more(launcher: Launcher, tmp_path: Path) -> None:
    launcher.run("launch", "-y")
    (lent,) = launcher.lines("argument")
    name, _, text = lent.partition("=")
    server = json.loads(text)["mcpServers"]["mesh"]
    assert name == "--mcp-config"
    assert Path(server["command"]).is_absolute()
    assert server["args"][-2:] == ["--home", str(launcher.data)]
    (tmp_path / ".claude.json").write_text(json.dumps({"mcpServers": {"mesh": {"command": "mesh", "args": ["mcp"]}}}))
    launcher.run("launch", "-y")
    assert launcher.lines("argument") == []


def test_what_has_no_effect_is_said(launcher: Launcher) -> None:
    launcher.daemon.on_request["launch.prepare"] = result({"name": "heron", "mesh": "team", "announced": False})
    done = launcher.run("launch", "--name", "heron", "-y")
    assert (done.returncode, launcher.lines("pid") != []) == (0, True)
    assert b"have no effect" in done.stderr


@pytest.mark.parametrize("flag", ["--mcp-config=x", "--strict-mcp-config", "--bare"])
def test_who_says_which_servers_he_wants_gets_no_other(launcher: Launcher, flag: str) -> None:
    launcher.run("launch", "-y", "--", flag)
    assert launcher.lines("argument") == [flag]


def test_templates_and_groups_are_completed(launcher: Launcher) -> None:
    launcher.daemon.on_request["launch.templates"] = result({"templates": [{"template": "dev-team"}]})
    launcher.daemon.on_request["group.list"] = result({"members": [{"group": "night"}]})
    for line, word in (("--template d", b"dev-team\n"), ("--groups ", b"night\n"), ("--mode in", b"inbox\n")):
        assert launcher.run("completion", "bash", f"--line=mesh launch {line}").stdout == word


def test_a_claude_of_the_project_is_never_run(launcher: Launcher) -> None:
    (launcher.project / ".git").mkdir()
    tools = launcher.project / "tools"
    tools.mkdir()
    launcher.put_claude(tools, "#!/bin/sh\necho evil > evil\n")
    launcher.environ["PATH"] = f"{tools}:{launcher.environ['PATH']}"
    assert launcher.run("launch", "-y").returncode == 0
    assert launcher.lines("pid")
    assert not (launcher.project / "evil").exists()
    os.unlink(launcher.programs / "claude")
    done = launcher.run("launch", "-y", "--json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (78, "no_claude")
    assert b"lies in this project" in done.stderr


def test_a_program_that_cannot_be_started_is_said(launcher: Launcher) -> None:
    launcher.put_claude(launcher.programs, "#!/nowhere/sh\n")
    done = launcher.run("launch", "-y")
    assert done.returncode == 78
    assert b"does not start" in done.stderr
