"""Drives the real Claude Code binary against a scripted Messages API, offline."""
