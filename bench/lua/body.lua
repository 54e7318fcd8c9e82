wrk.method = "POST"
wrk.path = "/body"
wrk.headers["Content-Type"] = "application/octet-stream"
wrk.body = string.rep("x", 100 * 1000)
