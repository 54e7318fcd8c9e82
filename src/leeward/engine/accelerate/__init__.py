"""Accelerations of `tornado.web`, each put in the place of a function that it equals.

    pristine, table     which functions of Tornado we know
    handler, finish,
    headers             the accelerations
    install             puts them in place and takes them out again

What an application overrides or patches is called as before: an acceleration asks for
each request whether what it would skip is still Tornado's own.
"""
