"""However many files lie in the folder, the library can be listed."""

from collections.abc import AsyncIterator

import pytest
from trio.testing import MockClock

from world.machine import Machine
from world.seeds import seeded_scheduler
from world.world import open_world

FILES = 1_500


@pytest.fixture
async def ann(autojump_clock: MockClock) -> AsyncIterator[Machine]:
    with seeded_scheduler(20_264):
        async with open_world(20_264) as world:
            yield await world.machine("ann")


async def test_a_folder_of_very_many_files_is_listed_as_far_as_an_answer_goes(ann: Machine) -> None:
    folder = ann.paths.data / "prompts"
    folder.mkdir(mode=0o700)
    for number in range(FILES):
        path = folder / f"p{number:04}.yaml"
        path.write_text(f"description: {'d' * 390}\ntemplate: hello\n")
        path.chmod(0o600)
    told = await ann.call("prompt.list")
    assert [row["name"] for row in told["prompts"]] == [f"p{number:04}" for number in range(64)]
    assert "at most 64 files" in told["bad"][0]["why"]
    assert told["more"] == FILES - len(told["prompts"]) - len(told["bad"]) > 0
