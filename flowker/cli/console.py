"""Where the commands print: what was done, and what went wrong."""

from rich.console import Console

# What is printed holds paths, addresses and answers: brackets and colons in them are not Rich's markup.
out = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
err = Console(soft_wrap=True, highlight=False, markup=False, emoji=False, stderr=True)
