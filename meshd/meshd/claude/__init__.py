"""Claude Code as seen from the daemon: its registry, its processes, its transcripts and its inbox socket."""
