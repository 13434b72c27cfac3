"""`python -m flowker` and the `flowker` command."""

from flowker.cli import main

if __name__ == "__main__":
    main()
