"""`python -m flowker` and the `flowker` command."""

import gc

from flowker.imports import without

# What is imported stays. To look for garbage in it again and again would take a third of the time of a start.
gc.disable()

with without("rich"):  # It draws tracebacks in another way than ours.
    import structlog  # noqa: F401

from flowker.cli import main  # noqa: E402 - after what is said above

gc.freeze()
gc.enable()

if __name__ == "__main__":
    main()
