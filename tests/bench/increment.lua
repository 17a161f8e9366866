-- Increments of the counter that the URL names.
wrk.method = "POST"
wrk.headers["Content-Length"] = "0"
