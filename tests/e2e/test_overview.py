"""`mesh` alone, `mesh launch` and `mesh templates` with a real daemon, from an empty home on."""

from pathlib import Path

from homes import Home, StandIn, open_home, wait_until


def put_claude(home: Home) -> Path:
    """A program of that name that only says that it runs."""
    folder = home.folder / "programs"
    folder.mkdir()
    (folder / "claude").write_text('#!/bin/sh\necho "it runs: $*"\n')
    (folder / "claude").chmod(0o755)
    home.environ["PATH"] = f"{folder}:{home.environ['PATH']}"
    return folder / "claude"


def test_from_the_welcome_to_a_first_message(tmp_path: Path) -> None:
    with open_home(tmp_path, "a") as home:
        claude = put_claude(home)
        told = home.json()
        assert told == {"state": "new", "daemon": False, "claude": str(claude), "set_up": False, "meshes": []}
        assert not home.data.exists(), "looking starts nothing"
        home.json("new", "team", "--name", "ann")
        assert [(row["mesh"], row["me"], row["link"]) for row in home.json()["meshes"]] == [("team", "ann", "online")]
        done = home.run("launch", "--name", "heron", "--groups", "night", "-y", "--", "-p", "hello")
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("it runs: ")
        assert done.stdout.endswith("-p hello\n")
        assert home.json("templates")["templates"][0]["template"] == "dev-team"


def test_what_a_session_does_is_seen_by_whoever_asks(tmp_path: Path) -> None:
    with open_home(tmp_path, "a") as home:
        home.json("new", "team", "--name", "ann")
        relay = [Path(home.run("--version").args[0]), "mcp"]
        with StandIn(home, relay) as session:
            session.greet()
            session.call(1, "set_summary", {"summary": "mending the heron"})
            wait_until(lambda: "mending the heron" in home.run().stdout)
            assert "ann/web" in home.run().stdout
            assert home.json("send", "nobody", "x", status=2)["error"]["code"] == "unknown_recipient"
            home.run("mode", "off")
            assert [row["session"] for row in home.json()["sessions"]] == ["web"]
