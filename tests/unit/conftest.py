"""What every unit test shares: Hypothesis that gives the same examples each time and has no stop-watch."""

from hypothesis import settings

settings.register_profile("unit", deadline=None, derandomize=True, database=None)
settings.load_profile("unit")
