-- Ends a request: its lease goes, and what it was charged becomes what it took.
-- KEYS: 1 what the key has used, 2 the leases of its running requests.
-- ARGV: 1 the lease's name, 2 the tokens charged and 3 taken, 4 the day and 5 the month that they were charged to, 6 requests and 7 tokens per
-- minute, 8 the time in µs where it is not Redis' own.
redis.call('ZREM', KEYS[2], ARGV[1])
local more = tonumber(ARGV[3]) - tonumber(ARGV[2])
if more == 0 then
	return 0
end
local now = tonumber(ARGV[8])
if not now then
	local t = redis.call('TIME')
	now = t[1] * 1e6 + t[2]
end
local f = redis.call('HMGET', KEYS[1], 'at', 'tokens', 'day', 'day_tokens', 'month', 'month_tokens', 'requests')
if not f[1] then
	return 0 -- lost, or so old that it does not matter; the ledger knows what was spent
end
local rpm, tpm = tonumber(ARGV[6]), tonumber(ARGV[7])
local passed = math.max(0, now - tonumber(f[1])) / 6e7
local requests, used = 0, 0
if rpm > 0 then
	requests = math.max(0, tonumber(f[7]) - passed * rpm)
end
if tpm > 0 then
	used = math.max(0, math.max(0, tonumber(f[2]) - passed * tpm) + more)
	local keep = math.ceil(used / tpm * 6e4) + 60000
	if redis.call('PTTL', KEYS[1]) < keep then
		redis.call('PEXPIRE', KEYS[1], keep)
	end
end
redis.call('HSET', KEYS[1], 'at', now, 'requests', requests, 'tokens', used)
if f[3] == ARGV[4] then
	redis.call('HSET', KEYS[1], 'day_tokens', math.max(0, tonumber(f[4]) + more))
end
if f[5] == ARGV[5] then
	redis.call('HSET', KEYS[1], 'month_tokens', math.max(0, tonumber(f[6]) + more))
end
return 1
