"""argv → settings → one verb.  One file per verb; its docstring is its manual page."""
