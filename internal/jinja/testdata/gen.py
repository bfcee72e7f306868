"""Writes dialect.json: what Python's jinja2, set up as Hugging Face's apply_chat_template does, makes of many small templates.

Run with an interpreter that has jinja2 3.1: python gen.py > dialect.json
"""

import json
import sys
from datetime import datetime

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment


class Generation(jinja2.ext.Extension):
    tags = {"generation"}

    def parse(self, parser):
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_run"), [], [], body).set_lineno(lineno)

    def _run(self, caller):
        return caller()


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def strftime_now(format):
    return datetime(2026, 1, 2, 3, 4, 5).strftime(format)


env = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = strftime_now

CONTEXT = {
    "s": "Hello, World",
    "u": "Été 你好 ß ŉ Ünï",
    "pad": "  \t padded text \n ",
    "lines": "one\ntwo\n\n  three\r\nfour",
    "html": "<a href=\"x\">it's & that</a>",
    "empty": "",
    "n": 7,
    "neg": -3,
    "f": 2.5,
    "big": 12345678901234567890123,
    "zero": 0,
    "yes": True,
    "no": False,
    "nothing": None,
    "l": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "nested": [[1, 2], [3, [4, 5]], []],
    "d": {"b": 1, "a": 2, "C": [1, {"x": None}], "items": "shadow"},
    "users": [
        {"name": "Zoe", "age": 30, "city": "Rome", "tags": ["x", "y"], "active": True},
        {"name": "adam", "age": 25, "city": "Oslo", "tags": [], "active": False},
        {"name": "Bob", "age": 30, "city": "Rome", "tags": ["z"], "active": True, "extra": {"k": 1}},
    ],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi <b>there</b>"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1, "é": [1.0, 1e20, True, None]}}}]},
        {"role": "tool", "content": "{\"t\": 21}"},
    ],
    "floats": [1.0, 0.1, 1e16, 1e-5, 123456789.123, 1e22, -0.0, 100.0],
    "quotes": ["it's", 'say "x"', "both ' and \"", "back\\slash", "tab\tnl\n", "\x01\x7f\u200b\u00a0é"],
}

EXPRESSIONS = r"""
s|upper
s|lower
u|upper
u|lower
u|title
u|capitalize
s|title
"hello-world foo(bar) [baz] x"|title
"HELLO wORLD"|capitalize
pad|trim
pad|trim|length
"xxhixx"|trim("x")
"xyhiyx"|trim(chars="yx")
s|replace("l", "L")
s|replace("l", "L", 2)
s|replace("", "-")
s|replace("", "-", 3)
5|replace(5, 6)
s|length
u|length
l|length
d|length
s|count
n|length
nothing|length
missing|length
s|first
s|last
l|first
l|last
[]|first
[]|last
d|first
d|last
(1, 2)|last
l|sort
l|sort(reverse=true)
words|sort
words|sort(case_sensitive=true)
words|sort(true)
users|sort(attribute="age")|map(attribute="name")|list
users|sort(attribute="age,name")|map(attribute="name")|list
users|sort(attribute="city,age", reverse=true)|map(attribute="name")|list
[1, "a"]|sort
l|reverse|list
s|reverse
d|reverse|list
5|reverse
l|sum
[]|sum
[1.5, 2]|sum
users|sum(attribute="age")
users|sum("age", 10)
words|sum
[[1],[2]]|sum(start=[])
l|min
l|max
[]|min
words|min
words|max
words|min(case_sensitive=true)
users|max(attribute="age")
(users|min(attribute="age")).name
[1, "a"]|max
words|unique|list
words|unique(case_sensitive=true)|list
users|unique(attribute="city")|map(attribute="name")|list
[1, 1.0, true, "1"]|unique|list
[[1]]|unique|list
l|join
l|join(", ")
words|join("|")
users|join(", ", attribute="name")
nothing|join
missing|join
5|join
[1, none, true, 2.0, [1]]|join("-")
l|join(1)
users|map(attribute="name")|join(",")
users|map(attribute="extra.k", default="-")|join(",")
users|map(attribute="extra.k")|join(",")
users|map(attribute="tags.0")|list
words|map("upper")|join(" ")
words|map("replace", "p", "q")|list
words|map("nosuch")|list
words|map|list
l|map("string")|list
l|map(attribute="x", bad=1)|list
users|selectattr("active")|map(attribute="name")|list
users|rejectattr("active")|map(attribute="name")|list
users|selectattr("age", "equalto", 30)|map(attribute="name")|list
users|selectattr("age", "gt", 26)|list|length
users|selectattr("extra", "defined")|map(attribute="name")|list
users|rejectattr("extra", "undefined")|map(attribute="name")|list
users|selectattr("name", "in", ["Bob"])|list|length
users|selectattr("missing.deep")|list
l|select("odd")|list
l|reject("odd")|list
l|select|list
[0, 1, "", "a", none]|select|list
l|select("divisibleby", 3)|list
l|select("nosuch")|list
l|select("odd")
l|select("odd")|length
l|select("odd")|tojson
(l|select("odd"))[0]
(l|select("odd"))|first
5|select|list
nothing|select|list
nothing|map("upper")|list
nothing|list
missing|list
missing|map("upper")|list
s|list
d|list
d.items()|list
d|items|list
nothing|items|list
missing|items|list
l|items|list
d|dictsort
d|dictsort(true)
d|dictsort(false, "value")
{"b": 2, "a": 3, "c": 1}|dictsort(by="value")
{"b": 2, "a": 3, "c": 1}|dictsort(reverse=true)
{"b": 2}|dictsort(by="x")
{1: 2, "a": 3}|dictsort
nothing|dictsort
users|groupby("city")|map(attribute="grouper")|list
users|groupby("age")|map(attribute="list")|map("length")|list
(users|groupby("city"))[0].list|map(attribute="name")|join(",")
words|groupby(0)
users|groupby("extra.k", default=0)|map("first")|list
[1,2,3,4,5]|batch(2)|list
[1,2,3,4,5]|batch(2, 0)|list
[1,2,3,4,5]|slice(2)|list
[1,2,3,4,5]|slice(3, "x")|list
[1,2]|slice(0)|list
missing|default("x")
missing|default
empty|default("x")
empty|default("x", true)
none|default("x")
none|default("x", boolean=true)
false|d(1)
d.zzz|default("none")
nothing.x|default("y")
missing.x|default("y")
"42"|int
"4.7"|int
"x"|int
"x"|int(9)
"0x1A"|int(0, 16)
"ff"|int(base=16)
"1_000"|int
" 12 "|int
2.9|int
-2.9|int
true|int
none|int
nothing|int(5)
missing|int
"1e3"|int
"12345678901234567890"|int
big|int
"2.5"|float
"x"|float
"x"|float(1.5)
"1e400"|float
3|float
none|float
"inf"|float
2.5|round
3.5|round
2.567|round(2)
2.5|round(method="ceil")
2.1|round(0, "floor")
2.456|round(1, "ceil")
1234|round(-2)
1250|round(-2)
7|round
7|round(1, "floor")
2.675|round(2)
"x"|round
2.5|round(0, "x")
2.5|round|int
-5|abs
-2.5|abs
"x"|abs
lines|indent
lines|indent(2)
lines|indent(2, true)
lines|indent(2, first=true, blank=true)
lines|indent("> ")
lines|indent(width=0)
5|indent
empty|indent(2, true)
s|truncate(5)
s|truncate(5, leeway=0)
s|truncate(9, true, leeway=0)
s|truncate(9, false, "…", 0)
"foo bar baz qux"|truncate(9, leeway=0)
"foo bar baz qux"|truncate(2)
s|wordcount
u|wordcount
"a_b c-d 12"|wordcount
"The quick brown fox jumped over the lazy dog"|wordwrap(10)
"aaaaaaaaaaaaaaa bb"|wordwrap(5)
"aaaaaaaaaaaaaaa bb"|wordwrap(5, false)
"a b c d"|wordwrap(3, wrapstring="|")
s|center(20)
s|center(21)
"x"|center(4) ~ "|"
"%s-%d"|format("a", 5)
"%(a)s"|format(a=1)
"%s"|format("a", a=1)
"%s"|format
"%5.2f|%-5s|%05d|%+d|%x|%X|%o|%e|%g"|format(3.14159, "ab", 42, 5, 255, 255, 8, 12345.678, 0.00001)
"%r %s"|format("a'b", none)
"100%%"|format
"%c%c"|format(65, "z")
"%s %s" % ("a", "b")
"%s" % "x"
"%d" % 3.7
"%s and %s" % "x"
"no" % "x"
"%(k)s" % {"k": 5}
"%z" % 5
"%5s|%.2s" % ("abc", "abc")
"%i" % "a"
"%*d" % (5, 3)
html|escape
html|e
html|e|e
html|safe
html|safe|e
html|forceescape
html|e|upper
html|striptags
("<a>"|safe) + "<b>"
"<b>" + ("<a>"|safe)
("<a>"|safe) ~ "<b>"
("<a>"|safe) * 2
["<a>"|safe, "<b>"]|join
["<a>"|safe, "<b>"]|join("<"|safe)
("<a>%s"|safe) % "<b>"
("<a>{}"|safe).format("<b>")
("<a>x"|safe).replace("x", "<b>")
[("<a>"|safe)]
("<a> b"|safe).split()
("a"|safe) is escaped
"a" is escaped
("<a>"|safe)|tojson
("<a>"|safe).join(["<b>"])
s|urlencode
"a b/c?d=é&~"|urlencode
{"a": 1, "b c": "é/"}|urlencode
[("a", 1)]|urlencode
{"class": "x", "id": none, "t": "<"}|xmlattr
{"a b": 1}|xmlattr
1|filesizeformat
1500|filesizeformat
1500000|filesizeformat(true)
d|attr("keys")|string is string
d|attr("b")
l|tojson
d|tojson
d|tojson(indent=2)
d|tojson(indent=4, sort_keys=true)
d|tojson(sort_keys=true)
d|tojson(separators=(",", ":"))
d|tojson(indent=2, separators=(",", ": "))
d|tojson(indent="\t")
d|tojson(indent=0)
[]|tojson(indent=2)
{}|tojson(indent=2)
[[], {}]|tojson(indent=2)
u|tojson
u|tojson(ensure_ascii=true)
u|tojson(true)
"\U0001F600"|tojson(ensure_ascii=true)
quotes|tojson
quotes
floats
floats|tojson
floats|map("string")|join(" ")
big|tojson
big
html|tojson
(1, 2)|tojson
{1: 2, none: 3, true: 4, 1.5: 5}|tojson
{(1, 2): 3}|tojson
missing|tojson
d.items|tojson
d.items()|tojson
range(3)|tojson
users|tojson(indent=1)
messages|tojson
nothing|tojson
namespace(a=1)|tojson
s|string
5|string
none|string
missing|string
d|string
l|pprint
missing
missing.x
missing["x"]
missing()
d.zzz
d["zzz"]
d.zzz.y
d["zzz"]["y"]
d.b
d["b"]
d.items
d["items"]
d.get("b")
d.get("zzz")
d.get("zzz", 5)
d.get(key="b")
d.get()
d.get([])
d[[]]
d.keys()
d.values()
d.items()
d.keys()|list
d.items()|first
d.keys()[0]
d.items()|length
d.copy()
d.update({"x": 1})
d.pop("b")
d.setdefault("b", 1)
d.clear()
d.popitem()
l.append(4)
l.pop()
l.extend([1])
l.insert(0, 1)
l.remove(1)
l.sort()
l.reverse()
l.clear()
l.index(1)
l.index(9)
l.count(1)
l.copy()
(1, 2, 1).count(1)
(1, 2).index(2)
l[0]
l[-1]
l[9]
l[9].x
l["x"]
l.0
l.5
l[1:]
l[:-1]
l[::-1]
l[::2]
l[-2:]
l[5:]
l[2:0:-1]
l[::0]
l["a":]
s[0]
s[-1]
s[99]
s[1:4]
s[::-1]
s[::2]
s[-5:]
s[:-5:-1]
u[4:6]
u[::-1]
u[-1]
(1, 2, 3)[1:]
d[1:]
n[0]
n[1:]
nothing[0]
nothing.x
nothing.x.y
nothing["x"]
range(10)[2:5]
range(10)[-1]
range(5)
range(5)|list
range(2, 8, 3)|list
range(5, 0, -2)|list
range(0)|list
range(1, 10, 0)
range(1000000)
range("a")
range(1.5)
1 + 2
1 + 2.0
7 / 2
6 / 2
7 // 2
-7 // 2
7 % 3
-7 % 3
7 % -3
7.5 // 2
-7.5 % 2
2 ** 10
2 ** -1
2 ** 0.5
2 ** 3 ** 2
-2 ** 2
2 ** 100
(-8) ** 3
10 ** 20
0 ** 0
1 / 0
1 // 0
1 % 0
1.0 / 0
1 + "a"
"a" + 1
"a" + none
"a" + missing
missing + "a"
1 + missing
[1] + [2]
[1] + (2,)
(1,) + (2,)
[1] * 2
2 * [1]
"ab" * 3
3 * "ab"
"ab" * -1
"ab" * 1.5
"a" ~ 1 ~ none ~ true ~ 1.0 ~ missing
1 ~ 2
"a" ~ [1, "b"]
"a" - "b"
-"a"
-missing
+5
--5
not 1
not ""
not none
1 < 2 < 3
1 < 3 < 2
1 == 1.0
1 == true
"1" == 1
none == none
none == false
missing == missing
missing == none
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{"a": 1} == {"a": 1.0}
"a" < "b"
"a" < 1
none < 1
missing < 1
[1, 2] < [1, 3]
[1] < [1, 0]
(1, "a") < (1, "b")
1 != 2
1 >= 1
1 <= 0
1 in [1, 2]
3 not in l
"ell" in s
5 in s
missing in s
missing in l
"a" in missing
"a" in none
"a" in 5
"b" in d
[1] in d
1 in (1, 2)
"x" in d.keys()
2 in d.values()
3 in range(5)
not 1 in [1]
1 and 2
0 and 2
0 or 2
"" or none
none or []
1 or missing.x
false and missing.x
1 if true else 2
1 if false else 2
1 if false
(1 if false) is defined
("a" if false) ~ "b"
1 if missing else 3
"a" if 0 else "b" if 0 else "c"
true
True
none
None
[true, false, none]
[1, 2.0, "a", none, true, [1], (1,), {"k": "v"}]
()
(1,)
(1, 2)
{}
{"a": 1, "a": 2}
{1: "x", "1": "y"}
{1: "a", true: "b", 1.0: "c"}
{[]: 1}
1.0
1.5e3
1e16
1e15
123456789012345678
1e-4
1e-5
0.1 + 0.2
1_000
0x1f
0o17
0b101
1e400
-1e400
100.0 * 3
3.0 // 1
1e3
"a\nb"
"tab\tq\"q\\"
'\x41\u00e9\U0001F600\101'
'unknown \d \w'
"a" "b"
"it's"
s is string
n is number
n is integer
f is float
f is integer
true is integer
true is number
true is boolean
1 is boolean
none is none
nothing is none
missing is none
missing is defined
missing is undefined
d.zzz is defined
d.b is defined
nothing.x is defined
missing.x is defined
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
n is sequence
missing is sequence
l is iterable
n is iterable
none is iterable
missing is iterable
s is iterable
s.upper is callable
s is callable
n is odd
n is even
n is divisibleby 7
n is divisibleby(2)
n is eq 7
n is equalto 7
n is ne 7
n is gt 5
n is lessthan 5
n is ge(7)
n is in [7]
n is not in [7]
n is sameas n
none is sameas none
1 is sameas true
"abc" is lower
"ABC" is upper
"aBc" is lower
"123" is lower
"upper" is filter
"nosuch" is filter
"odd" is test
true is true
1 is true
false is false
0 is false
n is not odd
not n is odd
n is odd and n is gt 3
n is nosuch
n is string or n is number
missing is not defined
l is not string and l is iterable
users[0].name is defined and users[0].age == 30
s.upper()
s.lower()
s.title()
"they're bill's 3d"|title
"they're bill's 3d".title()
s.capitalize()
s.swapcase()
u.swapcase()
u.casefold()|length > 0
pad.strip()
pad.lstrip()
pad.rstrip()
pad.strip(" \n")
"xxabcxx".strip("x")
"xxabcxx".lstrip("xa")
"xxabcxx".rstrip("xc")
"abc".strip(none)
"abc".strip(1)
"a,b,,c".split(",")
"a,b,c".split(",", 1)
"a,b,c".split(",", maxsplit=1)
"a,b,c".split(sep=",")
"  a  b c ".split()
"  a  b c ".split(none, 1)
"  a  b c ".rsplit(none, 1)
"a,b,c".rsplit(",", 1)
"abc".split("")
"abc".split(1)
"".split()
"".split(",")
"a</think>b</think>c".split("</think>")[-1]
"a</think>b</think>c".split("</think>", 1)[1]
lines.splitlines()
lines.splitlines(true)
"a=b=c".partition("=")
"a=b=c".rpartition("=")
"abc".partition("=")
"abc".rpartition("=")
s.startswith("He")
s.startswith(("x", "He"))
s.startswith(["He"])
s.startswith("l", 2)
s.endswith("ld")
s.endswith(("x", "ld"))
s.endswith(missing)
s.startswith(none)
s.find("o")
s.find("o", 5)
s.find("zz")
s.rfind("o")
u.find("你")
s.index("zz")
s.index("W")
s.count("l")
s.count("l", 4)
s.count("")
s.replace("o", "0")
s.replace("o", "0", 1)
s.replace("zz", "0")
s.replace("", "-")
s.replace("o")
s.replace(1, 2)
s.removeprefix("Hello")
s.removesuffix("World")
s.removeprefix("x")
", ".join(words)
", ".join(l)
"-".join("abc")
"-".join(d)
"{} {}".format(1, "a")
"{0} {1} {0}".format(1, 2)
"{a} {b!r}".format(a=1, b="x")
"{:>5}|{:<5}|{:^5}|{:05d}|{:.2f}|{:,}|{:x}|{:%}".format("a", "b", "c", 42, 3.14159, 1234567, 255, 0.5)
"{0.name} {1[0]} {1[a]}".format(1, 2)
"{0[name]}".format(users[0])
"{{}} {}".format(1)
"{".format()
"{}".format()
"{x}".format()
"{:*^9}|{:+d}|{:e}|{:g}|{:10.3f}|{:s}".format("mid", 5, 12345.678, 0.0001, 2.5, "s")
"{!s:>4}|{:{}}".format(none, "x", 5)
"{:d}".format("x")
"{}".format(none)
"{:5}".format(none)
"{}".format([1, "a"])
"{}".format(missing)
"abc".center(9, "*")
"abc".ljust(5) ~ "|"
"abc".rjust(5, "0")
"42".zfill(5)
"-42".zfill(5)
"a\tb".expandtabs(4)
"123".isdigit()
"12a".isdigit()
"".isdigit()
"²".isdigit()
"²".isdecimal()
"½".isnumeric()
"abc".isalpha()
"ab1".isalnum()
"ab 1".isalnum()
" \n".isspace()
"Abc Def".istitle()
"ABC".isupper()
"abc1".islower()
"abc".isidentifier()
"é".isascii()
"a\n".isprintable()
s.nosuch()
s.nosuch
s.format_map({"a": 1})
"{a}".format_map({"a": 1})
n.bit_length()
f.is_integer()
n.real
s.__class__
s.__class__.__mro__
d.__class__
"".__class__ is defined
s["upper"]()
d["get"]("b")
dict(a=1, b=2)
dict([("a", 1)])
dict({"a": 1}, b=2)
dict(a=1).a
namespace(a=1).a
namespace(a=1).zzz
namespace({"a": 1}).a
namespace(1)
cycler("a", "b").next()
joiner(",")()
strftime_now("%d %b %Y")
strftime_now("%Y-%m-%d")
raise_exception("no!")
raise_exception()
s|nosuch
s if true else s|nosuch
1 if true else (2 is nosuch)
5()
s()
none()
lipsum is callable
loop
self is defined
varargs is defined
caller is defined
s|upper|lower|title
-5|abs
(-5)|abs
2 * 3|string
"a" + 1|string
"x" ~ l|join(",")
not true|string
1 == 1|int
[1,2]|map("string")|join
"a"|upper == "A"
{"a": [1, 2]}["a"][1]
{"a": {"b": 5}}.a.b
users[0]["tags"][0]
users[0].tags[-1]
users|length > 2 and users[2].extra.k == 1
users[-1].name
messages[0]["role"] == "system"
messages[1:][0].role
messages[-1].content|string
messages[2].content is none
messages[2].tool_calls[0].function.arguments|tojson
messages[2].tool_calls[0].function.arguments.items()|list
messages[2].content ~ ""
messages[2].content + ""
messages[2].content|trim
messages[2].content|length
(messages|selectattr("role", "equalto", "user")|list)[0].content
messages|map(attribute="role")|unique|list
(messages|selectattr("role", "eq", "user")|first).content
"tool_calls" in messages[2]
"tool_calls" in messages[0]
messages[0].tool_calls is defined
messages[2].get("tool_calls", [])|length
nested
nested|string
nested[1][1]|sum
quotes[0]
quotes|join("|")
[quotes[0]]
u|list
[u]
{"é": u}
"\u200b"
["\u200b\ue000\U0001F600\u0301"]
"a" * 0
"İ"|lower|length
"ǆ"|capitalize
"ΑΣ"|lower
"ﬁ"|upper
"a" == "a"|safe
1 is defined is defined
*l
"a" if
l|
x.
[1,
{"a"}
{"a": }
1 2
"unclosed
s|upper()
s|upper(1)
s|default(1, 2, 3)
s|trim(x=1)
users|selectattr()|list
users|map(attribute="name", default="x")|list
l|sort|first
l|sort|last
"abc"|list|sort(reverse=true)|join
"abc"|batch(2)|map("join")|list
[3,1]|sort == [1,3]
d|dictsort|map("first")|list
d|list|sort
"%s" % (1,)
"%s" % [1, 2]
"%s" % (l,)
"%s %%" % 1
"%(a)d %(b)s" % {"a": 1, "b": "x"}
"%(z)s" % {"a": 1}
"%.3s" % "abcdef"
"%-8s|" % "ab"
"%+.1e" % 12345.678
"%#x" % 255
"% d" % 5
"%g" % 1e10
"%g" % 123456
"%g" % 1234567
"%G" % 1e-10
"%s" % 1.0
"%d" % true
"%d" % big
"%f" % 1
"{:b} {:o} {:X} {:#x}".format(5, 8, 255, 255)
"{:>10}".format(1.5)
"{:.3}".format("abcdef")
"{:.3}".format(3.14159)
"{:5d}|{:<5d}|{:^5d}".format(1, 2, 3)
"{:,.2f}".format(1234567.891)
"{:_}".format(1234567)
"{:c}".format(65)
"{:=+5d}".format(5)
"{:g} {:g}".format(1, 1.5)
"{:.0f} {:.0f}".format(0.5, 1.5)
"{:}".format(true)
"{:d}".format(true)
"{:5}".format(true)
1.0|string ~ 2
1e100
1.5e-10
123456789.0
0.00001234
5e-324
1.7976931348623157e308
9007199254740993
2**63
2**64 - 1
-2**63
9223372036854775807 + 1
9223372036854775807 * 2
-9223372036854775808 - 1
7.0 % 2.5
5.5 // 0.5
1e308 * 10
1e200 ** 2
big // 7
big % 1000
big * big
big > 5
big == big
big / 3
"5" * 2
"5" + "2"
5|string + "2"
true + true
true ~ false
-true
1.0 == 1
0.1 + 0.2 == 0.3
none ~ none
[none, true]|join
"ab" < "abc"
"Z" < "a"
"é" > "z"
"""

TEMPLATES = [
    "{% if true %}\n  a\n{% endif %}\nb",
    "  {% if true %}  \n  a  \n  {% endif %}  \nb\n",
    "x {% if true %} y {% endif %} z",
    "{%- if true -%}  a  {%- endif -%}  b",
    "a \n {%- if true %} b {% endif -%} \n c",
    "  {%+ if true %}a{% endif %}",
    "  {%+ if true +%}\na{% endif +%}\nb",
    "a {{- 1 -}} b",
    "a {{ 1 -}} \n b",
    "a \n {{- 1 }} b",
    "{# c #}\na",
    "  {# c #}\n  a",
    "a {#- c -#} b",
    "a {#+ c +#}\n b",
    "  {{ 1 }}\n  {{ 2 }}\n",
    "{% raw %}{{ x }} {% if %}{% endraw %}",
    "a  {%- raw -%}  {{ x }}  {%- endraw -%}  b",
    "{% raw %}\n x \n{% endraw %}\ny",
    "  {% raw %} x {% endraw %}  \n y",
    "a\n\n",
    "a\n",
    "\n\na",
    "\r\na\r\nb\rc",
    "{{ '\r\n' }}x",
    "a{% set x = 1 %}\n\nb",
    "  \t{% set x = 1 %}\nb",
    "a\n    {% set x = 1 %}b",
    "{% set x = 1 %}  {% set y = 2 %}\n{{ x }}{{ y }}",
    "{% if false %}a{% elif true %}b{% else %}c{% endif %}",
    "{% if false %}a{% elif false %}b{% else %}c{% endif %}",
    "{% if missing %}a{% endif %}|",
    "{% if l %}a{% endif %}{% if [] %}b{% endif %}{% if nothing %}c{% endif %}{% if 0.0 %}d{% endif %}",
    "{% for x in l %}{{ x }}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }};{% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in [1, 1, 2, 2, 1] %}{{ loop.changed(x) }}{% endfor %}",
    "{% for x in [] %}a{% else %}b{% endfor %}",
    "{% for x in l %}a{% else %}b{% endfor %}",
    "{% for x in l if x > 1 %}{{ x }}{{ loop.last }}{{ loop.length }}{% endfor %}",
    "{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in missing %}a{% else %}b{% endfor %}",
    "{% for x in nothing %}a{% else %}b{% endfor %}",
    "{% for x in 5 %}a{% endfor %}",
    "{% for x in s %}{{ x }}.{% endfor %}",
    "{% for x in u %}{{ x }}.{% endfor %}",
    "{% for k in d %}{{ k }}{% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }};{{ loop.last }}{% endfor %}",
    "{% for k, v in d %}{{ k }}{% endfor %}",
    "{% for a, b in [(1, 2), (3, 4)] %}{{ a }}{{ b }}{% endfor %}",
    "{% for a, (b, c) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for a, b in [1] %}{{ a }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}",
    "{% break %}",
    "{% for x in l %}{% set y = x %}{% endfor %}{{ y is defined }}",
    "{% set y = 0 %}{% for x in l %}{{ y }}{% set y = x %}{{ y }}{% endfor %}{{ y }}",
    "{% set y = 0 %}{% for x in l %}{% if x %}{% set y = x %}{% endif %}{{ y }}{% endfor %}{{ y }}",
    "{% set ns = namespace(v=0) %}{% for x in l %}{% set ns.v = ns.v + x %}{% endfor %}{{ ns.v }}",
    "{% set ns = namespace() %}{% set ns.a = 1 %}{{ ns.a }}{{ ns.b }}",
    "{% set ns = namespace(l=[]) %}{% for x in l %}{% set ns.l = ns.l + [x * 2] %}{% endfor %}{{ ns.l }}",
    "{% set ns = namespace(found=false) %}{% for x in l if not ns.found %}{{ x }}{% set ns.found = true %}{% endfor %}",
    "{% set d.x = 1 %}",
    "{% set missing.x = 1 %}",
    "{% set a, b = 1, 2 %}{{ a }}{{ b }}",
    "{% set a, b = [1, 2, 3] %}",
    "{% set a = b = 1 %}",
    "{% set x = 1, 2 %}{{ x }}",
    "{% set x %}a{{ n }}b{% endset %}{{ x }}|{{ x|length }}",
    "{% set x | upper %}abc{% endset %}{{ x }}",
    "{% set x | replace('a', 'b') | upper %}abc{% endset %}{{ x }}",
    "{% set x %}{% set y = 5 %}{% endset %}{{ y is defined }}",
    "{% set x = 1 %}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set x = 1 %}{% with %}{% set x = 2 %}{{ x }}{% endwith %}{{ x }}",
    "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}",
    "{% set a = 5 %}{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% with a, b = (1, 2) %}{{ a }}{{ b }}{% endwith %}",
    "{% macro m(a, b=2) %}[{{ a }},{{ b }}]{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(b=5, a=4) }}{{ m() }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, b=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a=x) %}{{ a }}{% endmacro %}{% set x = 5 %}{{ m() }}",
    "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}",
    "{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x is defined }}",
    "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}",
    "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{{ m() }}{% macro m() %}x{% endmacro %}",
    "{% if true %}{% macro m() %}x{% endmacro %}{% endif %}{{ m() }}",
    "{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}",
    "{% macro m(x) %}<{{ caller() }}{{ x }}>{% endmacro %}{% call m(1) %}body{% endcall %}",
    "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}{{ b }}{{ n }}{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}",
    "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% call 5 %}{% endcall %}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m.name }}{{ m.arguments }}",
    "{% macro m() %}  x  {% endmacro %}{{ m()|trim }}|{{ m()|length }}",
    "{% macro m() %}<b>{% endmacro %}{{ m() + '<c>' }}{{ m() ~ '<c>' }}{{ [m()] }}",
    "{% macro m(*a) %}{% endmacro %}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}",
    "{% filter upper %}abc{{ n }}{% endfilter %}",
    "{% filter replace('a', 'b')|upper %}abc{% endfilter %}",
    "{% filter nosuch %}abc{% endfilter %}",
    "{% filter indent(2) %}a\nb{% endfilter %}",
    "{% for x in nested recursive %}[{% if x is iterable %}{{ loop(x) }}{% else %}{{ x }}{% endif %}:{{ loop.depth }}]{% endfor %}",
    "{% for x in l %}{{ loop(l) }}{% endfor %}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in [1] %}{{ outer.index }}{% endfor %}{% endfor %}",
    "{% for x in l|sort %}{{ x }}{% endfor %}{% for x in l|reverse %}{{ x }}{{ loop.length }}{% endfor %}",
    "{% for x in range(3) %}{{ x }}{% endfor %}{% for i in range(l|length - 1, -1, -1) %}{{ i }}{% endfor %}",
    "{% for m in messages %}{% if loop.first and m.role == 'system' %}S{% elif m.role == 'tool' %}T{% else %}{{ m['role'] }}{% endif %}\n{% endfor %}",
    "{% for m in messages %}\n{{- '<|' + m.role + '|>\\n' }}\n{% if m.content %}\n{{- m.content }}\n{% endif %}\n{% endfor %}",
    "{% for m in messages if m.role != 'system' %}{{ loop.index }}{{ m.role }} {% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set sys = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% endif %}{{ sys }}{{ loop_messages|length }}",
    "{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate ' ~ loop.index) }}{% endif %}{% endfor %}",
    "{% generation %}abc{% set q = 1 %}{% endgeneration %}{{ q is defined }}",
    "{% for x in l %}{% generation %}{{ x }}{{ loop.index }}{% endgeneration %}{% endfor %}",
    "{% block a %}x{{ n }}{% endblock %}",
    "{% set q = 1 %}{% block a %}{{ q }}{% endblock a %}",
    "{% block a %}{% endblock %}{% block a %}{% endblock %}",
    "{% include 'x' %}",
    "{% include 'x' ignore missing %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% extends 'x' %}",
    "{% if false %}{% include 'x' %}{% endif %}ok",
    "{% do l.append(1) %}",
    "{% nosuch %}",
    "{% if true %}",
    "{% endif %}",
    "{% for %}{% endfor %}",
    "{% for x in l %}",
    "{% set %}",
    "{% set 5 = 1 %}",
    "{% set true = 1 %}",
    "{{ }}",
    "{{",
    "{{ 1",
    "{%",
    "{#",
    "{% raw %}",
    "{{ 1 }}}}",
    "{{ {'a': {'b': 1}} }}",
    "{{ {'a': {'b': 1}}['a'] }}",
    "{{ '}}' }}{{ '%}' }}{{ \"{{\" }}",
    "{% print 1, 2 %}",
    "{% autoescape true %}{{ html }}{{ html|safe }}<{% endautoescape %}{{ html }}",
    "{% autoescape true %}{% set x %}<{{ html }}{% endset %}{{ x }}{% macro m() %}<&{% endmacro %}{{ m() }}{{ '<' ~ html|safe }}{% endautoescape %}",
    "{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}",
    "{% if 'x' is nosuch %}{% endif %}",
    "{% if false %}{{ 'x'|nosuch }}{% endif %}ok",
    "{% if true %}{{ 'x'|nosuch }}{% endif %}ok",
    "{% for x in [] %}{{ 'x'|nosuch }}{% endfor %}ok",
    "{% if false %}{% for x in l %}{{ 'x'|nosuch }}{% endfor %}{% endif %}ok",
    "{{ 'a' if true else 'x'|nosuch }}",
    "{% macro m() %}{{ 'x'|nosuch }}{% endmacro %}ok",
    "{% if n is defined and n is not none %}{{ n }}{% endif %}",
    "{% set g = l|select('odd') %}{{ g|list }}{{ g|list }}",
    "{% set g = l|map('string') %}{% for x in g %}{{ x }}{{ loop.last }}{% endfor %}",
    "{% set g = l|map('string') %}{% if g %}true{% endif %}",
    "{% for a in [1,2] %}{% for b in [3] %}{% set x = a %}{% endfor %}{{ x is defined }}{% endfor %}",
    "{% set x = 1 %}{% macro m(x) %}{{ x }}{% endmacro %}{{ m() }}|{{ m(x) }}",
    "{% set loop = 5 %}{{ loop }}",
    "{% for loop in l %}{{ loop }}{% endfor %}",
    "{% for x in l %}{{ x }}{% endfor %}{{ x is defined }}{{ loop is defined }}",
    "{%- set x = '\\n\\n' -%}{{ x }}a",
    "{{ '\\n' }}\n{{ 'a' }}\n\n{{ 'b' }}",
    "{%if true%}a{%endif%}",
    "{%-if true-%} a {%-endif-%}",
    "{{-1}}{{+1}}",
    "{{ - 1 }}",
    "{%- for x in l -%}\n  {{ x }}\n{%- endfor -%}\n",
    "{% for x in l %}\n    - {{ x }}\n{% endfor %}\nend",
    "\t{% for x in l -%}\n\t{{ x }}\n\t{%- endfor %}\n",
    "a{# multi\nline #}b",
    "{# {{ nested }} {% if %} #}ok",
    "# line\n## comment\n% x",
    "{{ strftime_now('%Y') }}",
    "{% set f = s.upper %}{{ f() }}",
    "{% set fs = [s.upper, s.lower] %}{{ fs[1]() }}",
    "{{ dict(**d) == d }}{{ range(*[1, 3])|list }}",
    "{% macro m(a, b) %}{{ a }}{{ b }}{% endmacro %}{{ m(*[1, 2]) }}{{ m(**{'a': 3, 'b': 4}) }}{{ m(1, *[2]) }}",
    "{{ m(*5) }}",
    "{% set x = d %}{% set x = x.get('C') %}{{ x[1].x }}{{ x[1]['y'] is defined }}",
    "{{ users|map(attribute='name')|map('lower')|sort|join(', ') }}",
    "{% for city, people in users|groupby('city') %}{{ city }}: {% for p in people %}{{ p.name }}{{ ', ' if not loop.last }}{% endfor %}\n{% endfor %}",
    "{% for row in [1,2,3,4,5]|batch(3, '-') %}{{ row|join }}|{% endfor %}",
    "{% set content = messages[1].content %}{% if '<b>' in content %}{{ content.split('<b>')[1].split('</b>')[0] }}{% endif %}",
    "{%- macro render(v, depth=0) -%}{%- if v is mapping -%}{ {%- for k, x in v|dictsort -%}{{ k }}:{{ render(x, depth + 1) }}{{ ',' if not loop.last }}{%- endfor -%} }{%- elif v is iterable and v is not string -%}[{%- for x in v -%}{{ render(x, depth + 1) }}{{ ',' if not loop.last }}{%- endfor -%}]{%- else -%}{{ v|tojson }}{%- endif -%}{%- endmacro -%}{{ render(d) }}{{ render(messages) }}",
    "{% set a = 1 %}{% set b = a %}{% set a = 2 %}{{ a }}{{ b }}",
    "{% for i in range(3) %}{% if loop.index is odd %}o{% else %}e{% endif %}{% endfor %}",
    "{% for i in range(5) %}{{ i if i % 2 == 0 else '' }}{{ ',' if not loop.last }}{% endfor %}",
    "{% set ns = namespace(i=0, last=-1) %}{% for m in messages[::-1] %}{% set index = messages|length - 1 - loop.index0 %}{% if m.role == 'user' and ns.last < 0 %}{% set ns.last = index %}{% endif %}{% endfor %}{{ ns.last }}",
    "{% if not (l is defined and l|length > 0) %}a{% else %}b{% endif %}",
    "{{ ('a', 'b')|join(' ') }}{{ {'x': (1, 2)}.x[0] }}",
    "{% set t = 'a' if n > 3 else 'b' %}{{ t }}",
    "{{ 1 if n > 3 and (f < 3 or missing) else 2 }}",
    "{{ \"a'b\" }}{{ 'a\"b' }}{{ 'a\\'b' }}",
    "{{ self }}",
    "{{ 'é' }}é{{ u }}",
    "{% for c in 'é你' %}[{{ c }}]{% endfor %}",
    "{% set é = 1 %}{{ é }}",
    "{{ n\n+\n1 }}",
    "{{ 'multi\nline' }}",
    "{% set x = [\n  1,\n  2,\n] %}{{ x }}",
    "{{ l|join(\n', '\n) }}",
    "{% else %}",
    "{% if true %}{% else %}{% else %}{% endif %}",
    "{% elif x %}",
    "{{ 1 if }}",
    "{{ if 1 }}",
    "{{ l[ }}",
    "{{ (1 }}",
    "{{ 1) }}",
    "{{ a b }}",
    "{{ 5.x }}",
    "{{ l.0 }}{{ l.0.x }}",
    "{{ $ }}",
    "{{ 'a' ; 'b' }}",
    "{{ a = 1 }}",
    "{{ f(a=1, 2) }}",
    "{{ lambda: 1 }}",
    "{{ [x for x in l] }}",
    "{{ l[0] if l else missing.x }}",
    "{% set x = missing %}{{ x is defined }}{{ x }}",
    "{% set x = missing %}{{ x.y }}",
    "{{ missing or 'a' }}{{ missing and 'a' }}{{ not missing }}",
    "{{ users[0].name.lower().upper() }}",
    "{% trans %}x{% endtrans %}",
    "{% debug %}",
    "{{ 'a'|upper|e ~ '<' }}",
    "{% set x = '<' %}{{ x|e }}{{ x }}",
    "{{ range(3) is iterable }}{{ range(3) is sequence }}{{ range(3)|length }}",
    "{{ cycler is callable }}{{ namespace is callable }}{{ range is callable }}",
    "{{ [1, 2, 3][1:] + [4] }}",
    "{{ 'abcdef'[1:-1:2] }}",
    "{{ (l + [4])|sum / 2 }}",
    "{{ (l|sort)[-1] }}{{ l|sort|last }}",
    "{{ d.C[0] }}{{ d['C'][1]['x'] }}{{ d.C.1.x }}",
]


def run(source):
    try:
        return {"expected": env.from_string(source).render(**CONTEXT)}
    except Exception as e:  # whatever Python raises ends the rendering
        return {"error": type(e).__name__}


def main():
    cases = []
    for source in ["{{ " + e + " }}" for e in EXPRESSIONS.strip("\n").split("\n")] + TEMPLATES:
        result = run(source)
        if " at 0x" in result.get("expected", ""):
            continue  # an address
        cases.append({"template": source, **result})
    json.dump({"context": CONTEXT, "cases": cases}, sys.stdout, ensure_ascii=False, indent=0)
    print()


main()
