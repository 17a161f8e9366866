-- Of ten requests for the counter that the URL names, nine increment it and one reports it.
local increment, report
local turn = 0

function init()
  increment = wrk.format("POST", wrk.path .. "/increment", { ["Content-Length"] = "0" })
  report = wrk.format("GET", wrk.path)
end

function request()
  turn = (turn + 1) % 10
  return turn == 0 and report or increment
end
