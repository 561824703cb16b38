-- For wrk: each request is an order of its own.
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
local number = 0
local run = tostring(os.time()) .. tostring(math.random(1e9))
request = function()
    number = number + 1
    return wrk.format(nil, nil, nil, "plain=1&amount=1&token=wrk" .. run .. "x" .. number)
end
