"""A terminal for tests: what a person would see, and pictures of it to compare with."""
