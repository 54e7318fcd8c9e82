"""The access log: one line for each request that the application has answered.

`hook` finds out when there is one to be written and whether that is for us to do, `formats`
makes it, a `batch.Sink` takes it.
"""
