-- A JSON document of 1 KB, as a form or an order would be.
local items = {}
for i = 1, 10 do
  items[i] = string.format('{"id": "item-%04d", "title": "A thing of some name %d", "price": %d.99, "tags": ["a", "b"]}', i, i, i)
end
wrk.method = "POST"
wrk.path = "/json"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"user": "somebody@example.com", "note": "' .. string.rep("x", 96) .. '", "items": [' .. table.concat(items, ", ") .. ']}'
