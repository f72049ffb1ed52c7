"""The folder of the prompt library: what is read of it, what is refused, and that changes are noticed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from meshd.prompts.document import FILE_BYTES, BadPrompt, read_prompt
from meshd.prompts.folder import EVERY_S, MAX_FILES, PromptFolder

T = TypeVar("T")
GOOD = "description: Review a file\ntemplate: |\n  Review {{file}}{{#if focus}}, above all {{focus}}{{/if}}.\n"


async def inline(work: Callable[[], T]) -> T:
    return work()


@pytest.fixture
def folder(tmp_path: Path) -> PromptFolder:
    (tmp_path / "prompts").mkdir()
    return PromptFolder(tmp_path / "prompts", inline)


async def why(folder: PromptFolder) -> dict[str, str]:
    """What is wrong with each file that is not served."""
    return {bad.file: bad.why for bad in (await folder.read()).bad}


async def test_a_file_is_a_prompt_with_the_variables_of_its_template(folder: PromptFolder) -> None:
    (folder.path / "review.yaml").write_text(GOOD + "arguments:\n  file: which file\n")
    (folder.path / "other.yml").write_text("name: say-hello\ntemplate: hello\n")
    (folder.path / "notes.txt").write_text("no prompt")
    (folder.path / ".hidden.yaml").write_text("no prompt")
    shelf = await folder.read()
    assert (list(shelf.prompts), shelf.bad, shelf.trouble) == (["say-hello", "review"], (), "")
    prompt, file = shelf.prompts["review"]
    assert (file, prompt.description) == ("review.yaml", "Review a file")
    assert [tuple(each) for each in prompt.arguments] == [("file", "which file", True), ("focus", "", False)]


async def test_no_folder_is_no_library(tmp_path: Path) -> None:
    shelf = await PromptFolder(tmp_path / "prompts", inline).read()
    assert (shelf.prompts, shelf.trouble) == ({}, "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "it is empty"),
        ("- a\n- b\n", "keys with their values"),
        ("just a text\n", "keys with their values"),
        ("template: [a, b]\n", "template must be a text"),
        ("template: x\nmodel: opus\n", "line 2: unknown key 'model'"),
        ("template: x\ntemplate: y\n", "line 2: template stands twice"),
        ("description: x\n", "it has no template"),
        ("template: '{{#if a}}'\n", "template, line 1: {{#if a}} has no {{/if}}"),
        ("template: x\n---\ntemplate: y\n", "more than one document"),
        ("template: x\narguments: {nobody: y}\n", "'nobody' is no variable"),
        ("template: '{{a}}'\narguments: {a: x, a: y}\n", "'a' stands twice"),
        ("template: '{{a}}'\narguments: {a: [x]}\n", "must be a text"),
        ("template: !!python/object/apply:os.system [id]\n", "tags (!) have no place"),
        ("a: &a [x]\ntemplate: *a\n", "anchors and aliases"),
        ("template: &t x\n", "anchors and aliases"),
        ("<<: *x\ntemplate: y\n", "anchors and aliases"),
        ("\ttemplate: x\n", "line 1: it is not YAML"),
        ("template: \x07\n", "it is not YAML"),
        ("name: ../../etc/passwd\ntemplate: x\n", "the name '../../etc/passwd' is not of small letters"),
        ("name: Upper\ntemplate: x\n", "is not of small letters"),
        (f"name: {'a' * 49}\ntemplate: x\n", "at most 48"),
        (f"description: {'a' * 401}\ntemplate: x\n", "description is longer than 400 bytes"),
        ('template: x\ndescription: "\\e[2J"\n', "cannot be shown"),
        (f"template: '{' '.join(f'{{{{v{n}}}}}' for n in range(17))}'\n", "more than 16 variables"),
        (f"template: {'[' * 9_000}\n", "template must be a text"),
        (f"template: |\n  {'x' * FILE_BYTES}\n", f"longer than {FILE_BYTES} bytes"),
    ],
)
async def test_a_bad_file_is_named_with_what_is_wrong_and_costs_no_other(
    folder: PromptFolder, content: str, said: str
) -> None:
    (folder.path / "bad.yaml").write_text(content)
    (folder.path / "good.yaml").write_text(GOOD)
    assert said in (await why(folder))["bad.yaml"]
    assert list((await folder.read()).prompts) == ["good"]


async def test_bytes_that_are_no_text_are_refused(folder: PromptFolder) -> None:
    (folder.path / "bad.yaml").write_bytes(b"template: \xff\n")
    assert await why(folder) == {"bad.yaml": "it is not UTF-8"}


async def test_an_alias_bomb_is_refused_before_it_is_anything(folder: PromptFolder) -> None:
    lines = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 40))]
    (folder.path / "bomb.yaml").write_text("\n".join(lines))
    assert "unknown key" in (await why(folder))["bomb.yaml"] or "anchors" in (await why(folder))["bomb.yaml"]


async def test_nothing_outside_the_folder_is_read(folder: PromptFolder, tmp_path: Path) -> None:
    (tmp_path / "outside.yaml").write_text("template: a secret\n")
    (folder.path / "link.yaml").symlink_to(tmp_path / "outside.yaml")
    (folder.path / "loop.yaml").symlink_to("loop.yaml")
    (folder.path / "folder.yaml").mkdir()
    os.mkfifo(folder.path / "pipe.yaml")
    told = await why(folder)
    assert told["link.yaml"] == told["loop.yaml"] == "it is a link: copy the file itself into the folder"
    assert "not a regular file" in told["folder.yaml"]
    assert "not a regular file" in told["pipe.yaml"]
    assert not (await folder.read()).prompts


async def test_a_folder_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.yaml").write_text(GOOD)
    (tmp_path / "prompts").symlink_to(tmp_path / "elsewhere")
    shelf = await PromptFolder(tmp_path / "prompts", inline).read()
    assert not shelf.prompts
    assert str(tmp_path / "prompts") in shelf.trouble


async def test_what_others_may_write_is_refused(folder: PromptFolder) -> None:
    (folder.path / "shared.yaml").write_text(GOOD)
    (folder.path / "shared.yaml").chmod(0o664)
    assert "open to other users" in (await why(folder))["shared.yaml"]
    folder.path.chmod(0o777)
    shelf = await folder.read()
    assert not shelf.prompts
    assert "chmod 700" in shelf.trouble


async def test_a_name_belongs_to_the_first_file(folder: PromptFolder) -> None:
    (folder.path / "a.yaml").write_text("name: same\ntemplate: first\n")
    (folder.path / "b.yaml").write_text("name: same\ntemplate: second\n")
    assert await why(folder) == {"b.yaml": "the name same is that of a.yaml"}


async def test_there_is_a_bound_to_the_files(folder: PromptFolder) -> None:
    for number in range(MAX_FILES + 1):
        (folder.path / f"p{number:03}.yaml").write_text("template: x\n")
    assert len((await folder.read()).prompts) == MAX_FILES
    assert list(await why(folder)) == [f"p{MAX_FILES:03}.yaml"]


async def test_a_name_that_could_disturb_a_terminal_is_shown_escaped(folder: PromptFolder) -> None:
    (folder.path / "\x1b[2J.yaml").write_text("template: x\n")
    (told,) = await why(folder)
    assert told.isprintable()


async def test_a_file_that_is_replaced_is_read_again(folder: PromptFolder) -> None:
    path = folder.path / "review.yaml"
    path.write_text("template: one\n")
    assert (await folder.read()).prompts["review"][0].template.fill({}) == "one"
    at = path.stat()
    other = folder.path / "other"
    other.write_text("template: two\n")
    os.utime(other, ns=(at.st_atime_ns, at.st_mtime_ns))
    other.replace(path)
    assert (await folder.read()).prompts["review"][0].template.fill({}) == "two"
    path.unlink()
    assert (await folder.read()).prompts == {}


async def test_who_follows_is_told_of_each_change_and_of_nothing_else(
    folder: PromptFolder, nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    told: list[float] = []

    async def tell() -> None:
        told.append(trio.current_time())

    (folder.path / "review.yaml").write_text(GOOD)
    nursery.start_soon(folder.run)
    nursery.start_soon(folder.follow, tell)
    await trio.sleep(3.5 * EVERY_S)
    assert told == []
    (folder.path / "review.yaml").write_text("template: x\n")
    await trio.sleep(EVERY_S)
    assert len(told) == 1
    (folder.path / "review.yaml").unlink()
    await trio.sleep(3 * EVERY_S)
    assert len(told) == 2


@given(st.binary(max_size=300) | st.text(alphabet="template: |-&*!\n{}[]#\"'?<>%@`x", max_size=300).map(str.encode))
def test_any_bytes_are_a_prompt_or_are_refused(content: bytes) -> None:
    try:
        told = read_prompt(content, "stem").name
    except BadPrompt as error:
        told = str(error)
    assert told
    assert told.isprintable()
