"""Random JSON schemas from a seed, of the keywords that the server supports, with bounds that keep answers short."""

import random
import re

NAMES = (
    "name title city country email price count rating tags notes author year unit color size weight status owner items "
    "address street width height active verified id code language genre summary phone start end level score kind parent"
).split()
WORDS = ("red", "green", "blue", "small", "large", "naïve", 'a "quote"', "new\nline", "日本", "", "yes", "no")
PATTERNS = (r"^[a-z]{3,8}$", r"^[A-Z][a-z]{1,9}$", r"^\d{3}-\d{4}$", r"^(yes|no|maybe)$", r"^#[0-9a-f]{6}$", r"^v\d{1,2}\.\d{1,2}$")
# The grammar knows how a date is written, not how long February is: a format is checked by its shape.
_DATE, _TIME = r"\d{4}-(0[1-9]|1[0-2])-([0-2]\d|3[01])", r"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)"
FORMATS = {
    "date": re.compile(_DATE),
    "time": re.compile(_TIME),
    "date-time": re.compile(f"{_DATE}T{_TIME}"),
    "uuid": re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"),
}


class Generator:
    """One schema. None is recursive, and strings and arrays have bounds: else nothing but the model bounds an answer."""

    def __init__(self, seed: int):
        self.random = random.Random(seed)
        self.definitions = {}

    def schema(self) -> dict:
        root = self.object(2) if self.random.random() < 0.8 else self.value(2)
        return {**root, "$defs": self.definitions} if self.definitions else root

    def value(self, depth: int) -> dict:
        kinds = ["string"] * 4 + ["integer"] * 3 + ["number", "boolean", "null", "enum", "const", "types"]
        if depth > 0:
            kinds += ["object"] * 4 + ["array"] * 3 + ["tuple", "any_of", "one_of", "all_of", "ref"]
        schema = getattr(self, self.random.choice(kinds))(depth)
        if self.random.random() < 0.1:
            schema = {**schema, "description": "Something that matters.", "title": "Thing"}  # says nothing about validity
        return schema

    def string(self, _) -> dict:
        form = self.random.random()
        if form < 0.15:
            return {"type": "string", "pattern": self.random.choice(PATTERNS)}
        if form < 0.3:
            return {"type": "string", "format": self.random.choice(list(FORMATS))}
        longest = self.random.randint(1, 24)
        shortest = {"minLength": self.random.randint(0, longest)} if form < 0.6 else {}
        return {"type": "string", **shortest, "maxLength": longest}

    def integer(self, _) -> dict:
        least = self.random.choice((-1000, -5, 0, 1, 10, 1990))
        bounds = (
            {}, {"minimum": least}, {"maximum": least}, {"minimum": least, "maximum": least + self.random.randint(0, 500)},
            {"exclusiveMinimum": least}, {"exclusiveMinimum": least, "exclusiveMaximum": least + self.random.randint(2, 50)},
        )
        return {"type": "integer", **self.random.choice(bounds)}

    def number(self, _) -> dict:
        return {"type": "number"}

    def boolean(self, _) -> dict:
        return {"type": "boolean"}

    def null(self, _) -> dict:
        return {"type": "null"}

    def enum(self, _) -> dict:
        return {"enum": self.random.sample([*WORDS, 1, 2.5, True, None, {"a": [1]}], self.random.randint(1, 5))}

    def const(self, _) -> dict:
        return {"const": self.random.choice([*WORDS, 7, False, [1, "two"]])}

    def types(self, _) -> dict:
        return {"type": self.random.sample(["boolean", "null", "integer", "number"], 2)}

    def object(self, depth: int) -> dict:
        names = self.random.sample(NAMES, self.random.randint(1, 4))
        required = [n for n in names if self.random.random() < 0.6]
        others = self.random.random()
        closed = {} if others < 0.05 else {"additionalProperties": self.integer(0) if others < 0.1 else False}
        return {
            "type": "object", "properties": {n: self.value(depth - 1) for n in names},
            **({"required": required} if required else {}), **closed,
        }

    def array(self, depth: int) -> dict:
        most = self.random.randint(1, 4)
        least = {"minItems": self.random.randint(0, most)} if self.random.random() < 0.5 else {}
        return {"type": "array", "items": self.value(depth - 1), **least, "maxItems": most}

    def tuple(self, depth: int) -> dict:
        prefix = [self.value(depth - 1) for _ in range(self.random.randint(1, 3))]
        return {"type": "array", "prefixItems": prefix, "items": False, "minItems": len(prefix)}

    def any_of(self, depth: int) -> dict:
        return {"anyOf": [self.value(depth - 1) for _ in range(self.random.randint(2, 3))]}

    def one_of(self, depth: int) -> dict:
        return {"oneOf": [self.string(0), self.integer(0), {"type": "null"}]}  # exclusive: of different types

    def all_of(self, depth: int) -> dict:
        identified = {"type": "object", "required": ["key"], "properties": {"key": self.integer(0)}}
        return {"allOf": [self.object(depth - 1) | {"additionalProperties": True}, identified]}

    def ref(self, depth: int) -> dict:
        name = f"part{len(self.definitions)}"
        self.definitions[name] = {}
        self.definitions[name] = self.object(depth - 1)
        return {"$ref": f"#/$defs/{name}"}
