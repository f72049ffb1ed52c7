"""The chain's rules against the same rules written once more in another way.

MESH_CHAIN_TRIALS sets the number of random meshes (25 steps each).
"""

import os
import random

from chain_actions import Tale
from chain_model import Action

TRIALS = int(os.environ.get("MESH_CHAIN_TRIALS", "60"))


def test_random_meshes_go_as_the_model_says():
    kinds: set[str] = set()
    refused = 0
    for seed in range(TRIALS):
        tale = Tale()
        tale.go_on(random.Random(f"chain {seed}"), 25)
        kinds |= {action.kind for action in tale.told}
        refused += 25 - len(tale.told)
    assert len(kinds) == 13
    assert 0.2 * 25 * TRIALS < refused < 0.8 * 25 * TRIALS


def test_the_model_and_the_chain_differ_when_either_is_wrong():
    tale = Tale()
    admitted = Action("alice", "add_member", ("bob", "admin", "bob", None))
    assert tale.attempt(admitted) == ""
    try:
        tale.require_same()
    except AssertionError:
        assert tale.model.judge(admitted)
        tale.require_same()
    else:
        raise AssertionError("a member that the model does not have went unnoticed")
