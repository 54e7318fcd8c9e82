"""Kinds of application: how each is found, and how each is served inside a worker."""
