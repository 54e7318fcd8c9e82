"""The HTTP/1.1 engine: unmodified Tornado applications on asyncio's transports.

It takes the place of `tornado.http1connection` behind Tornado's own extension points
(`HTTPServerConnectionDelegate.start_request`, `HTTPConnection`): applications see the
same requests and answer with the same calls.

    head, body      bytes into requests, strictly; rules: where we differ from Tornado
    connection      one client: its life, its buffer, which exchange is at work
    exchange        one request and its answer, as Tornado's handlers see it
    execute         from an exchange to its handler; request, routes: what it needs for that
    accelerate      functions of Tornado replaced by equal ones
    stream          what is left when HTTP is over: WebSockets, `detach()`
    linger          a close that lets a client which still sends see its answer
    proxy           the PROXY header; forwarded: X-Forwarded-For; arguments: HTTPServer's
    registry        all connections of a worker, how they are counted and drained
    server          what the worker hands accepted sockets to

Loaded in workers and zygotes only.
"""
