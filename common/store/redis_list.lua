-- A page of names and values, after the name to go on after, which is empty at the end. Arguments:
-- the prefix of all keys, from where and up to where in the sorted set of names (ZRANGEBYLEX), and
-- how many names. Those whose counter has ended are left out, also in the millisecond that it ends
-- in, for which Redis still keeps it.
local prefix, limit = ARGV[1], tonumber(ARGV[4])
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local names = redis.call('ZRANGEBYLEX', prefix .. 'names', ARGV[2], ARGV[3], 'LIMIT', 0, limit + 1)
local rows = { #names > limit and names[limit] or '' }
for i = 1, math.min(#names, limit) do
  local fields = redis.pcall('HMGET', prefix .. 'c:' .. names[i], 'v', 'e')
  if fields.err then return redis.error_reply(fields.err .. ': counter ' .. names[i]) end
  local value, ends = unpack(fields)
  if value and not (ends and (tonumber(ends) or now + 1) <= now) then
    rows[#rows + 1] = names[i]
    rows[#rows + 1] = value
  end
end
return rows
