"""Pure rules of Flowker: no I/O, no clock, no framework."""
