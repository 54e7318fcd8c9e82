"""The HTTP/1.1 engine: serves unmodified Tornado applications, faster and stricter.

Loaded in the processes that hold the application only.
"""
