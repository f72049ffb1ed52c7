"""The prompt library as a person lists it."""

from exercised import works

from world.world import World


@works("prompt.list")
async def the_library_is_listed_with_what_is_wrong_in_it(world: World) -> None:
    ann = await world.machine("ann")
    answer = await ann.call("prompt.list")
    assert (answer["prompts"], answer["bad"], answer["trouble"]) == ([], [], "")
    folder = ann.paths.data / "prompts"
    assert answer["folder"] == str(folder)
    folder.mkdir(mode=0o700)
    (folder / "review.yaml").write_text("template: Review {{file}}{{#if focus}}, {{focus}}{{/if}}\n")
    (folder / "broken.yaml").write_text("template: '{{'\n")
    answer = await ann.call("prompt.list")
    (row,) = answer["prompts"]
    assert (row["name"], row["required"], row["optional"], row["file"]) == (
        "review",
        ["file"],
        ["focus"],
        "review.yaml",
    )
    assert [each["file"] for each in answer["bad"]] == ["broken.yaml"]
