"""Log files that several workers cannot share as they are."""
