"""Pure decisions: no system call, no clock, no I/O.  Time is an argument."""
