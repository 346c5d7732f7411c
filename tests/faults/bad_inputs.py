"""Inputs that no client should send, made from the schema that a daemon publishes: a verb that is new has them too.

    rpc.discover ─▶ BadInputs ─▶ swept(): every field of every verb × every bad value
                                 drawn(n): a plausible call of which up to three places are spoilt, by seed and number

An input is a line of the protocol. `line(n)` depends on seed, number and schema alone, so that a failing input replays.
"""

import copy
import itertools
import random

import msgspec

VERBS_LEFT_ALONE = {"shutdown"}
"""A verb that takes no params, and whose call would end the run: it gets spoilt params alone."""
SESSIONS = 8
TEXT = "the tide tables of the harbour\n"


def raw(text):
    return msgspec.Raw(text if isinstance(text, bytes) else text.encode())


def nested(depth, opening="[", closing="]"):
    return raw(opening * depth + closing * depth)


class BadInputs:
    """All inputs of one run. `places` are paths in the file system, good and bad; `records` are lines of an export."""

    def __init__(self, verbs, places, records, seed):
        self.seed = seed
        self._verbs = verbs
        self._methods = sorted(verbs)
        self._scope_params = places
        self._records = records
        # As text: a value of Python's that is spoilt in one input would be another in the next.
        self._bad = [msgspec.Raw(msgspec.json.encode(value)) for value in (*self._bad_values(), *places.values())]

    @staticmethod
    def _bad_values():
        long = "a" * 2**20
        return [
            *(None, True, False, 0, -1, 1, 0.5, -0.0, 1e-320, 1e308, 2**31, -(2**31) - 1, 2**53 + 1, 2**62),
            *(raw(str(2**63 - 1)), raw(str(2**63)), raw(str(-(2**63) - 1)), raw(str(2**64)), raw("9" * 5000)),
            *(raw("1e999"), raw("-1e999"), raw("NaN"), raw("Infinity"), raw("1.0"), raw("1e2"), raw("01")),
            *("", " ", "\0", "a\0b", "\n", "\x1b[31m", "\u00e9", "e\u0301", "💾", "\u202e", "0", "-1", "null", "true"),
            *(raw(rb'"\ud800"'), raw(rb'"\udc00\ud800"'), raw(b'"\xff\xfe"'), raw(rb'"\u0000"'), raw(rb'"\x"')),
            *(long, "\0" * 2**12, "\u00e9" * 513, "[" * 3000, "*" * 600, "%s%n{}{0}", "'; DROP TABLE segment; --"),
            *('"', '"a', "-", "--x", "a*", "NEAR(", "AND OR NOT", "(", "^", ":", "::", "a:", ":a", "client:", "🙂:b"),
            *([], [[]], [None], [0], [""], {}, {"": ""}, {"a": None}, {"a": {"b": []}}, [{}], [[{}]], ["a"] * 2000),
            *(nested(50), nested(900), nested(20_000), nested(500, '{"a":', "}"), raw('{"a":1,"a":2}'), raw("{")),
            *("client:nobody", "123456789-0", "999999999-99999999999999999999", "100000000-0", "0-0", "x" * 512),
            *("../../etc/passwd", "relative", "~", "file:///etc/passwd", "/" + "a" * 300, "/" + long),
            *("resident", "user", "billed", "commit", "anthropic_messages", "1970-01-01", "2026-13-45T99:99:99Z"),
        ]

    # Plausible values

    def _ensure_session(self, chance):
        return chance.choice([f"client:prey{n}" for n in range(SESSIONS)] + ["prey0", "prey"])

    def _known(self, name, chance):
        """A value by the field's name; None for a name that says nothing."""
        ids = [f"s{n}" for n in range(12)]
        match name:
            case "session":
                return self._ensure_session(chance)
            case "id" | "ids" | "refs" | "fixed" | "held" | "edited" | "start" | "parent_segment":
                return chance.choice([*ids, "nobody", f"new{chance.randrange(10**6)}"])
            case "path" | "paths" | "cwd" | "project" | "open_paths":
                place = chance.choice(list(self._scope_params.values()))
                return f"{place}{chance.randrange(10**9)}" if place.endswith("/new") else place
            case "query":
                return chance.choice(("tide", "harbour tables", '"tide tables"', "-tide", "x*"))
            case "op_id":
                return f"op{chance.randrange(50)}"
            case "calls":
                method = chance.choice(("segment.add", "segment.pin", "segment.tag", "session.set", "segment.add_many"))
                return {"method": method, "params": self._params(method, chance, nested=True)}
            case "messages":
                use = {"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "ls"}}
                done = {"type": "tool_result", "tool_use_id": "t1", "content": TEXT * 50}
                return chance.choice(
                    (
                        {"role": "user", "content": TEXT},
                        {"role": "assistant", "content": [use]},
                        {"role": "user", "content": [done]},
                        {"type": "function_call_output", "call_id": "t1", "output": TEXT},
                    )
                )
            case "new":
                return copy.deepcopy(chance.choice(self._records)) | {"id": chance.choice(ids), "fixed": ["out"]}
        return None

    def _plausible(self, schema, defs, name, chance):
        schema = self._resolved(schema, defs)
        if "anyOf" in schema:
            return self._plausible(chance.choice(schema["anyOf"]), defs, name, chance)
        if "enum" in schema:
            return chance.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        match schema.get("type"):
            case "array":
                least = schema.get("minItems", 0)
                count = max(least, chance.randrange(4))
                return [self._plausible(schema.get("items", {}), defs, name, chance) for _ in range(count)]
            case "object" if "properties" in schema:
                return self._object(schema, defs, chance)
            case "object":
                value = self._known(name, chance)
                return value if isinstance(value, dict) else {"command": "ls", "n": 1}
            case "integer":
                low, high = schema.get("minimum", -(2**70)), schema.get("maximum", 2**70)
                return raw(str(chance.choice((low, high, max(low, min(high, chance.randrange(100)))))))
            case "number":
                return chance.choice((0.0, 1.0, 0.5, 1e9, -1.0))
            case "boolean":
                return chance.random() < 0.5
            case "null":
                return None
        value = self._known(name, chance)
        if isinstance(value, str):
            return value
        return "client" if name == "source" else chance.choice(("", "text", TEXT * chance.randrange(40)))

    @staticmethod
    def _resolved(schema, defs):
        return defs[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema

    def _object(self, schema, defs, chance):
        required = schema.get("required", ())
        return {
            name: self._plausible(sub, defs, name, chance)
            for name, sub in schema["properties"].items()
            if name in required or name == "session" or chance.random() < 0.3
        }

    def _params(self, method, chance, nested=False):
        schema = self._verbs[method]["params"]
        params = self._object(schema, schema.get("$defs", {}), chance) if "properties" in schema else {}
        if nested:
            for outer in ("session", "cwd", "op_id", "durability"):
                params.pop(outer, None)
        return params

    # Spoiling

    def _spoil(self, params, chance):
        """Spoil one place of the params, at any depth."""
        holders = [params]
        for holder in holders:
            inner = holder.values() if isinstance(holder, dict) else holder
            holders += [value for value in inner if isinstance(value, dict | list) and value]
        holder = chance.choice(holders)
        bad = chance.choice(self._bad)
        if isinstance(holder, dict):
            action = chance.random()
            if holder and action < 0.85:
                name = chance.choice(sorted(holder))
                if action < 0.75:
                    holder[name] = [bad] if isinstance(holder[name], list) and chance.random() < 0.5 else bad
                else:
                    del holder[name]
            else:
                holder[chance.choice(("unknown", "", "m\u00e9thode", "session", "id", "__class__"))] = bad
        else:
            holder[chance.randrange(len(holder))] = bad

    def swept(self):
        """Every field of every verb with every bad value: (method, params)."""
        for method in self._methods:
            fields = self._verbs[method]["params"].get("properties", {})
            if method in VERBS_LEFT_ALONE:
                fields = {"unknown": {}}
            for (number, name), bad in itertools.product(enumerate([*fields, "unknown"]), self._bad):
                chance = random.Random(f"{self.seed}:{method}:{number}")
                yield method, self._params(method, chance) | {name: bad}

    def drawn(self, number):
        """Input `number` of the seed: (method, params)."""
        chance = random.Random(f"{self.seed}:{number}")
        method = chance.choice(self._methods)
        params = self._params(method, chance)
        for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
            self._spoil(params, chance)
        if method in VERBS_LEFT_ALONE:
            params = {"unknown": chance.choice(self._bad)}
        return method, params


def line_of(id_, method, params):
    """The line of a request."""
    return msgspec.json.encode({"id": id_, "method": method, "params": params}) + b"\n"
