"""The simulator: one seed is one history of a mesh in bad weather, with what must hold at its end.

`run.run_seed` makes the history of a seed: machines, sessions and a broker (`world`), a random subset of the faults of
`faults`, then everything healed, two minutes of peace, and the judgement of `oracles` over what `book` remembers.
"""
