"""Runs `mesh statusline`, `hook` or `mcp` as `python -IS hot.py VERB [--home DIR]`.

Settings name it like that for the relay; hooks and status line do the same in a form that bears its absence
(install/programs).

Small, because a script is compiled at each start; the rest is compiled once. Without site there is no site-packages:
the packages beside this file are found by its own path, after the standard library's.
"""

import sys

sys.path.append(__file__.rpartition("/mesh_clients/")[0])
if sys.argv[1] == "mcp":
    from mesh_clients.mcp.relay import main
else:
    from mesh_clients.thin import main
main(sys.argv[1:])
