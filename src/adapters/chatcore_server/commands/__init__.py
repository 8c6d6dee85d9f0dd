"""The commands of `chatcore`. Each module has `add_parser` and `run`, which returns an exit status.

A module imports its libraries inside functions, so that `--help` need not wait for them.
"""
