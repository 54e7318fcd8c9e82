-- No two requests alike: their targets, and two of their headers.
local count = 0
request = function()
  count = count + 1
  wrk.headers["X-Request-Id"] = string.format("%d-%d", count, math.random(1000000000))
  wrk.headers["Cookie"] = string.format("session=%d", math.random(1000000000))
  wrk.headers["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"
  wrk.headers["Accept"] = "*/*"
  return wrk.format("GET", "/?id=" .. count)
end
