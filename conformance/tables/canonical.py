"""Canonical JSON, group `canonical-json`: text in, canonical text out. PROTOCOL: Canonical JSON."""

from __future__ import annotations

from conformance.tables.table import Group, error

SORTED = "objects sorted by code point of the key"
ESCAPED = "keys and strings escaped exactly as RFC 8785 does"
RAW = 'only `"`, `\\` and control characters, short forms where they exist), raw UTF-8 otherwise; no white space'
INTEGERS = "integers in decimal"
FLOATS = "floats as the shortest decimal that round-trips, without exponent and without a trailing `.0`, `-0.0` as `0`"
REFUSED = "NaN, infinities, lone surrogates, non-string keys, other types, and integers outside"
BIG = "When reading, an integer literal outside that range is a double."
STRICT = "no unknown or duplicate keys at any depth"

# name, sentence, text, canonical form
FORMS = [
    ("empty-object", RAW, " { } ", "{}"),
    ("empty-array", RAW, "[ \n ]", "[]"),
    ("white-space", RAW, '{ "a" : [ 1 ,\t2 ] ,\r\n "b" : { } }', '{"a":[1,2],"b":{}}'),
    ("white-space-in-strings", RAW, '{"a b": " c  d "}', '{"a b":" c  d "}'),
    ("literals", RAW, "[true,false,null]", "[true,false,null]"),
    ("top-level-string", RAW, '"a"', '"a"'),
    ("top-level-number", INTEGERS, "7", "7"),
    ("top-level-null", RAW, "null", "null"),
    ("sorted", SORTED, '{"b":1,"a":2}', '{"a":2,"b":1}'),
    ("sorted-upper-case-first", SORTED, '{"a":1,"B":2,"A":3,"b":4}', '{"A":3,"B":2,"a":1,"b":4}'),
    ("sorted-digits", SORTED, '{"9":1,"10":2,"1":3}', '{"1":3,"10":2,"9":1}'),
    ("sorted-prefix-first", SORTED, '{"ab":1,"a":2,"":3}', '{"":3,"a":2,"ab":1}'),
    ("sorted-underscore", SORTED, '{"a_b":1,"aB":2,"ab":3,"a-b":4}', '{"a-b":4,"aB":2,"a_b":1,"ab":3}'),
    ("sorted-accents-last", SORTED, '{"é":1,"z":2,"e":3}', '{"e":3,"z":2,"é":1}'),
    ("sorted-beyond-the-first-plane", SORTED, '{"\U0001f600":1,"ﬀ":2}', '{"ﬀ":2,"\U0001f600":1}'),
    ("sorted-by-what-an-escape-stands-for", SORTED, '{"\\u0062":1,"a":2,"\\u0041":3}', '{"A":3,"a":2,"b":1}'),
    ("sorted-escaped-quote", SORTED, '{"#":1,"\\"":2,"!":3}', '{"!":3,"\\"":2,"#":1}'),
    ("sorted-control-characters", SORTED, '{" ":1,"\\u0001":2}', '{"\\u0001":2," ":1}'),
    ("sorted-at-depth", SORTED, '[{"b":{"d":1,"c":2},"a":3}]', '[{"a":3,"b":{"c":2,"d":1}}]'),
    ("arrays-keep-their-order", SORTED, '[3,1,2,"b","a"]', '[3,1,2,"b","a"]'),
    ("quote-and-backslash", ESCAPED, '"a\\"b\\\\c"', '"a\\"b\\\\c"'),
    ("slash", ESCAPED, '"a\\/b/c"', '"a/b/c"'),
    ("short-forms", ESCAPED, '"\\b\\t\\n\\f\\r"', '"\\b\\t\\n\\f\\r"'),
    ("short-forms-from-long", ESCAPED, '"\\u0008\\u0009\\u000A\\u000C\\u000D"', '"\\b\\t\\n\\f\\r"'),
    ("control-characters", ESCAPED, '"\\u0000\\u0001\\u001B\\u001F"', '"\\u0000\\u0001\\u001b\\u001f"'),
    ("vertical-tab-has-no-short-form", ESCAPED, '"\\u000B"', '"\\u000b"'),
    ("delete-is-raw", RAW, '"\\u007f"', '"\x7f"'),
    ("space-is-raw", RAW, '"\\u0020"', '" "'),
    ("latin-is-raw", RAW, '"\\u00e9\\u00FF"', '"éÿ"'),
    ("c1-controls-are-raw", RAW, '"\\u0080\\u009f"', '"\x80\x9f"'),
    ("line-separators-are-raw", RAW, '"\\u2028\\u2029"', '"\u2028\u2029"'),
    ("byte-order-mark-is-raw", RAW, '"\\ufeffa"', '"\ufeffa"'),
    ("no-character-is-raw", RAW, '"\\uffff\\ufffe"', '"\uffff\ufffe"'),
    ("surrogate-pair-becomes-a-character", RAW, '"\\ud83d\\uDE00"', '"\U0001f600"'),
    ("no-normalisation", RAW, '["e\\u0301","\\u00e9"]', '["e\u0301","é"]'),
    ("html-is-raw", RAW, "\"<a href='x'>&\"", "\"<a href='x'>&\""),
    ("key-escaped", ESCAPED, '{"a\\n\\"":1}', '{"a\\n\\"":1}'),
    ("zero", INTEGERS, "0", "0"),
    ("negative-integer", INTEGERS, "-12", "-12"),
    ("integer-beyond-doubles", INTEGERS, "9007199254740993", "9007199254740993"),
    ("largest-integer", INTEGERS, "18446744073709551615", "18446744073709551615"),
    ("smallest-integer", INTEGERS, "-18446744073709551615", "-18446744073709551615"),
    ("integer-literal-out-of-range", BIG, "18446744073709551616", "18446744073709552000"),
    ("negative-integer-literal-out-of-range", BIG, "-18446744073709551616", "-18446744073709552000"),
    ("long-integer-literal", BIG, "123456789012345678901234567890", "123456789012345680000000000000"),
    ("trailing-zero", FLOATS, "1.0", "1"),
    ("trailing-zeros", FLOATS, "1.500", "1.5"),
    ("negative-zero", FLOATS, "-0.0", "0"),
    ("negative-zero-with-exponent", FLOATS, "-0e5", "0"),
    ("underflow-to-zero", FLOATS, "1e-400", "0"),
    ("negative-underflow-to-zero", FLOATS, "-1e-400", "0"),
    ("hundred", FLOATS, "1e2", "100"),
    ("exponent-of-a-fraction", FLOATS, "1.25E1", "12.5"),
    ("tenth", FLOATS, "0.1", "0.1"),
    ("sum-of-tenths", FLOATS, "0.30000000000000004", "0.30000000000000004"),
    ("shortest", FLOATS, "0.1000000000000000055511151231257827", "0.1"),
    ("shortest-thirds", FLOATS, "333333333.33333329", "333333333.3333333"),
    ("negative-fraction", FLOATS, "-1.5", "-1.5"),
    ("small", FLOATS, "1e-7", "0.0000001"),
    ("smaller", FLOATS, "-1.5e-10", "-0.00000000015"),
    ("smallest-subnormal", FLOATS, "5e-324", "0." + "0" * 323 + "5"),
    ("sixteen-digits", FLOATS, "1e16", "10000000000000000"),
    ("large", FLOATS, "1e21", "1" + "0" * 21),
    ("large-with-digits", FLOATS, "1.2345e25", "12345" + "0" * 21),
    ("largest", FLOATS, "1.7976931348623157e308", "17976931348623157" + "0" * 292),
    ("largest-negative", FLOATS, "-1.7976931348623157e308", "-17976931348623157" + "0" * 292),
    ("double-of-an-odd-integer", FLOATS, "9007199254740993.0", "9007199254740992"),
    ("millions", FLOATS, "1234567.125", "1234567.125"),
    ("equal-values-of-two-types", FLOATS, "[1,1.0,1e0]", "[1,1,1]"),
]

# name, sentence, text
REFUSALS = [
    ("nan", REFUSED, "NaN"),
    ("nan-inside", REFUSED, '{"a":[NaN]}'),
    ("infinity", REFUSED, "Infinity"),
    ("negative-infinity", REFUSED, "-Infinity"),
    ("overflow", REFUSED, "1e400"),
    ("negative-overflow", REFUSED, "-1e400"),
    ("integer-overflow", REFUSED, "1" + "0" * 400),
    ("lone-high-surrogate", REFUSED, '"\\ud800"'),
    ("lone-low-surrogate", REFUSED, '"a\\udc00b"'),
    ("surrogates-in-the-wrong-order", REFUSED, '"\\ude00\\ud83d"'),
    ("lone-surrogate-in-a-key", REFUSED, '{"\\ud800":1}'),
    ("number-as-key", REFUSED, "{1:2}"),
    ("duplicate-key", STRICT, '{"a":1,"a":1}'),
    ("duplicate-key-at-depth", STRICT, '{"x":[{"a":1,"b":2,"a":3}]}'),
    ("duplicate-key-by-escape", STRICT, '{"a":1,"\\u0061":2}'),
    ("torn", STRICT, '{"a":'),
    ("two-values", STRICT, "1 2"),
    ("nothing", STRICT, ""),
    ("trailing-comma", STRICT, "[1,]"),
    ("single-quotes", STRICT, "{'a':1}"),
    ("leading-zero", STRICT, "01"),
    ("control-character-in-a-string", STRICT, '"a\nb"'),
]


def groups() -> list[Group]:
    group = Group("canonical-json", "TRACE-Core")
    for name, sentence, text, canonical in FORMS:
        group.add(name, sentence, "canonical_json", {"json": text}, {"canonical": canonical})
    for name, sentence, text in REFUSALS:
        group.add(f"refused-{name}", sentence, "canonical_json", {"json": text}, error("INVALID_TRACE_EVENT"))
    return [group]
