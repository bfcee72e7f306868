-- Admits a request, or says which limit refuses it; a refused one takes nothing.
-- KEYS: 1 what the key has used, 2 the leases of its running requests.
-- ARGV: 1 requests and 2 tokens per minute, 3 requests at once, 4 tokens per day and 5 per month (0 is no limit), 6 tokens, 7 the lease's
-- name, 8 how long it lasts in µs, 9 the time in µs where it is not Redis' own, 10 "ask" to be told when a budget is unknown, "always" to be
-- told in any case, "" to go on without; 11 and 13 the day and month that 12 and 14 are the ledger's figures of ("" for none).
-- Returns what refuses (0 nothing, -1 the ledger must be asked first), the wait in µs (with -1 what is unknown: 1 the day, 2 the month, 3 both),
-- the used requests and tokens, the day and the month.
local now = tonumber(ARGV[9])
if not now then
	local t = redis.call('TIME')
	now = t[1] * 1e6 + t[2]
end
local rpm, tpm, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local per_day, per_month, tokens, lease = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[8])
local minute, day_long = 6e7, 864e8

-- The day since 1970 on which a day's month began (Howard Hinnant, "chrono-compatible low-level date algorithms", civil_from_days).
local function month_of(day)
	local z = day + 719468
	local doe = z % 146097
	local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
	local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
	local mp = math.floor((5 * doy + 2) / 153)
	return day - (doy - math.floor((153 * mp + 2) / 5))
end
local day = math.floor(now / day_long)
local month = month_of(day)
local next_month = month_of(month + 31)

local f = redis.call('HMGET', KEYS[1], 'at', 'requests', 'tokens', 'day', 'day_tokens', 'day_known', 'month', 'month_tokens', 'month_known')
local passed = math.max(0, now - (tonumber(f[1]) or now)) / minute -- a clock that was set back lets no time pass
local function leaked(used, limit)
	if limit <= 0 then
		return 0
	end
	return math.max(0, (tonumber(used) or 0) - passed * limit)
end
local requests, used = leaked(f[2], rpm), leaked(f[3], tpm)

local function budget(from, was, counted, known, seeded, seed)
	counted, known = tonumber(counted) or 0, known == '1'
	if tonumber(was) ~= from then
		counted, known = 0, false
	end
	if tonumber(seeded) == from and tonumber(seed) then
		counted, known = math.max(counted, tonumber(seed)), true
	end
	return counted, known
end
local day_tokens, day_known = budget(day, f[4], f[5], f[6], ARGV[11], ARGV[12])
local month_tokens, month_known = budget(month, f[7], f[8], f[9], ARGV[13], ARGV[14])
local unknown, always = 0, ARGV[10] == 'always'
if per_day > 0 and (always or not day_known) then
	unknown = 1
end
if per_month > 0 and (always or not month_known) then
	unknown = unknown + 2
end
if unknown > 0 and ARGV[10] ~= '' then
	return {-1, unknown, '0', '0', day, month}
end

-- The limits in the order of their numbers; the one that makes the request wait longest is told.
local what, wait = 0, 0
local function refuse(n, w)
	if w > wait then
		what, wait = n, w
	end
end
local function full(n, limit, count)
	if limit <= 0 then
		return
	end
	local over = count + math.min(math.max(n, 1), limit) - limit
	if over > 1e-6 then
		return over / limit * minute
	end
end
if most > 0 then
	redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
	redis.call('ZREMRANGEBYSCORE', KEYS[2], now + 2 * lease, '+inf') -- of a clock that was set back
	if redis.call('ZCARD', KEYS[2]) >= most then
		refuse(1, 1e6)
	end
end
refuse(2, full(1, rpm, requests) or 0)
refuse(3, full(tokens, tpm, used) or 0)
if per_day > 0 and day_tokens + math.max(tokens, 1) > per_day then
	refuse(4, (day + 1) * day_long - now)
end
if per_month > 0 and month_tokens + math.max(tokens, 1) > per_month then
	refuse(5, next_month * day_long - now)
end

if what == 0 then
	if rpm > 0 then
		requests = requests + 1
	end
	if tpm > 0 then
		used = used + tokens
	end
	day_tokens, month_tokens = day_tokens + tokens, month_tokens + tokens
	if most > 0 then
		redis.call('ZADD', KEYS[2], now + lease, ARGV[7])
		redis.call('PEXPIRE', KEYS[2], math.ceil(lease / 1e3) + 1000)
	end
end
redis.call('HSET', KEYS[1], 'at', now, 'requests', requests, 'tokens', used, 'day', day, 'day_tokens', day_tokens, 'day_known', day_known and 1 or 0,
	'month', month, 'month_tokens', month_tokens, 'month_known', month_known and 1 or 0)

-- All of it may go when the buckets are empty and the budgets over.
local keep = minute
if rpm > 0 then
	keep = math.max(keep, requests / rpm * minute)
end
if tpm > 0 then
	keep = math.max(keep, used / tpm * minute)
end
if per_day > 0 then
	keep = math.max(keep, (day + 1) * day_long - now)
end
if per_month > 0 then
	keep = math.max(keep, next_month * day_long - now)
end
redis.call('PEXPIRE', KEYS[1], math.ceil(keep / 1e3) + 60000)
return {what, math.ceil(wait), string.format('%.17g', requests), string.format('%.17g', used), day, month}
