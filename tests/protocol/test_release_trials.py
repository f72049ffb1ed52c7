"""Who may sign that a machine leaves: what the daemon thinks is what the chain takes, in random meshes.

MESH_REMOVALS sets the number of random meshes.
"""

import os
import random

from chain_actions import Tale
from chain_model import DEVICES
from mesh_protocol.members import ChainError
from mesh_protocol.rotation import rotate
from mesh_protocol.seals import MeshKeys
from mesh_samples import HERE
from meshd.releasing import release_records, who_may_release

TRIALS = min(int(os.environ.get("MESH_REMOVALS", "60")), 2000)
NAME_OF = {HERE.key(name).public: name for name in DEVICES}


def test_the_chain_takes_a_leave_from_exactly_those_who_are_asked_for_it() -> None:
    taken = refused = nobody = kept = 0
    for seed in range(TRIALS):
        source = random.Random(f"leave {seed}")
        tale = Tale()
        tale.go_on(source, source.randrange(8, 40))
        state = tale.state
        keys = MeshKeys(HERE.seed("name key"), {epoch: HERE.seed(f"epoch {epoch}") for epoch in state.kcs})
        active = [device for device in state.devices if state.is_active(device)]
        if not active:
            continue
        leaver = source.choice(active)
        able = who_may_release(state, leaver)
        bodies = release_records(state, leaver)
        nobody += not able
        for signer in active:
            try:
                made = rotate(
                    state,
                    tale.records[-1],
                    bodies,
                    key=HERE.key(NAME_OF[signer]),
                    keys=keys,
                    new_key=HERE.seed("fresh"),
                    prekeys={},
                    tip=HERE.tip,
                )
            except ChainError:
                assert signer not in able, (seed, NAME_OF[signer], NAME_OF[leaver])
                refused += 1
                continue
            assert signer in able, (seed, NAME_OF[signer], NAME_OF[leaver])
            gone = {device for device in active if not made.state.is_active(device)}
            assert gone == {leaver}, "nobody else goes along"
            kept += len(state.added_by(leaver)) > 0
            taken += 1
    assert min(taken, refused, nobody) > 0
    assert kept > 0 or TRIALS < 60
