"""Whole daemons inside the test's own event loop, and brokers between them that lie."""
