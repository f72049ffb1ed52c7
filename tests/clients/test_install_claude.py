"""What an install makes of Claude Code's files, as values: everything of others stays, ours goes in once and out again."""

import json
import shlex
import subprocess
import sys

import pytest

from mesh_clients.install import claude, documents, programs
from mesh_protocol.wire.errors import MeshError

THEIRS = {"type": "command", "command": "echo \"it's mine\" 'and' $HOME; cat >/dev/null", "padding": 2}
SETTINGS = {
    "model": "opus",
    "hooks": {
        "Stop": [{"matcher": "", "hooks": [{"type": "command", "command": "say done"}]}],
        "PreToolUse": [{"matcher": "Bash", "hooks": [{"type": "http", "url": "http://127.0.0.1:1"}]}],
    },
    "env": {"A": "b"},
}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        SETTINGS,
        SETTINGS | {"statusLine": THEIRS},
        {"hooks": {}},
        {"hooks": {"Stop": []}},
        {"statusLine": {"type": "command", "command": "mesh statusline"}},
        {"hooks": {"Stop": [{"hooks": []}]}},
    ],
)
@pytest.mark.parametrize("home", ["", "/somewhere else/it's"])
def test_what_is_put_in_comes_out_again(settings: dict, home: str) -> None:
    added = claude.add_settings(settings, home)
    assert added["hooks"].keys() >= claude.EVENTS.keys()
    assert claude.strip_settings(added, settings) == settings
    assert json.loads(json.dumps(added)) == added


def test_without_a_memory_the_users_status_line_comes_back_out_of_ours() -> None:
    added = claude.add_settings({"statusLine": THEIRS | {"refreshInterval": 3}}, "")
    assert added["statusLine"]["refreshInterval"] == 3
    assert claude.strip_settings(added) == {"statusLine": THEIRS | {"refreshInterval": 3}}


def test_others_hooks_stay_in_their_order_before_ours() -> None:
    added = claude.add_settings(SETTINGS, "")
    assert added["hooks"]["Stop"][0] == SETTINGS["hooks"]["Stop"][0]
    assert len(added["hooks"]["Stop"]) == 2
    assert added["hooks"]["PreToolUse"] == SETTINGS["hooks"]["PreToolUse"]
    assert added["model"] == "opus"


def test_a_handler_that_somebody_put_beside_ours_is_kept() -> None:
    added = claude.add_settings({}, "")
    mine = {"type": "command", "command": "true"}
    added["hooks"]["Stop"][0]["hooks"].append(mine)
    assert claude.strip_settings(added) == {"hooks": {"Stop": [{"hooks": [mine]}]}}


def test_the_parts_of_another_installation_are_known_as_ours() -> None:
    elsewhere = json.loads(json.dumps(claude.add_settings(SETTINGS, "/old")).replace(sys.prefix, "/gone"))
    assert claude.strip_settings(elsewhere, SETTINGS) == SETTINGS


def printed(line: dict, document: bytes = b"{}") -> bytes:
    """What Claude Code would show of a status line's command, on a machine without a daemon."""
    done = subprocess.run(
        ["sh", "-c", line["command"]], input=document, env={"HOME": "/nonexistent"}, capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_status_line_prints_the_users_own_lines_and_then_ours() -> None:
    line = claude.status_line({"type": "command", "command": "/bin/sed s/^/got:/; printf 'no end'"}, "")
    assert printed(line, b'{"a":"b"}') == b'got:{"a":"b"}no end\nmesh: no daemon (mesh up)\n'


@pytest.mark.parametrize("theirs", ["exit 3", "true", "kill $$", "no such command 2>&1 >/dev/null"])
def test_a_users_command_that_fails_or_says_nothing_does_not_blank_ours(theirs: str) -> None:
    assert printed(claude.status_line({"type": "command", "command": theirs}, "")).endswith(
        b"mesh: no daemon (mesh up)\n"
    )


@pytest.mark.parametrize(
    ("former", "says"), [(None, b""), ({"type": "command", "command": "sed s/^/got:/; echo"}, b"got:{}\n")]
)
def test_a_status_line_whose_files_are_gone_says_so_below_the_users_own(former: dict | None, says: bytes) -> None:
    line = claude.status_line(former, "")
    line["command"] = str(line["command"]).replace(programs.SCRIPT, f"/gone{programs.SCRIPT}")
    assert printed(line) == says + b"mesh: its files are gone (mesh install)\n"


@pytest.mark.parametrize(
    ("refresh", "within"), [(None, "3000"), (1, "600"), (2, "1200"), (60, "3000"), (0.2, "600"), ("x", "600")]
)
def test_the_users_command_has_less_time_than_a_refresh(refresh: object, within: str) -> None:
    former = {"type": "command", "command": "true", **({} if refresh is None else {"refreshInterval": refresh})}
    words = programs.words_of(claude.status_line(former, ""))
    assert claude.option_of(words, "--within") == within


def test_an_earlier_versions_chain_gives_the_users_command_back() -> None:
    ours = shlex.join(programs.hot_command("statusline", ""))
    old = f'in=$(cat); out=$(printf %s "$in" | sh -c \'say "mine"\' ); printf %s "$in" | {ours}'
    assert claude.strip_settings({"statusLine": {"type": "command", "command": old}}) == {
        "statusLine": {"type": "command", "command": 'say "mine"'}
    }


@pytest.mark.parametrize("former", [{}, {"statusLine": THEIRS}])
def test_a_layout_that_somebody_wrote_into_our_command_stays(former: dict) -> None:
    added = claude.add_settings(former, "/home of it")
    changed = json.loads(json.dumps(added).replace(" statusline ", " statusline --layout short "))
    assert changed != added
    assert claude.read_layout(changed["statusLine"]) == "short"
    assert claude.keep_layout(changed, claude.add_settings(former, "/home of it")) == changed
    assert claude.strip_settings(changed, former) == former


def test_a_line_by_name_keeps_its_layout() -> None:
    line = claude.status_line({"type": "command", "command": "mesh statusline --layout minimal"}, "")
    assert claude.read_layout(line) == "minimal"


def test_the_home_is_named_in_every_command() -> None:
    added = claude.add_settings({}, "/a b")
    assert added["hooks"]["Stop"][0]["hooks"][0]["args"][-2:] == ["--home", "/a b"]
    assert added["statusLine"]["command"].endswith("statusline --home '/a b'")
    assert claude.add_server({}, "/a b")["mcpServers"]["mesh"]["args"][-3:] == ["mcp", "--home", "/a b"]


@pytest.mark.parametrize("state", [{}, {"mcpServers": {}}, {"mcpServers": {"x": {"command": "x"}}, "n": 1}])
def test_the_server_goes_in_and_out(state: dict) -> None:
    assert claude.strip_server(claude.add_server(state, ""), state) == state


def test_a_server_that_the_user_added_by_name_is_replaced_and_comes_back() -> None:
    state = {"mcpServers": {"mesh": {"type": "stdio", "command": "mesh", "args": ["mcp"], "env": {}}}}
    added = claude.add_server(state, "")
    assert added != state
    assert claude.strip_server(added, state) == state


def test_a_strangers_server_of_the_same_name_is_not_touched() -> None:
    with pytest.raises(MeshError, match="claude mcp remove mesh"):
        claude.add_server({"mcpServers": {"mesh": {"command": "/usr/bin/other", "args": ["mcp"]}}}, "")


@pytest.mark.parametrize("settings", [{"hooks": []}, {"hooks": {"Stop": {}}}, {"hooks": {"SessionStart": "x"}}])
def test_settings_of_another_shape_are_refused(settings: dict) -> None:
    with pytest.raises(MeshError, match="mend it"):
        claude.add_settings(settings, "")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"{", "is not JSON .line 1"),
        (b'{"a": 1, // no\n}', "is not JSON"),
        (b"[1]", "holds no JSON object"),
        (b'{"a": NaN}', "out of range"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": {"b": 1, "b": 2}}', "'b' is there twice"),
        (b"\xff\xfe", "is not UTF-8"),
        (b'{"a":' + b"[" * 100_000, "cannot be kept"),
    ],
)
def test_what_could_not_be_written_back_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(MeshError, match=why) as caught:
        documents.parse("settings.json", raw)
    assert "left as it is" in caught.value.message
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "raw",
    [
        b'{\n  "a": 1\n}\n',
        b'{\n    "a": [\n        1.5\n    ]\n}',
        b'{\n\t"a": "\xc3\xa4"\n}',
        b'{"a": 1, "b": {}}',
        b'\xef\xbb\xbf{\n  "a": null\n}',
        b'{"a": "\\ud800"}',
        b'{\n  "n": 123456789012345678901234567890\n}\n',
    ],
)
def test_a_file_keeps_its_style(raw: bytes) -> None:
    assert documents.write_like(documents.parse("x", raw), raw) == raw
