"""Is no Python."""

def make_app(:
    pass
