-- Renews the leases of a key's requests that run, also where Redis has lost them.
-- KEYS: 1 the leases. ARGV: 1 how long they last in µs, 2 the time in µs where it is not Redis' own, then their names.
local now = tonumber(ARGV[2])
if not now then
	local t = redis.call('TIME')
	now = t[1] * 1e6 + t[2]
end
local lease = tonumber(ARGV[1])
for i = 3, #ARGV do
	redis.call('ZADD', KEYS[1], now + lease, ARGV[i])
end
redis.call('PEXPIRE', KEYS[1], math.ceil(lease / 1e3) + 1000)
return #ARGV - 2
