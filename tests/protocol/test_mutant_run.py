"""The harness that alters signed objects in large: it counts what it did, repeats itself, and finds what is accepted."""

from dataclasses import replace

from mutant_run import Run


def steps(run, count):
    return [run.step() for _ in range(count)]


def test_a_run_refuses_everything_and_counts_it():
    run = Run(3)
    assert set(steps(run, 400)) == {None}
    assert 300 < run.counts.total() <= 400
    assert len(run.counts) > 20


def test_the_same_seed_alters_the_same():
    one, other = Run(4), Run(4)
    for name, target in list(one.targets.items())[:5]:
        assert [one.alter(name, target) for _ in range(20)] == [other.alter(name, target) for _ in range(20)]


def test_what_is_accepted_or_breaks_is_found():
    def crash(data):
        raise KeyError(len(data))

    for check, what in ((lambda data: None, "was accepted"), (crash, "raised KeyError")):
        run = Run(5)
        run.targets = {"tip": replace(run.targets["tip"], check=check)}
        found = next(found for found in steps(run, 20) if found is not None)
        assert (found.name, found.what) == ("tip", what)
        assert found.data != run.targets["tip"].good
