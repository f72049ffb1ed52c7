"""Databases under load whose power is cut: the real stores on a `PowerDisk`, judged by a twin in memory."""
