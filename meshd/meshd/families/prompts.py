"""Telling what the prompt library holds."""

from mesh_protocol.ops.prompts import BadPromptRow, ListPrompts, PromptRow, PromptsAnswer
from meshd.local.dispatch import Call, handles
from meshd.pages import Page


@handles(ListPrompts)
async def list_prompts(call: Call, request: ListPrompts) -> PromptsAnswer:
    folder = call.app.prompts
    shelf = await folder.read()
    page = Page()
    prompts = page.take(
        PromptRow(
            name=prompt.name,
            description=prompt.description,
            required=[each.name for each in prompt.arguments if each.required],
            optional=[each.name for each in prompt.arguments if not each.required],
            file=file,
        )
        for prompt, file in shelf.prompts.values()
    )
    bad = page.take(BadPromptRow(file=each.file, why=each.why) for each in shelf.bad)
    return PromptsAnswer(
        folder=str(folder.path),
        prompts=prompts,
        bad=bad,
        more=len(shelf.prompts) + len(shelf.bad) - len(prompts) - len(bad),
        trouble=shelf.trouble,
    )
