"""Real daemons and a real broker as processes with homes of their own, for tests that look at the whole from outside."""
