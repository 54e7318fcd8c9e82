"""The collector: one process that empties the log rings of all others into files and streams."""
