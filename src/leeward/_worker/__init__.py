"""Inside a worker, after the fork: loop, factory, accept, drain, leave."""
