# SPDX-License-Identifier: GPL-2.0-only
# Objects, strings, dictionaries and JSON; every object is a malloc() with
# PYTHONMALLOC=malloc.
import json
import random

random.seed(1)


class Node:
    def __init__(self, depth):
        self.name = "n%d" % depth
        self.children = [Node(depth - 1) for _ in range(3)] if depth else []

    def total(self):
        return len(self.name) + sum(child.total() for child in self.children)


for _ in range(4):
    assert Node(8).total() > 0

table = {}
for i in range(150000):
    table[random.randrange(30000)] = "v" * (i % 60)
words = [str(i) * (i % 9 + 1) for i in range(60000)]
random.shuffle(words)
assert len(set(words)) == len(set(sorted(words)))
text = json.dumps({"t": {str(k): v for k, v in table.items()}, "w": words})
for _ in range(3):
    assert len(json.loads(text)["w"]) == len(words)
