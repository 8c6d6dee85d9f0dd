"""The commands of `chatcore`. Each module has `add_parser` and `run`, which returns an exit status.

What a command needs is imported in its functions: neither `--help` nor a wrong setting has to wait
for it.
"""
