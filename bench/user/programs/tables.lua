-- SPDX-License-Identifier: GPL-2.0-only
-- Tables, closures and strings under the garbage collector.
local function tree(depth)
	if depth == 0 then
		return {}
	end
	return { left = tree(depth - 1), right = tree(depth - 1), name = "node" .. depth }
end

local function count(t)
	return 1 + (t.left and count(t.left) + count(t.right) or 0)
end

for _ = 1, 12 do
	assert(count(tree(14)) == 32767)
end

local words, seed = {}, 7
for i = 1, 300000 do
	seed = (seed * 1103515245 + 12345) % 2147483648
	words[seed % 20000] = ("w%d"):format(i):rep(seed % 7 + 1)
end
local parts = {}
for k, v in pairs(words) do
	parts[#parts + 1] = k .. "=" .. v
end
table.sort(parts)
local text = table.concat(parts, ";")
local n = 0
for _ = 1, 5 do
	for k in text:gmatch("(%d+)=") do
		n = n + #k
	end
end
assert(n > 0)
