"""Looking into exception groups: nurseries wrap what their tasks raised, callers want the one cause."""


def first_error(group: BaseException) -> BaseException:
    """The first leaf of a group, however deep; an exception that is none is its own."""
    error = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
