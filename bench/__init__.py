"""The figures of the project, each beside a baseline measured in the same run. `make bench` runs `python -m bench`."""
