-- One connection in each thread asks both homes in turn; an answer of the other home is counted.
local hosts = { "pi.example.com", "local.example.com" }
local threads = {}
local count = 0
local asked
wrong = 0
heard = 0

function setup(thread)
    table.insert(threads, thread)
end

function request()
    count = count + 1
    -- A, A, B: the link is kept in between, and given back.
    asked = hosts[count % 3 == 0 and 2 or 1]
    return wrk.format("GET", "/whoami", { Host = asked })
end

function response(status, headers, body)
    heard = heard + 1
    local name = string.match(asked, "^%a+")
    if status ~= 200 or body ~= name .. " " .. asked .. " 127.0.0.1\n" then
        wrong = wrong + 1
    end
end

function done(summary, latency, requests)
    local all, bad = 0, 0
    for _, thread in ipairs(threads) do
        all = all + thread:get("heard")
        bad = bad + thread:get("wrong")
    end
    print("answers: " .. all .. ", wrong: " .. bad)
end
