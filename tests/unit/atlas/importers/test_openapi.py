"""Importing an OpenAPI 3 document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cra.atlas.importers import references
from cra.atlas.importers.document import read_openapi
from cra.atlas.importers.openapi import import_openapi
from cra.atlas.lint import lint_atlas
from cra.atlas.loader import load_atlas
from cra.carp.schema import Schema, SchemaProblem
from cra.errors import InvalidAtlasManifest

DATA = Path(__file__).parent / "data"
LIBRARY = json.loads((DATA / "library-3.0.json").read_bytes())
ID = "com.example.api"


def api(paths: dict[str, Any] | None = None, openapi: str = "3.1.0", **fields: Any) -> dict[str, Any]:
    """A minimal document with `fields` on top."""
    return {
        "openapi": openapi,
        "info": {"title": "T"},
        "paths": {"/x": {"get": {}}} if paths is None else paths,
        **fields,
    }


def operation(openapi: str = "3.1.0", schemas: dict[str, Any] | None = None, **fields: Any) -> dict[str, Any]:
    """The action that a POST /x with `fields` becomes."""
    document = api({"/x": {"post": fields}}, openapi, components={"schemas": schemas or {}})
    return import_openapi(document, ID)["actions"][0]


def converted(schema: Any, openapi: str = "3.1.0", **schemas: Any) -> Any:
    """What becomes of `schema`, the schema of a parameter, with `schemas` as components."""
    parameters = [{"name": "p", "in": "query", "schema": schema}]
    return operation(openapi, schemas, parameters=parameters)["parameters_schema"]["properties"]["p"]


def body(schema: Any, media: str = "application/json", **fields: Any) -> dict[str, Any]:
    """A request body."""
    return {"content": {media: {"schema": schema}}, **fields}


def response(schema: Any, media: str = "application/json") -> dict[str, Any]:
    """A response."""
    return {"description": "", "content": {media: {"schema": schema}}}


def refusal(document: object, **options: str) -> InvalidAtlasManifest:
    """The error of an import that must fail."""
    with pytest.raises(InvalidAtlasManifest) as caught:
        import_openapi(document, ID, **options)
    return caught.value


def refused_schema(schema: Any, openapi: str = "3.1.0", **schemas: Any) -> InvalidAtlasManifest:
    """The error of a document with this parameter schema."""
    parameters = [{"name": "p", "in": "query", "schema": schema}]
    return refusal(api({"/x": {"get": {"parameters": parameters}}}, openapi, components={"schemas": schemas}))


SCHEMA_PATH = "/paths/~1x/get/parameters/0/schema"


@pytest.fixture(scope="module")
def library() -> dict[str, Any]:
    """The actions of the 3.0 document, by id."""
    return {action["action_id"]: action for action in import_openapi(LIBRARY, ID)["actions"]}


class TestOperations:
    """Which actions there are, and what they are called."""

    def test_one_action_an_operation(self, library: dict[str, Any]) -> None:
        """Every operation is an action: by operationId with other characters as _, or by method and path."""
        tiers = {action_id: action["risk_tier"] for action_id, action in library.items()}

        assert {
            "api.listBooks": "low",
            "api.books_create": "medium",
            "api.get_books_id": "low",
            "api.replaceBook": "medium",
            "api.deleteBook": "high",
            "api.setCategories": "medium",
        } == tiers

    @pytest.mark.parametrize(
        ("method", "tier"),
        [("get", "low"), ("head", "low"), ("options", "low"), ("put", "medium"), ("post", "medium"),
         ("patch", "medium"), ("trace", "medium"), ("delete", "high")],
    )  # fmt: skip
    def test_method_decides_the_risk_tier(self, method: str, tier: str) -> None:
        """GET, HEAD and OPTIONS are low, DELETE is high, everything else medium."""
        action = import_openapi(api({"/": {method: {}}}), ID)["actions"][0]

        assert (f"api.{method}", tier) == (action["action_id"], action["risk_tier"])

    def test_description_says_what_and_where(self, library: dict[str, Any]) -> None:
        """Name and description come from the operation; method and path, and deprecation, are part of the description."""
        assert ("List books", "List books\n\nGET /books") == (
            library["api.listBooks"]["name"],
            library["api.listBooks"]["description"],
        )
        assert "Deprecated.\n\nRemove a book\n\nDELETE /books/{id}" == library["api.deleteBook"]["description"]
        assert "get_books_id" == library["api.get_books_id"]["name"]

    def test_heading_comes_from_the_document(self) -> None:
        """Title, description and a semantic version are the document's, unless the caller gives others."""
        manifest = import_openapi(LIBRARY, ID)
        mine = import_openapi(LIBRARY, ID, version="9.0.0", name="Mine", description="D")

        assert ("Library", "Books, readers and loans.", "2.4.0") == tuple(
            manifest[key] for key in ("name", "description", "version")
        )
        assert ("Mine", "D", "9.0.0") == tuple(mine[key] for key in ("name", "description", "version"))
        assert "1.0.0" == import_openapi(api(info={"title": "T", "version": "2024-01"}), ID)["version"]

    def test_long_headings_are_cut(self) -> None:
        """A title or description that a manifest has no room for ends in an ellipsis."""
        manifest = import_openapi(api(info={"title": "t" * 200, "description": "d" * 5000}), ID)

        assert (100, 1000) == (len(manifest["name"]), len(manifest["description"]))

    def test_path_items_can_be_references(self) -> None:
        """A path item in `components` is read where it is referred to."""
        document = api({"/x": {"$ref": "#/components/pathItems/X"}}, components={"pathItems": {"X": {"get": {}}}})

        assert ["api.get_x"] == [action["action_id"] for action in import_openapi(document, ID)["actions"]]

    def test_documents_load_without_findings(self) -> None:
        """Both example documents become atlases in which lint finds nothing but loose action ids."""
        for document in (LIBRARY, api()):
            findings = lint_atlas(load_atlas(import_openapi(document, ID)))
            assert {finding.code for finding in findings} <= {"action_id_not_strict"}

    def test_yaml_document(self) -> None:
        """The 3.1 example in YAML: numbers as status codes, anchors, and a version that is a number."""
        pytest.importorskip("yaml", reason="PyYAML is not installed (cra[yaml])")
        manifest = import_openapi(read_openapi(DATA / "tasks-3.1.yaml"), ID)
        actions = {action["action_id"]: action for action in manifest["actions"]}
        update = actions["api.task.update"]["parameters_schema"]

        assert ["api.task.get", "api.task.update", "api.get_export"] == list(actions)
        assert "1.0.0" == manifest["version"]
        assert {
            "type": "object",
            "properties": {
                "path_id": {"type": "string", "format": "uuid"},
                "query_id": {"type": "integer"},
                "dry-run": {"deprecated": True},
                "done": {"type": ["boolean", "null"]},
            },
            "required": ["path_id"],
            "additionalProperties": {"type": "string"},
        } == update
        assert {
            "$ref": "#/$defs/Task",
            "$defs": {
                "Task": {
                    "type": "object",
                    "properties": {
                        "title": {"type": "string", "description": "What to do"},
                        "short": {"maxLength": 10, "allOf": [{"type": "string", "description": "A title"}]},
                        "parent": {"$ref": "#/$defs/Task", "description": "The task above"},
                    },
                }
            },
        } == actions["api.task.get"]["returns_schema"]
        assert "returns_schema" not in actions["api.get_export"]
        assert [{"$ref": "#/$defs/Task"}, {"type": "null"}] == actions["api.task.update"]["returns_schema"]["anyOf"]


class TestParameters:
    """Parameters and body as one schema."""

    def test_parameters_are_properties(self, library: dict[str, Any]) -> None:
        """References are followed, descriptions kept, the headers OpenAPI reserves left out, anything else refused."""
        assert {
            "type": "object",
            "properties": {
                "limit": {"type": "integer", "maximum": 100},
                "q": {"type": ["string", "null"], "description": "Words in the title"},
            },
            "additionalProperties": False,
        } == library["api.listBooks"]["parameters_schema"]

    def test_path_level_parameters_are_inherited(self, library: dict[str, Any]) -> None:
        """An operation has the parameters of its path, and overrides those of the same name and location."""
        inherited = library["api.get_books_id"]["parameters_schema"]
        overridden = library["api.replaceBook"]["parameters_schema"]

        assert {"type": "integer", "exclusiveMinimum": 0} == inherited["properties"]["id"]
        assert ["id"] == inherited["required"]
        assert {"type": "string"} == overridden["properties"]["id"]
        assert "X-Trace" in overridden["properties"]

    def test_body_with_a_taken_name_is_a_property(self, library: dict[str, Any]) -> None:
        """A body that has a property `id` beside a parameter `id` keeps to itself, under `body`."""
        schema = library["api.replaceBook"]["parameters_schema"]

        assert {"id": {"type": "integer"}, "title": {"type": "string"}} == schema["properties"]["body"]["properties"]
        assert ["id", "body"] == schema["required"]

    def test_body_properties_are_merged(self, library: dict[str, Any]) -> None:
        """A required object body stands beside the parameters, with its required properties."""
        schema = library["api.books_create"]["parameters_schema"]

        assert ["title", "isbn", "category", "publisher"] == list(schema["properties"])
        assert (["title"], False) == (schema["required"], schema["additionalProperties"])

    def test_recursive_body_stays_whole(self, library: dict[str, Any]) -> None:
        """A body that is a recursive schema is the property `body`, with its own description."""
        schema = library["api.setCategories"]["parameters_schema"]

        assert {"$ref": "#/$defs/Category", "description": "The whole tree"} == schema["properties"]["body"]
        assert Schema(schema).accepts({"body": {"children": [{"name": "a"}]}})
        assert not Schema(schema).accepts({"body": {"children": [{"name": 1}]}})

    @pytest.mark.parametrize(
        ("schema", "required", "merged"),
        [
            ({"type": "object", "properties": {"a": {}}}, True, True),
            ({"properties": {"a": {}}}, True, True),
            ({"type": "object", "properties": {"a": {}}}, False, True),
            ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, True, True),
            ({"type": "object", "properties": {"a": {}}, "required": ["a"]}, False, False),
            ({"type": "object", "properties": {"a": {}}, "minProperties": 1}, True, False),
            ({"type": ["object", "null"], "properties": {"a": {}}}, True, False),
            ({"type": "object", "additionalProperties": {}}, True, False),
            ({"type": "array", "items": {}}, True, False),
            (True, True, False),
        ],
    )
    def test_body_is_merged_only_where_that_says_the_same(self, schema: Any, required: bool, merged: bool) -> None:
        """Merging must neither drop a constraint nor demand the parts of a body that may be left out."""
        built = operation(requestBody=body(schema, required=required))["parameters_schema"]

        assert (["a"] if merged else ["body"]) == list(built["properties"])
        assert (required and not merged) == ("body" in built.get("required", ()))

    def test_open_body_stays_open(self) -> None:
        """What a merged body says of further properties holds for the whole."""
        schema = {"properties": {"a": {}}, "additionalProperties": True}

        assert operation(requestBody=body(schema))["parameters_schema"]["additionalProperties"] is True

    def test_a_name_that_is_required_twice_is_listed_once(self) -> None:
        """JSON Schema wants the names in `required` to be distinct."""
        schema = {"properties": {"a": {}}, "required": ["a", "a"]}

        assert ["a"] == operation(requestBody=body(schema, required=True))["parameters_schema"]["required"]

    @pytest.mark.parametrize(
        ("content", "expected"),
        [
            ({"application/xml": {"schema": {"type": "string"}}, "application/json": {"schema": {"type": "array"}}}, "array"),
            ({"application/xml": {"schema": {"type": "string"}}, "application/hal+json": {"schema": {"type": "array"}}}, "array"),
            ({"text/plain": {"schema": {"type": "string"}}, "text/csv": {}}, "string"),
        ],
    )  # fmt: skip
    def test_json_body_is_preferred(self, content: Any, expected: str) -> None:
        """Of several media types the JSON one counts, else the first."""
        built = operation(requestBody={"content": content})["parameters_schema"]

        assert expected == built["properties"]["body"]["type"]

    def test_body_without_schema_or_content(self) -> None:
        """A media type without a schema takes anything; a body without content is none."""
        assert {"body": {}} == operation(requestBody={"content": {"a/b": {}}})["parameters_schema"]["properties"]
        assert {} == operation(requestBody={})["parameters_schema"]["properties"]

    def test_parameter_with_content(self) -> None:
        """A parameter can have its schema under a media type."""
        parameter = {"name": "filter", "in": "query", "content": {"application/json": {"schema": {"type": "object"}}}}

        assert {"filter": {"type": "object"}} == operation(parameters=[parameter])["parameters_schema"]["properties"]

    @pytest.mark.parametrize(
        ("parameters", "path", "words"),
        [
            ({}, "/parameters", "must be a list"),
            ([1], "/parameters/0", "must be an object"),
            ([{"in": "body", "name": "x", "schema": {}}], "/parameters/0/in", "path, query, header or cookie"),
            ([{"in": "query", "schema": {}}], "/parameters/0/name", "needs a name"),
            ([{"in": "query", "name": "a"}], "/parameters/0", 'needs a "schema"'),
            ([{"in": "query", "name": "a", "schema": {}, "required": 1}], "/parameters/0/required", "true or false"),
            ([{"in": "query", "name": "a", "schema": {}}] * 2, "/parameters/1", "there twice"),
            (
                [{"in": where, "name": name, "schema": {}} for where, name in
                 (("query", "path_a"), ("query", "a"), ("path", "a"))],
                "/parameters/2",
                "come out as 'path_a'",
            ),
        ],
    )  # fmt: skip
    def test_bad_parameters_are_refused(self, parameters: Any, path: str, words: str) -> None:
        """An ill-formed parameter, or two that cannot be told apart, is an error at its place."""
        error = refusal(api({"/x": {"get": {"parameters": parameters}}}))

        assert f"/paths/~1x/get{path}" == error.path
        assert words in error.message

    def test_body_and_a_parameter_named_body(self) -> None:
        """A body that must be called `body` beside a parameter of that name is an error, not one of the two."""
        fields = {"parameters": [{"in": "query", "name": "body", "schema": {}}], "requestBody": body({"type": "array"})}

        assert "rename that parameter" in refusal(api({"/x": {"post": fields}})).message


class TestResults:
    """Responses as one schema."""

    def test_success_is_the_result(self, library: dict[str, Any]) -> None:
        """A single successful response with JSON is the result; error responses are not."""
        assert "array" == library["api.listBooks"]["returns_schema"]["type"]
        assert "returns_schema" not in library["api.deleteBook"]

    def test_several_successes_are_alternatives(self, library: dict[str, Any]) -> None:
        """With an answer that may also have no content, null is a result as well."""
        alternatives = library["api.books_create"]["returns_schema"]["anyOf"]

        assert (2, {"type": "null"}) == (len(alternatives), alternatives[1])

    def test_equal_successes_are_one(self) -> None:
        """The same schema under two statuses is no alternative."""
        responses = {"200": response({"type": "string"}), "201": response({"type": "string"})}

        assert {"type": "string"} == operation(responses=responses)["returns_schema"]

    def test_other_media_leave_the_result_open(self) -> None:
        """Where a success may be something else than JSON, no schema is asserted."""
        responses = {"200": response({"type": "string"}), "201": response({}, "text/plain")}

        assert "returns_schema" not in operation(responses=responses)

    @pytest.mark.parametrize(("schema", "expected"), [(True, {}), (False, {"not": {}})])
    def test_boolean_schemas_become_objects(self, schema: bool, expected: Any) -> None:
        """A manifest has room for objects only."""
        assert expected == operation(responses={"200": response(schema)})["returns_schema"]


class TestSchemas:
    """References and dialects."""

    @pytest.mark.parametrize(
        ("schema", "expected"),
        [
            ({"type": "string", "nullable": True}, {"type": ["string", "null"]}),
            ({"type": "string", "nullable": False}, {"type": "string"}),
            ({"type": "string", "enum": ["a"], "nullable": True}, {"type": ["string", "null"], "enum": ["a", None]}),
            ({"type": "string", "enum": [None], "nullable": True}, {"type": ["string", "null"], "enum": [None]}),
            (
                {"nullable": True, "allOf": [{"type": "object"}], "title": "T"},
                {"title": "T", "anyOf": [{"allOf": [{"type": "object"}]}, {"type": "null"}]},
            ),
            ({"nullable": True, "title": "T"}, {"title": "T"}),
            ({"minimum": 1, "exclusiveMinimum": True}, {"exclusiveMinimum": 1}),
            ({"minimum": 1, "exclusiveMinimum": False}, {"minimum": 1}),
            ({"maximum": 1, "exclusiveMaximum": True}, {"exclusiveMaximum": 1}),
            ({"exclusiveMaximum": True}, {}),
            ({"type": "string", "example": "a"}, {"type": "string", "examples": ["a"]}),
            ({"type": "string", "examples": {"a": 1}}, {"type": "string"}),
            ({"type": "integer", "format": "int32", "x-go": 1, "xml": {}}, {"type": "integer"}),
            ({"type": "string", "format": "date"}, {"type": "string", "format": "date"}),
            ({"$ref": "#/components/schemas/S", "maxLength": 3}, {"type": "string"}),
        ],
    )
    def test_the_dialect_of_3_0_is_translated(self, schema: Any, expected: Any) -> None:
        """`nullable`, boolean bounds, `example`, and what stands beside a reference mean in 2020-12 what they meant in 3.0."""
        assert expected == converted(schema, "3.0.3", S={"type": "string"})

    @pytest.mark.parametrize(
        ("schema", "expected"),
        [
            ({"$ref": "#/components/schemas/S"}, {"type": "string"}),
            ({"$ref": "#/components/schemas/S", "title": "T"}, {"type": "string", "title": "T"}),
            (
                {"$ref": "#/components/schemas/S", "maxLength": 3, "allOf": [{"minLength": 1}]},
                {"maxLength": 3, "allOf": [{"type": "string"}, {"minLength": 1}]},
            ),
            ({"$ref": "#/components/schemas/No", "title": "T"}, {"title": "T", "allOf": [False]}),
            ({"$ref": "#/components/schemas/a~1b%20c"}, {"type": "integer"}),
            ({"$ref": "#/components/schemas/List/prefixItems/0"}, {"type": "null"}),
            ({"default": {"$ref": "x"}, "enum": [{"$ref": "y"}]}, {"default": {"$ref": "x"}, "enum": [{"$ref": "y"}]}),
            ({"properties": {"$ref": {"type": "string"}}}, {"properties": {"$ref": {"type": "string"}}}),
            ({"if": {"const": 1}, "then": False, "format": {}}, {"if": {"const": 1}, "then": False}),
            ({"exclusiveMinimum": 1, "nullable": True}, {"exclusiveMinimum": 1}),
        ],
    )
    def test_references_are_inlined(self, schema: Any, expected: Any) -> None:
        """In 3.1 a reference is replaced by its target, what stands beside it holds as well, and data is left alone."""
        schemas = {
            "S": {"type": "string"},
            "No": False,
            "a/b c": {"type": "integer"},
            "List": {"prefixItems": [{"type": "null"}]},
        }

        assert expected == converted(schema, **schemas)

    def test_recursion_becomes_definitions(self) -> None:
        """Schemas that refer to each other are kept once in $defs, whatever way they are entered, and validate."""
        schemas = {
            "Tree": {
                "type": "object",
                "properties": {"left": {"$ref": "#/components/schemas/Branch"}},
                "additionalProperties": False,
            },
            "Branch": {"anyOf": [{"type": "null"}, {"$ref": "#/components/schemas/Tree"}]},
        }
        parameters = [
            {"name": name, "in": "query", "schema": {"$ref": f"#/components/schemas/{name}"}}
            for name in ("Branch", "Tree")
        ]
        schema = Schema(operation(schemas=schemas, parameters=parameters)["parameters_schema"])

        assert schema.accepts({"Tree": {"left": {"left": None}}, "Branch": None})
        assert not schema.accepts({"Tree": {"left": {"right": None}}})
        assert not schema.accepts({"Branch": {"left": {"left": 1}}})

    def test_definitions_of_one_name_are_kept_apart(self) -> None:
        """Two recursive schemas with the same last part get names of their own."""
        document = api(
            {
                "/x": {
                    "get": {
                        "parameters": [
                            {"name": "a", "in": "query", "schema": {"$ref": "#/components/schemas/N"}},
                            {"name": "b", "in": "query", "schema": {"$ref": "#/components/x-more/N"}},
                        ]
                    }
                }
            },
            components={
                "schemas": {"N": {"items": {"$ref": "#/components/schemas/N"}, "type": "array"}},
                "x-more": {"N": {"items": {"$ref": "#/components/x-more/N"}, "type": ["array", "null"]}},
            },
        )
        schema = import_openapi(document, ID)["actions"][0]["parameters_schema"]

        assert {"N", "N_2"} == set(schema["$defs"])
        assert Schema(schema).accepts({"b": None})
        assert not Schema(schema).accepts({"a": None})

    def test_a_schema_can_refer_to_its_own_place(self) -> None:
        """A schema that stands in an operation and refers to itself there is recursive as well."""
        schema = converted({"items": {"$ref": f"#{SCHEMA_PATH.replace('get', 'post')}"}})

        assert {"items": {"$ref": "#/$defs/schema"}} == schema

    @pytest.mark.parametrize(
        "ref",
        ["https://example.com/s.json", "other.yaml#/S", "file:///etc/passwd", "//host/x", "#anchor", "", "urn:x:y"],
    )
    def test_references_out_of_the_document_are_refused(self, ref: str) -> None:
        """Only JSON pointers into the document are followed; the error names the place of any other."""
        error = refused_schema({"type": "array", "items": {"$ref": ref}})

        assert f"{SCHEMA_PATH}/items/$ref" == error.path
        assert "bundle the document" in error.message

    @pytest.mark.parametrize(
        ("schema", "place", "words"),
        [
            ({"$ref": "#/components/schemas/Gone"}, "/$ref", "points to nothing"),
            ({"$ref": "#/paths/~1x/get/parameters/7"}, "/$ref", "points to nothing"),
            ({"$ref": "#/paths/~1x/get/parameters/00"}, "/$ref", "points to nothing"),
            ({"$ref": "#/info/title/x"}, "/$ref", "points to nothing"),
            ({"$ref": 7}, "/$ref", "must be a string"),
            ({"allOf": {}}, "/allOf", "must be a list of schemas"),
            ({"properties": []}, "/properties", "must be an object of schemas"),
            ({"items": 7}, "/items", "must be an object"),
            ({"$id": "https://example.com/"}, "/$id", "cannot be inlined"),
            ({"$dynamicRef": "#x"}, "/$dynamicRef", "cannot be inlined"),
            (7, "", "must be an object"),
        ],
    )
    def test_bad_schemas_are_refused_with_their_place(self, schema: Any, place: str, words: str) -> None:
        """What is no schema, or refers to nothing, is an error at its place in the document."""
        error = refused_schema(schema)

        assert SCHEMA_PATH + place == error.path
        assert words in error.message

    def test_a_reference_to_no_schema_is_refused(self) -> None:
        """The target's place is named, not the reference's."""
        assert "/info/title" == refused_schema({"$ref": "#/info/title"}).path

    def test_invalid_schemas_are_refused(self) -> None:
        """A schema that the runtime cannot compile fails the import, with its operation."""
        error = refused_schema({"type": "string", "pattern": "(?=x)y"})

        assert str(error.path).startswith("/paths/~1x/get/")

    @pytest.mark.parametrize(
        "schemas",
        [
            {"A": {"$ref": "#/components/schemas/A"}},
            {"A": {"$ref": "#/components/schemas/B"}, "B": {"$ref": "#/components/schemas/A", "title": "B"}},
        ],
    )
    def test_a_reference_to_nothing_but_itself_is_refused(self, schemas: Any) -> None:
        """A cycle of bare references describes no value; it must not become a schema that accepts everything."""
        assert "refers to nothing but itself" in refused_schema({"$ref": "#/components/schemas/A"}, **schemas).message

    def test_parameters_in_a_circle_are_refused(self) -> None:
        """A cycle of references between parameters ends."""
        components = {
            "parameters": {"A": {"$ref": "#/components/parameters/B"}, "B": {"$ref": "#/components/parameters/A"}}
        }
        document = api({"/x": {"get": {"parameters": [{"$ref": "#/components/parameters/A"}]}}}, components=components)

        assert "leads back to itself" in refusal(document).message

    def test_reference_bombs_are_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Thirty schemas that each name the next one twice would be a thousand million; the count stops in time."""
        monkeypatch.setattr(references, "MAX_VALUES", 20_000)
        ref = "#/components/schemas/S"
        bomb = {
            f"S{n}": {"properties": {"a": {"$ref": f"{ref}{n + 1}"}, "b": {"$ref": f"{ref}{n + 1}"}}} for n in range(30)
        }

        assert "20,000 values" in refused_schema({"$ref": f"{ref}0"}, S30={"type": "string"}, **bomb).message

    def test_long_texts_count_as_well(self) -> None:
        """A few long descriptions used a thousand times are refused like a million small values."""
        schemas = {"S": {"description": "x" * 100_000, "default": {"y": [1]}}}
        wide = {"properties": {f"p{n}": {"$ref": "#/components/schemas/S"} for n in range(1000)}}

        assert "200,000 values" in refused_schema(wide, **schemas).message

    def test_inlining_cannot_nest_without_bound(self) -> None:
        """A chain of references that would nest deeper than a manifest may is refused, without recursing over it."""
        ref = "#/components/schemas/S"
        chain = {f"S{n}": {"items": {"$ref": f"{ref}{n + 1}"}} for n in range(2000)}

        assert "nests deeper" in refused_schema({"$ref": f"{ref}0"}, S2000={}, **chain).message

    def test_long_cycles_are_found_without_recursion(self) -> None:
        """A ring of two thousand schemas is explored in a loop, and every schema of it is checked."""
        ref = "#/components/schemas/S"
        ring = {
            f"S{n}": {"type": "object", "properties": {"n": {"$ref": f"{ref}{(n + 1) % 2000}"}}} for n in range(2000)
        }
        parameters = [{"name": "p", "in": "query", "schema": {"$ref": f"{ref}0"}}]
        schema = operation(schemas=ring, parameters=parameters)["parameters_schema"]
        value: Any = 1
        for _ in range(60):
            value = {"n": value}

        assert 2000 == len(schema["$defs"])
        assert not Schema(schema).accepts({"p": value})
        assert Schema(schema).accepts({"p": {"n": {}}})

    def test_only_what_is_recursive_stays_a_reference(self) -> None:
        """Schemas around a cycle are inlined; of two cycles that share a schema everything in them is kept."""
        ref = "#/components/schemas/"
        schemas = {
            "Outer": {"properties": {"a": {"$ref": f"{ref}A"}, "leaf": {"$ref": f"{ref}Leaf"}}},
            "A": {"properties": {"b": {"$ref": f"{ref}B"}, "c": {"$ref": f"{ref}C"}, "leaf": {"$ref": f"{ref}Leaf"}}},
            "B": {"properties": {"a": {"$ref": f"{ref}A"}}},
            "C": {"properties": {"b": {"$ref": f"{ref}B"}, "leaf": {"$ref": f"{ref}Leaf"}}},
            "Leaf": {"type": "string"},
        }
        parameters = [{"name": "p", "in": "query", "schema": {"$ref": f"{ref}Outer"}}]
        schema = operation(schemas=schemas, parameters=parameters)["parameters_schema"]

        assert {"A", "B", "C"} == set(schema["$defs"])
        assert {"a": {"$ref": "#/$defs/A"}, "leaf": {"type": "string"}} == schema["properties"]["p"]["properties"]


NAMES = ("A", "B", "C")
VALUES = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("xy"), inner, max_size=2),
    max_leaves=6,
)
SCHEMAS = st.recursive(
    st.sampled_from(NAMES).map(lambda name: {"$ref": name})
    | st.sampled_from(NAMES).map(lambda name: {"$ref": name, "maxLength": 1})
    | st.sampled_from(["null", "integer", "string", "object", "array"]).map(lambda kind: {"type": kind})
    | st.booleans(),
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from("xy"), inner, max_size=2).map(lambda found: {"properties": found}),
        st.lists(inner, min_size=1, max_size=2).map(lambda found: {"anyOf": found}),
        inner.map(lambda found: {"items": found, "additionalProperties": found}),
        inner.map(lambda found: {"not": found}),
    ),
    max_leaves=4,
)


def pointing_to(schema: Any, prefix: str) -> Any:
    """The schema with its references below `prefix`."""
    if isinstance(schema, list):
        return [pointing_to(item, prefix) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: prefix + value if key == "$ref" else pointing_to(value, prefix)  # none of the properties is called $ref
        for key, value in schema.items()
    }


@given(st.tuples(SCHEMAS, SCHEMAS, SCHEMAS), st.lists(VALUES, min_size=1, max_size=5))
def test_inlined_schemas_accept_what_the_originals_accept(schemas: tuple[Any, Any, Any], values: list[Any]) -> None:
    """Whatever refers to whatever, a value satisfies the inlined schema exactly when it satisfies the schema as written."""
    objects = [{"allOf": [schema]} if isinstance(schema, bool) else schema for schema in schemas]
    definitions = {name: pointing_to(schema, "#/$defs/") for name, schema in zip(NAMES, objects)}
    try:
        written = Schema({"$ref": "#/$defs/A", "$defs": definitions})
    except SchemaProblem as problem:
        assume("applies itself to the same value" not in problem.message)
        raise
    components = {n: pointing_to(s, "#/components/schemas/") for n, s in zip(NAMES, schemas)}
    document = api(
        {"/x": {"get": {"responses": {"200": response({"$ref": "#/components/schemas/A"})}}}},
        components={"schemas": components},
    )
    try:
        manifest = import_openapi(document, ID)
    except InvalidAtlasManifest as error:
        assume("refers to nothing but itself" not in error.message)
        raise
    inlined = Schema(manifest["actions"][0]["returns_schema"])

    assert [written.accepts(value) for value in values] == [inlined.accepts(value) for value in values]


class TestDocuments:
    """What is no OpenAPI 3 document."""

    @pytest.mark.parametrize(
        ("document", "path", "words"),
        [
            ([], None, "must be an object"),
            ({}, "/openapi", "no OpenAPI 3.0 or 3.1 document"),
            ({"swagger": "2.0", "paths": {}}, "/swagger", "Swagger 2.0 is not supported"),
            (api(openapi="3.2.0"), "/openapi", "no OpenAPI 3.0 or 3.1 document"),
            (api(openapi="2.0"), "/openapi", "no OpenAPI 3.0 or 3.1 document"),
            ({"openapi": 3.1}, "/openapi", "must be a string"),
            (api(jsonSchemaDialect="http://json-schema.org/draft-07/schema#"), "/jsonSchemaDialect", "another dialect"),
            (api({}), "/paths", "nothing to import"),
            ({"openapi": "3.1.0"}, "/paths", "nothing to import"),
            (api({"/x": {"summary": "no operation"}}), "/paths", "nothing to import"),
            (api(info=[]), "/info", "must be an object"),
            (api(info={"title": 7}), "/info/title", "must be a string"),
            (api({"/x": 7}), "/paths/~1x", "must be an object"),
            (api({"/x": {"get": 7}}), "/paths/~1x/get", "must be an object"),
            (api({"/x": {"get": {"operationId": "///"}}}), None, None),
            (api({"/x": {"get": {"operationId": "..."}}}), "/paths/~1x/get/operationId", "cannot be part"),
            (api({"/x": {"get": {"deprecated": 1}}}), "/paths/~1x/get/deprecated", "true or false"),
            (api({"/x": {"get": {"operationId": "a"}}, "/y": {"get": {"operationId": "a"}}}), "/paths/~1y/get",
             "GET /y and GET /x both come out as action 'api.a'"),
        ],
    )  # fmt: skip
    def test_bad_documents_are_refused_with_their_place(
        self, document: Any, path: str | None, words: str | None
    ) -> None:
        """Anything that is no document with distinct operations is one error that says where and what to do."""
        if words is None:
            assert "api._" == import_openapi(document, ID)["actions"][0]["action_id"]
            return
        error = refusal(document)

        assert path == error.path
        assert words in error.message

    def test_atlas_id_has_the_published_form(self) -> None:
        """The atlas id is checked as for every atlas."""
        with pytest.raises(InvalidAtlasManifest, match="reverse domain notation"):
            import_openapi(api(), "API")

    @given(st.data())
    def test_damaged_documents_never_raise_anything_else(self, data: st.DataObject) -> None:
        """With any part replaced by any JSON value the document is imported and loads, or is refused, nothing else."""
        document = json.loads(json.dumps(LIBRARY))
        place: Any = document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            key = data.draw(st.sampled_from(keys))
            if not isinstance(place[key], (dict, list)) or not place[key] or data.draw(st.integers(0, 4)) == 0:
                break
            place = place[key]
        ref = st.sampled_from(["#/components/schemas/Category", "#/components/schemas/Book", "#/paths", "#", "#/x"])
        values = (
            st.none()
            | st.booleans()
            | st.integers(-2, 2)
            | st.text(max_size=3)
            | ref.map(lambda target: {"$ref": target})
        )
        place[key] = data.draw(st.recursive(values, lambda inner: st.lists(inner, max_size=2)))
        try:
            manifest = import_openapi(document, ID)
        except InvalidAtlasManifest:
            return
        load_atlas(manifest)
