"""The configuration: defaults that work, errors that name file and line, caps that hold."""

from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from meshd.config import CAPS, Config, ConfigRefused, Idle, Limits, load_config, parse_config
from meshd.private_files import NotPrivate

FULL = b"""\
embedded_broker = "other.module"
keys = "file"
log_level = "debug"
log_file = true

[limits]
clients = 1024
outbox_rows = 5

[idle]
ping_s = 10
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path / "config.toml"


def refused(text: str) -> str:
    with pytest.raises(ConfigRefused) as caught:
        parse_config(text.encode(), "config.toml")
    assert caught.value.exit_status == 78
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_without_a_file_the_defaults_serve(path: Path) -> None:
    config = load_config(path, {})
    assert config == Config()
    assert config.embedded_broker == "mesh_broker.app"
    assert (config.limits.clients, config.limits.in_flight_per_client) == (256, 64)


def test_a_file_sets_what_it_names_and_leaves_the_rest(path: Path) -> None:
    path.write_bytes(FULL)
    path.chmod(0o644)
    config = load_config(path, {})
    assert config.embedded_broker == "other.module"
    assert (config.keys, config.log_level, config.log_file) == ("file", "debug", True)
    assert config.limits == Limits(clients=1024, outbox_rows=5)
    assert config.idle == Idle(ping_s=10)


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Config().limits.clients = 1  # type: ignore[misc]


def test_two_variables_stand_above_the_file_and_no_other_does(path: Path) -> None:
    path.write_bytes(FULL)
    environ = {
        "MESH_LOG_LEVEL": "error",
        "MESH_KEYS": "keyring",
        "MESH_EMBEDDED_BROKER": "evil.module",
        "MESH_LIMITS_CLIENTS": "1",
        "MESH_LOG_FILE": "false",
    }
    config = load_config(path, environ)
    assert (config.log_level, config.keys) == ("error", "keyring")
    assert config.embedded_broker == "other.module"
    assert config.limits.clients == 1024
    assert config.log_file is True
    with pytest.raises(ConfigRefused, match="MESH_KEYS: keys must be one of auto, keyring, file"):
        load_config(path, {"MESH_KEYS": "clear"})


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("colour = 1", 1, "unknown key 'colour'"),
        ("\n# comment\nkesy = 'file'", 3, "unknown key 'kesy'"),
        ("[limits]\nclients = 1\nclient = 2", 3, "unknown key 'client'"),
        ("[limits]\nclients = 1\n\n[idle]\nclients = 2", 5, "unknown key 'clients'"),
        ("limits.client = 2", 1, "unknown key 'client'"),
        ("log_file = true\nlimits = { client = 2 }", 2, "unknown key 'client'"),
        ("[limit]\nclients = 1", 1, "unknown key 'limit'"),
        ("[a.b]\nc = 1", 1, "unknown key 'a'"),
        ("keys = 'clear'", 1, "keys must be one of auto, keyring, file"),
        ("log_level = 3", 1, "log_level must be one of"),
        ("log_file = 'yes'", 1, "log_file must be true or false"),
        ("embedded_broker = 'a b'", 1, "name of a module"),
        ("embedded_broker = '../x'", 1, "name of a module"),
        ("embedded_broker = 'x\\n'", 1, "name of a module"),
        ("limits = 3", 1, "limits must be a table"),
        ("[limits]\nclients = 1025", 2, "from 1 to 1024"),
        ("[limits]\nclients = 0", 2, "from 1 to 1024"),
        ("[limits]\nclients = -1", 2, "from 1 to 1024"),
        ("[limits]\nclients = true", 2, "from 1 to 1024"),
        ("[limits]\nclients = 1.5", 2, "from 1 to 1024"),
        ("[limits]\nevents_per_client = 1001", 2, "from 1 to 1000"),
        ("[limits]\noutbox_bytes = 2147483649", 2, "from 1 to 2147483648"),
        ("[idle]\nping_s = 201", 2, "from 1 to 200"),
        ("a = 1\nb = = 2", 2, "Invalid value"),
        ("keys = 'file'\nkeys = 'file'", 2, "overwrite"),
        ("[limits", 1, ""),
    ],
)
def test_a_mistake_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    told = refused(text)
    assert told.startswith(f"config.toml:{line}: ")
    assert says in told


def test_bytes_that_are_not_utf8_are_refused_with_their_line() -> None:
    with pytest.raises(ConfigRefused, match=r"config.toml:2: not UTF-8"):
        parse_config(b"keys = 'file'\nlog_level = '\xff'", "config.toml")


@pytest.mark.parametrize("text", ["[idle]\ndead_s = 20", "[idle]\nping_s = 60", "[idle]\npresence_lease_s = 30"])
def test_numbers_that_contradict_each_other_are_refused(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigRefused, match="must be more than"):
        load_config(path, {})


def test_every_limit_goes_down_to_one_and_up_to_its_cap() -> None:
    for name in Limits.__dataclass_fields__:
        cap = CAPS.get(name, getattr(Limits(), name))
        for value in (1, cap):
            assert getattr(parse_config(f"[limits]\n{name} = {value}".encode(), "c").limits, name) == value
        with pytest.raises(ConfigRefused):
            parse_config(f"[limits]\n{name} = {cap + 1}".encode(), "c")


def test_a_file_others_may_write_is_refused(path: Path) -> None:
    path.write_bytes(FULL)
    path.chmod(0o666)
    with pytest.raises(NotPrivate, match="chmod 600"):
        load_config(path, {})


def test_a_link_and_an_endless_file_are_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotPrivate):
        load_config(path, {})
    path.unlink()
    path.write_bytes(b"#" * (64 * 1024 + 1))
    path.chmod(0o600)
    with pytest.raises(NotPrivate, match="longer than"):
        load_config(path, {})
