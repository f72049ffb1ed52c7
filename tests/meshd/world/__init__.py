"""A world in one process: daemons, their brokers, their sessions and the network between them.

Everything in it is the real thing except what a machine's surroundings are: the clock, the randomness, the cables, the
processes and the agent program. One seed is one history as far as trio allows (`seeds.one_history`).
"""
