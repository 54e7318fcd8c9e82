"""What a person reads: pure functions from the control socket's answers to text."""
