-- Increments of counters named at random: k1 to kN. Arguments: N.
local before, behind, counters

function init(arguments)
  counters = tonumber(arguments[1])
  math.randomseed(os.time())
  before = "POST /v1/counters/k"
  behind = "/increment HTTP/1.1\r\nHost: " .. wrk.headers["Host"] .. "\r\nContent-Length: 0\r\n\r\n"
end

function request()
  return before .. math.random(counters) .. behind
end
