"""Requests: what the published schema accepts, no more and no less. PROTOCOL: Requests; schema: carp-request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import assume, event, example, given, settings
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator

import cra
from cra import schemas
from cra.carp.conditions import RISK_TIERS
from cra.carp.request import (
    Ask,
    Execution,
    Request,
    Requester,
    Task,
    copy_context,
    make_ask,
    narrow,
    parse_timestamp,
)
from cra.errors import InvalidCARPRequest

PUBLISHED = json.loads((Path(__file__).resolve().parents[2] / "data" / "spec" / "carp-request.schema.json").read_text())
VALIDATOR = Draft202012Validator(schemas.load("carp-request"), validate_formats=True)
STRICT = Draft202012Validator(PUBLISHED, validate_formats=True)
UUID = "0192f3a1-7c4e-7d2a-9b1f-3c5e7a9b1d3f"
Document = dict[str, Any]
Open = Callable[..., cra.Session]
Trace = Callable[[cra.Session], list[cra.Event]]

SMALLEST: Document = {
    "carp_version": "1.0",
    "request_id": UUID,
    "timestamp": "2026-01-01T12:00:00Z",
    "operation": "resolve",
    "requester": {"agent_id": "bot", "session_id": UUID},
    "task": {"goal": "work"},
}
LARGEST: Document = {
    **SMALLEST,
    "operation": "execute",
    "requester": {"agent_id": "b" * 255, "session_id": UUID, "parent_session_id": UUID},
    "task": {
        "goal": "x" * 10_000,
        "risk_tier": "critical",
        "context_hints": ["a", ""],
        "required_capabilities": ["a.b", "a.b"],
    },
    "execution": {
        "resolution_id": UUID,
        "action_id": "ticket.get",
        "parameters": {"a": [1, None, {"b": 0.5}]},
        "idempotency_key": "k" * 255,
    },
    "atlas_ids": ["com.example.a", "org.b-2"],
    "context": {"env": "prod", "deep": {"a": [1]}},
}


def problem(document: object) -> tuple[str | None, str] | None:
    """Where and why a document is refused; None where it is accepted."""
    try:
        Request.parse(document)  # type: ignore[arg-type]
    except InvalidCARPRequest as error:
        return error.path, error.message.removeprefix(f"{error.path}: ")
    return None


def changed(document: Document, pointer: str, value: object = ...) -> Document:
    """A deep copy with the value at a pointer replaced, or removed."""
    copy: Document = json.loads(json.dumps(document))
    *parents, last = pointer.strip("/").split("/")
    target: Any = copy
    for name in parents:
        target = target[name]
    if value is ...:
        del target[last]
    else:
        target[int(last) if isinstance(target, list) else last] = value
    return copy


# What is accepted


def test_the_defaults() -> None:
    """The smallest request: tier low, nothing hinted, required, selected or added."""
    parsed = Request.parse(SMALLEST)
    assert Request("1.0", UUID, "2026-01-01T12:00:00Z", "resolve", Requester("bot", UUID), Task("work")) == parsed
    assert ("low", (), ()) == (parsed.task.risk_tier, parsed.task.context_hints, parsed.task.required_capabilities)
    assert (None, None, {}) == (parsed.execution, parsed.atlas_ids, parsed.context)


def test_everything_given() -> None:
    """The largest request, with every field at its longest."""
    parsed = Request.parse(LARGEST)
    assert Requester("b" * 255, UUID, UUID) == parsed.requester
    assert Task("x" * 10_000, "critical", ("a", ""), ("a.b", "a.b")) == parsed.task
    assert Execution(UUID, "ticket.get", {"a": [1, None, {"b": 0.5}]}, "k" * 255) == parsed.execution
    assert (("com.example.a", "org.b-2"), LARGEST["context"]) == (parsed.atlas_ids, parsed.context)


def test_ids_come_out_in_lower_case() -> None:
    """The schema takes either case; the runtime knows one."""
    shouted = json.loads(json.dumps(LARGEST).replace(UUID, UUID.upper()))
    assert Request.parse(LARGEST) == Request.parse(shouted)


@pytest.mark.parametrize("document", [SMALLEST, LARGEST])
def test_a_request_built_by_hand_is_checked_the_same(document: Document) -> None:
    """A `Request` and any mapping are what they stand for."""
    parsed = Request.parse(document)
    assert parsed == Request.parse(parsed)
    assert parsed == Request.parse(MappingProxyType(document))


def test_a_bad_request_built_by_hand_is_refused() -> None:
    """Its fields were never checked before."""
    built = Request("1.0", UUID, "2026-01-01T12:00:00Z", "resolve", Requester("bot", "nonsense"), Task("work"))
    with pytest.raises(InvalidCARPRequest, match=r"^/requester/session_id: expected a UUID"):
        Request.parse(built)


# What is refused


@pytest.mark.parametrize("pointer", ["/carp_version", "/request_id", "/timestamp", "/operation", "/requester", "/task",
                                     "/requester/agent_id", "/requester/session_id", "/task/goal",
                                     "/execution", "/execution/resolution_id", "/execution/action_id",
                                     "/execution/parameters"])  # fmt: skip
def test_a_missing_field_is_refused(pointer: str) -> None:
    """`execution` where the operation is `execute`; the message names the field."""
    found = problem(changed(LARGEST, pointer))
    assert found is not None
    path, message = found
    assert pointer.rpartition("/")[2] in f"{path} {message}"
    assert not VALIDATOR.is_valid(changed(LARGEST, pointer))


@pytest.mark.parametrize(
    ("pointer", "value"),
    [
        ("/carp_version", "1.1"),
        ("/carp_version", 1.0),
        ("/request_id", UUID.replace("-", "")),
        ("/request_id", UUID + "\n"),
        ("/request_id", None),
        ("/timestamp", "2026-01-01T12:00:00"),
        ("/timestamp", "yesterday"),
        ("/timestamp", "2026-01-01T12:00:00+24:00"),
        ("/timestamp", "2026-01-01T12:00:00-02:60"),
        ("/timestamp", "2026-02-29T12:00:00Z"),
        ("/timestamp", 0),
        ("/operation", "delete"),
        ("/operation", ["resolve"]),
        ("/requester", []),
        ("/requester/agent_id", ""),
        ("/requester/agent_id", "b" * 256),
        ("/requester/session_id", "x"),
        ("/requester/parent_session_id", "x"),
        ("/task/goal", ""),
        ("/task/goal", "x" * 10_001),
        ("/task/risk_tier", "extreme"),
        ("/task/risk_tier", None),
        ("/task/context_hints", "stale"),
        ("/task/context_hints", None),
        ("/task/context_hints/1", 1),
        ("/task/required_capabilities/0", None),
        ("/execution", None),
        ("/execution/resolution_id", "x"),
        ("/execution/action_id", "a..b"),
        ("/execution/action_id", "a\n"),
        ("/execution/parameters", []),
        ("/execution/parameters", None),
        ("/execution/idempotency_key", "k" * 256),
        ("/execution/idempotency_key", 1),
        ("/atlas_ids", None),
        ("/atlas_ids", {}),
        ("/atlas_ids/1", "Example"),
        ("/atlas_ids/1", "com.example\n"),
        ("/context", None),
        ("/context", []),
    ],
)
def test_an_ill_formed_field_is_refused_at_its_place(pointer: str, value: object) -> None:
    """With the JSON pointer of the field; the schema agrees."""
    document = changed(LARGEST, pointer, value)
    found = problem(document)
    assert found is not None
    assert (pointer, True) == (found[0], bool(found[1]))
    assert not VALIDATOR.is_valid(document)


@pytest.mark.parametrize("pointer", ["/surprise", "/requester/surprise", "/task/surprise", "/execution/surprise"])
def test_an_unknown_field_is_refused(pointer: str) -> None:
    """Nothing is ignored but what is inside `context` and `parameters`."""
    found = problem(changed(LARGEST, pointer, 1))
    assert found is not None
    assert pointer.rpartition("/")[0] == (found[0] or "")
    assert "surprise" in found[1]
    for free in ("/context/surprise", "/execution/parameters/surprise"):
        assert problem(changed(LARGEST, free, 1)) is None


@pytest.mark.parametrize("document", [None, [], "x", 3, True, [SMALLEST]])
def test_what_is_no_object_is_refused(document: object) -> None:
    """The place is the whole request."""
    found = problem(document)
    assert found is not None
    assert found[0] is None
    assert "Expected `object`" in found[1]


@pytest.mark.parametrize(
    ("change", "pointer", "advice"),
    [
        ({"carp_version": "2.0"}, "/carp_version", "Invalid enum value '2.0'; it is 1.0"),
        ({"operation": "dance"}, "/operation", "Invalid enum value 'dance'; it is one of resolve, execute, validate"),
        ({"colour": "red"}, None, "Object contains unknown field `colour`; remove it"),
        ({"task": {}}, "/task", "Object missing required field `goal`; add it, as the schema carp-request has it"),
        (
            {"task": {"goal": "x", "risk_tier": "huge"}},
            "/task/risk_tier",
            "Invalid enum value 'huge'; it is one of low, medium, high, critical",
        ),
    ],
)
def test_what_is_refused_comes_with_advice(change: Document, pointer: str | None, advice: str) -> None:
    """What would be taken instead, or what to do."""
    assert (pointer, advice) == problem({**SMALLEST, **change})


def test_a_key_that_is_no_string_is_refused() -> None:
    """A mapping can hold what JSON cannot."""
    assert ("/context", "Expected `str`, got `int`") == problem({**SMALLEST, "context": {1: 2}})


@pytest.mark.parametrize(
    "call",
    [
        lambda: Request.parse({**SMALLEST, "operation": "resolve\ud800"}),
        lambda: Request.parse({**SMALLEST, "\udfff": 1}),
        lambda: Request.parse({**SMALLEST, "task": {"goal": "work", "risk_tier": "\ud800"}}),
        lambda: make_ask("work", risk_tier="\ud800"),
    ],
    ids=["choice", "key", "nested", "ask"],
)
def test_a_lone_surrogate_where_names_are_compared_is_refused(call: Callable[[], object]) -> None:
    """It is no character, and no name has one. What free text holds is refused where it is written to the trace."""
    with pytest.raises(InvalidCARPRequest) as caught:
        call()
    assert caught.value.message == "a string holds a lone surrogate, which is no character; replace it"


@pytest.mark.parametrize("name", ["parent_session_id", "idempotency_key"])
def test_where_the_schema_says_null_null_is_nothing(name: str) -> None:
    """Two fields may be null; it means the same as leaving them out."""
    pointer = f"/requester/{name}" if name == "parent_session_id" else f"/execution/{name}"
    assert Request.parse(changed(LARGEST, pointer)) == Request.parse(changed(LARGEST, pointer, None))


def test_execution_is_needed_for_execute_alone() -> None:
    """It may be there for the other operations, and does nothing."""
    assert ("/execution", "required when operation is 'execute'") == problem({**SMALLEST, "operation": "execute"})
    for operation in ("resolve", "validate"):
        assert problem({**LARGEST, "operation": operation}) is None
        assert problem({**SMALLEST, "operation": operation}) is None


# Exactly what the schema accepts

WIDE = changed(LARGEST, "/execution/action_id", "Merge-PR_2.x")


def test_wider_action_ids_are_the_only_difference_to_the_published_schema() -> None:
    """Names of real tools are accepted; the published pattern refuses them."""
    assert problem(WIDE) is None
    assert VALIDATOR.is_valid(WIDE)
    assert not STRICT.is_valid(WIDE)
    assert STRICT.is_valid(LARGEST)


uuids = st.uuids().map(str) | st.just(UUID.upper())
# The schema knows no first and no last year; `test_years_that_no_clock_shows_are_refused` has the years outside of these.
moments = st.datetimes(datetime(1970, 1, 2), datetime(9998, 12, 30)).map(lambda moment: moment.isoformat())
ZONES = ["Z", "z", "+00:00", "-00:00", "+05:30", "-23:59"]
ODD_ZONES = ["+24:00", "+02:60", "", "+0200", " Z", "Z\n"]
timestamps = st.builds(str.__add__, moments, st.sampled_from(ZONES))
ids = st.sampled_from(["ticket.get", "a_b", "A-1.b", "0"])
words = st.text(max_size=4) | ids | st.sampled_from(["a..b", "com.example.a", "com", "a.b\n", ".a", "A.b", "1a.b"])
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
near = st.one_of(
    uuids.map(lambda text: text[:-1]),
    uuids.map(lambda text: text + "\n"),
    st.builds(str.__add__, moments, st.sampled_from(ODD_ZONES)),
    st.builds(lambda moment, zone: moment.replace("T", "t", 1)[:17] + "60" + zone, moments, st.sampled_from(ZONES)),
)
anything = near | scalars | st.lists(scalars, max_size=2) | st.dictionaries(words, scalars, max_size=2)


def sometimes(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Mostly what the schema wants; now and then anything."""
    return st.integers(0, 99).flatmap(lambda roll: anything if 30 <= roll < 33 else usual)


def members(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[Document]:
    """An object that mostly has its required members, and rarely one that nobody knows."""
    given_members = st.fixed_dictionaries(
        {name: sometimes(each) for name, each in required.items()},
        optional={name: sometimes(each) for name, each in optional.items()},
    )

    def spoil(document: Document, roll: int, name: str) -> Document:
        spoiled = dict(document)
        if roll == 30:
            spoiled[name] = 1
        elif roll == 40:
            spoiled.pop(sorted(required)[len(name) % len(required)])
        return spoiled

    return st.builds(spoil, given_members, st.integers(0, 99), st.text("abc", max_size=4))


strings = st.lists(sometimes(words), max_size=3)
documents = members(
    {
        "carp_version": st.just("1.0"),
        "request_id": uuids,
        "timestamp": timestamps,
        "operation": st.sampled_from(["resolve", "execute", "validate"]),
        "requester": members(
            {"agent_id": st.text(min_size=1, max_size=4), "session_id": uuids},
            {"parent_session_id": st.none() | uuids},
        ),
        "task": members(
            {"goal": st.text(min_size=1, max_size=4)},
            {
                "risk_tier": st.sampled_from(["low", "medium", "high", "critical"]),
                "context_hints": strings,
                "required_capabilities": strings,
            },
        ),
    },
    {
        "execution": members(
            {"resolution_id": uuids, "action_id": ids, "parameters": st.dictionaries(words, anything, max_size=2)},
            {"idempotency_key": st.none() | words},
        ),
        "atlas_ids": st.lists(sometimes(st.sampled_from(["com.example.a", "a.b-c", "a1.b"])), max_size=2),
        "context": st.dictionaries(words, anything, max_size=2),
    },
)


@settings(max_examples=400)
@given(documents)
@example(changed(SMALLEST, "/timestamp", "2026-06-30T23:59:60Z"))
@example(changed(SMALLEST, "/timestamp", "2026-06-30T12:59:60Z"))
@example(changed(SMALLEST, "/timestamp", "2026-07-01T01:59:60.5+02:00"))
@example({**SMALLEST, "execution": None})
@example({**SMALLEST, "atlas_ids": None})
def test_parse_accepts_exactly_what_the_schema_accepts(document: Document) -> None:
    """Documents that are valid, nearly valid, and wild: the two never disagree, and nothing but one error is raised."""
    valid = VALIDATOR.is_valid(document)
    event(f"valid: {valid}")
    assert valid is (problem(document) is None)


@settings(max_examples=200)
@given(st.sampled_from([SMALLEST, LARGEST]), st.data())
def test_one_mutation_is_judged_as_the_schema_judges_it(document: Document, data: st.DataObject) -> None:
    """A valid request with one value somewhere replaced, removed or added."""
    pointers = [*_pointers(document)]
    pointer = data.draw(st.sampled_from(pointers))
    value = data.draw(st.just(...) | anything)
    if value is not ... and data.draw(st.booleans()):
        pointer += "x"
        assume(not pointer.rpartition("/")[2][:-1].isdigit())
    mutated = changed(document, pointer, value) if value is not ... or pointer in pointers else document
    assert VALIDATOR.is_valid(mutated) is (problem(mutated) is None)


def _pointers(value: object, at: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, member in value.items():
            yield f"{at}/{name}"
            if name not in ("parameters", "context", "context_hints", "required_capabilities", "atlas_ids"):
                yield from _pointers(member, f"{at}/{name}")


# The part that a resolve depends on


def test_an_ask_has_its_defaults() -> None:
    """A goal alone asks for nothing else."""
    assert Ask("work") == make_ask("work")
    assert (None, (), (), None, None, None) == tuple(msgspec.structs.astuple(make_ask("work")))[1:]


@pytest.mark.parametrize("name", ["context_hints", "required_capabilities", "atlas_ids"])
def test_lists_of_an_ask_are_bounded(name: str) -> None:
    """A session remembers them: 100 entries of 255 characters, no more."""
    most = ["x" * 255] * 100
    assert tuple(most) == getattr(make_ask("work", **{name: most}), name)
    for too_much in (["x"] * 101, ["x" * 256]):
        with pytest.raises(InvalidCARPRequest) as caught:
            make_ask("work", **{name: too_much})
        assert f"/{name}: at most 100 entries of at most 255 characters" == caught.value.message


def test_the_context_of_an_ask_is_a_private_copy() -> None:
    """What was decided on stays what it was."""
    given_context = {"env": "prod", "deep": {"a": [1]}}
    ask = make_ask("work", context=given_context)
    given_context["env"] = "dev"
    given_context["deep"]["a"].append(2)  # type: ignore[index]
    assert {"env": "prod", "deep": {"a": [1]}} == ask.context


@pytest.mark.parametrize(
    ("context", "path"),
    [
        ({"k": object()}, "/context/k"),
        ({"k": float("nan")}, "/context/k"),
        ({1: "x"}, "/context"),
        (["k"], "/context"),
        ({"k": "x" * 65_536}, "/context"),
    ],
)
def test_a_context_is_json_of_a_bounded_size(context: object, path: str) -> None:
    """64 KiB; the error names the place."""
    for check in (copy_context, lambda each: make_ask("work", context=each)):
        with pytest.raises(InvalidCARPRequest) as caught:
            check(context)
        assert path == caught.value.path
    assert {"k": "x" * 65_528} == copy_context({"k": "x" * 65_528})


ASKS = st.builds(
    Ask,
    st.just("g"),
    st.none() | st.sampled_from(RISK_TIERS),
    context=st.none() | st.dictionaries(st.sampled_from("kl"), st.sampled_from("vw")),
    atlas_ids=st.none() | st.lists(st.sampled_from(["a.a", "b.b", "c.c"]), unique=True).map(tuple),
)


@given(ASKS, ASKS)
def test_what_comes_later_only_narrows_an_ask(ask: Ask, later: Ask) -> None:
    """The higher tier, the earlier context where both have a key, and the atlases that both select."""
    narrowed = narrow(ask, later)
    tiers = [RISK_TIERS.index(each.risk_tier) for each in (ask, later) if each.risk_tier is not None]
    assert (RISK_TIERS[max(tiers)] if tiers else None) == narrowed.risk_tier
    assert {**(later.context or {}), **(ask.context or {})} == narrowed.context
    selections = [set(each.atlas_ids) for each in (ask, later) if each.atlas_ids is not None]
    assert (set.intersection(*selections) if selections else None) == (
        None if narrowed.atlas_ids is None else set(narrowed.atlas_ids)
    )


# Timestamps


@given(
    st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1)),
    st.integers(-1439, 1439),
    st.integers(0, 999_999_999),
    st.integers(1, 12),
)
def test_timestamps_are_read_to_the_nanosecond(moment: datetime, minutes: int, fraction: int, digits: int) -> None:
    """Any zone, any number of digits; what is beyond a nanosecond is cut."""
    moment = moment.replace(microsecond=0)
    sign = "-" if minutes < 0 else "+"
    hours, rest = divmod(abs(minutes), 60)
    shown = f"{fraction:09}000"[:digits]
    text = f"{moment.isoformat()}.{shown}{sign}{hours:02}:{rest:02}"
    aware = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    seconds = (aware - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)
    assert seconds * 1_000_000_000 + int(shown.ljust(9, "0")[:9]) == parse_timestamp(text, "/timestamp")


def test_a_leap_second_is_the_next_second() -> None:
    """RFC 3339 has it at the end of a day in UTC; a clock of the machine never shows it."""
    expected = parse_timestamp("2017-01-01T00:00:00Z", "/t")
    assert (
        expected == parse_timestamp("2016-12-31T23:59:60Z", "/t") == parse_timestamp("2017-01-01T00:59:60+01:00", "/t")
    )
    assert expected == Request.parse({**SMALLEST, "timestamp": "2016-12-31T23:59:60Z"}).time_ns
    for elsewhere in ("2016-12-31T12:00:60Z", "2016-12-31T23:59:60+01:00", "2016-12-31T23:58:60Z"):
        with pytest.raises(InvalidCARPRequest, match=r"^/t: expected an RFC 3339 date-time with a time zone$"):
            parse_timestamp(elsewhere, "/t")


@pytest.mark.parametrize(
    "timestamp",
    [
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+23:59",
        "1969-12-31T23:59:59.999999999Z",
        "1970-01-01T00:00:00+00:01",
        "9998-12-31T23:59:60Z",
        "9999-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_years_that_no_clock_shows_are_refused(timestamp: str) -> None:
    """From 1970 to 9998: what is added to such a time, a zone or a lifetime, stays inside the calendar."""
    with pytest.raises(InvalidCARPRequest) as caught:
        Request.parse({**SMALLEST, "timestamp": timestamp})
    assert "/timestamp" == caught.value.path


@pytest.mark.parametrize("timestamp", ["1970-01-01T00:00:00Z", "9998-12-31T23:59:59.999999999Z"])
def test_the_first_and_the_last_moment_are_accepted(timestamp: str) -> None:
    """The ends belong to it."""
    assert parse_timestamp(timestamp, "/t") == Request.parse({**SMALLEST, "timestamp": timestamp}).time_ns


# What the trace says of it


def received(trace: Trace, session: cra.Session) -> list[Document]:
    """The payloads of `carp.request.received`."""
    return [event.payload for event in trace(session) if event.event_type == "carp.request.received"]


EVERYTHING: Document = {
    "risk_tier": "high",
    "context_hints": ["h"],
    "required_capabilities": ["c"],
    "atlas_ids": ["com.example.shop"],
    "context_budget": 0,
}
CAPABLE = {"capabilities": [{"capability_id": "c", "name": "C", "actions": ["a"]}]}


@pytest.mark.parametrize("names", [(), *((name,) for name in EVERYTHING), tuple(EVERYTHING)])
def test_the_trace_leaves_out_what_is_default(open_session: Open, trace: Trace, names: tuple[str, ...]) -> None:
    """`request_id`, `operation` and `goal` always; the rest where it was asked for."""
    session = open_session(fields=CAPABLE)
    asked = {name: EVERYTHING[name] for name in names}
    resolution = session.resolve("the goal", **asked)
    expected = {"request_id": resolution.request_id, "operation": "resolve", "goal": "the goal", **asked}
    assert [expected] == received(trace, session)


def test_defaults_that_are_written_are_left_out_too(open_session: Open, trace: Trace) -> None:
    """Saying `low` and naming nothing is saying nothing."""
    session = open_session()
    session.resolve("g", risk_tier="low", context_hints=[], required_capabilities=[], context={})
    assert [{"operation", "goal", "request_id"}] == [set(payload) for payload in received(trace, session)]


def test_the_trace_has_the_context_that_conditions_read(open_session: Open, trace: Trace) -> None:
    """Hashed; not what no condition reads, what nobody set, or what is no scalar; the session's value wins."""
    rule = {
        "policy_id": "r",
        "type": "deny",
        "actions": ["a"],
        "conditions": {"context_matches": {"env": "p*", "team": "*", "list": "*", "absent": "*"}},
    }
    asked = {"env": "mine", "team": 3, "list": ["a"], "secret": "x"}
    host = {"context": {"env": "prod"}}
    hashed = open_session(rule, host=host)
    plain = open_session(rule, host=host, record_values=True, seed=2)
    digests = {"env": hashed.runtime.hash("prod"), "team": hashed.runtime.hash(3)}
    for session, expected in [(hashed, digests), (plain, {"env": "prod", "team": 3})]:
        session.resolve("g", context=asked)
        (payload,) = received(trace, session)
        assert expected == payload["condition_inputs"]


def test_an_id_in_upper_case_makes_the_same_request() -> None:
    """Wherever it is."""
    for pointer in ("/request_id", "/requester/session_id", "/requester/parent_session_id", "/execution/resolution_id"):
        assert Request.parse(LARGEST) == Request.parse(changed(LARGEST, pointer, UUID.upper()))


@pytest.mark.parametrize("document", [SMALLEST, LARGEST])
def test_a_request_asks_what_its_fields_say(document: Document) -> None:
    """As the arguments of a resolve would."""
    parsed = Request.parse(document)
    asked = make_ask(
        parsed.task.goal,
        risk_tier=parsed.task.risk_tier,
        context_hints=parsed.task.context_hints,
        required_capabilities=parsed.task.required_capabilities,
        context=parsed.context or None,
        atlas_ids=parsed.atlas_ids,
    )
    assert asked == parsed.ask()


@pytest.mark.parametrize(
    ("pointer", "value", "path"),
    [
        ("/task/context_hints", ["x"] * 101, "/context_hints"),
        ("/task/required_capabilities", ["x" * 256], "/required_capabilities"),
        ("/atlas_ids", ["com.example.a"] * 101, "/atlas_ids"),
        ("/context", {"key": float("nan")}, "/context/key"),
        ("/context", {"key": "x" * 70_000}, "/context"),
    ],
)
def test_what_a_request_asks_is_bounded(pointer: str, value: object, path: str) -> None:
    """As the arguments of a resolve are."""
    parsed = Request.parse({**LARGEST} | _replaced(pointer, value))
    with pytest.raises(InvalidCARPRequest) as caught:
        parsed.ask()
    assert path == caught.value.path


def _replaced(pointer: str, value: object) -> Document:
    name, _, inner = pointer[1:].partition("/")
    return {name: {**LARGEST[name], inner: value} if inner else value}
