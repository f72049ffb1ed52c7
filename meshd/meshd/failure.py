"""Looking into exception groups: nurseries wrap what their tasks raised, callers want the one cause."""


def first_error(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first leaf of a group, however deep."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
