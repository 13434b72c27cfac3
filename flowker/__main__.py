"""`python -m flowker` and the `flowker` command."""

import gc

# What is imported stays. To look for garbage in it again and again would take a third of the time of a start.
gc.disable()

from flowker.cli import main  # noqa: E402 - as is said above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
