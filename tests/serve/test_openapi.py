"""The description of the service says what it does: each answer fits the schema of its route and status."""

import asyncio
import re
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import pytest

from tests.serve.pictures import PNG, stroke
from tinygrad_mnist.serve.application import Application
from tinygrad_mnist.serve.batching import Batcher
from tinygrad_mnist.serve.limits import Limits
from tinygrad_mnist.serve.metrics import Metrics
from tinygrad_mnist.serve.recognition import Recogniser

TYPES: dict[str, tuple[type, ...]] = {
    "array": (list,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
    "number": (int, float),
    "object": (dict,),
    "string": (str,),
}
KNOWN = {
    *("$ref", "additionalProperties", "const", "contentMediaType", "default", "description", "enum", "items"),
    *("maxItems", "maximum", "minItems", "minimum", "oneOf", "pattern", "properties", "required", "type"),
}


def faults(value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any], at: str = "$") -> list[str]:
    """Return where a value does not fit a schema, of the words of JSON Schema that the service uses."""
    assert set(schema) <= KNOWN, set(schema) - KNOWN
    if "$ref" in schema:
        return faults(value, schemas[schema["$ref"].rpartition("/")[2]], schemas, at)
    if "oneOf" in schema:
        fitting = [one for one in schema["oneOf"] if not faults(value, one, schemas, at)]
        return [] if len(fitting) == 1 else [f"{at} fits {len(fitting)} of {len(schema['oneOf'])}"]
    if "const" in schema or "enum" in schema:
        return [] if value in schema.get("enum", [schema.get("const")]) else [f"{at} is {value!r}"]
    named = schema.get("type", list(TYPES))
    kinds = [named] if isinstance(named, str) else named
    is_right = any(isinstance(value, TYPES[kind]) for kind in kinds)
    if not is_right or (isinstance(value, bool) and "boolean" not in kinds):
        return [f"{at} is {type(value).__name__}, not {named}"]
    return list(faults_inside(value, schema, schemas, at))


def faults_inside(
    value: Any, schema: Mapping[str, Any], schemas: Mapping[str, Any], at: str
) -> Iterator[str]:
    if isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{at} is {value!r}"
    if isinstance(value, int | float) and not (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
    ):
        yield f"{at} is {value}"
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{at} has {len(value)} items"
        for index, item in enumerate(value):
            yield from faults(item, schema["items"], schemas, f"{at}[{index}]")
    if isinstance(value, dict):
        properties = schema["properties"]
        yield from (f"{at} lacks {name}" for name in schema.get("required", ()) if name not in value)
        for name, item in value.items():
            if name in properties:
                yield from faults(item, properties[name], schemas, f"{at}.{name}")
            elif schema.get("additionalProperties") is False:
                yield f"{at} has {name}"


@pytest.fixture(scope="module")
def app(recogniser: Recogniser) -> Iterator[Application]:
    with Batcher(recogniser) as batcher:
        yield Application(recogniser, batcher, Metrics("small", recogniser.version), Limits(pictures=3))


def ask(app: Application, method: str, path: str, **options: Any) -> httpx.Response:
    async def run() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://a", trust_env=False) as client:
            return await client.request(method, path, **options)

    return asyncio.run(run())


@pytest.fixture(scope="module")
def document(app: Application) -> Any:
    return ask(app, "GET", "/openapi.json").json()


ARRAY = stroke(12, 10).tolist()
REQUESTS = [
    ("GET", "/", {}, 200),
    ("GET", "/model", {}, 200),
    ("GET", "/healthz", {}, 200),
    ("GET", "/metrics", {}, 200),
    ("GET", "/openapi.json", {}, 200),
    ("POST", "/predict", {"content": PNG, "headers": {"content-type": "image/png"}}, 200),
    ("POST", "/predict?explain=1", {"json": [ARRAY, ARRAY]}, 200),
    ("POST", "/predict", {"json": [[1, "a"]]}, 422),
    ("POST", "/predict", {"json": [ARRAY] * 4}, 413),
    ("POST", "/predict", {"content": b"[", "headers": {"content-type": "application/json"}}, 400),
    ("POST", "/predict", {}, 415),
    ("POST", "/predict", {"headers": {"sec-fetch-site": "cross-site"}}, 403),
    ("POST", "/corrections?class=7", {}, 403),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), REQUESTS)
def test_answers_fit_their_description(
    app: Application, document: Any, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    answer = ask(app, method, path, **options)
    assert answer.status_code == status
    operation = document["paths"][path.partition("?")[0]][method.lower()]
    contents = operation["responses"][str(status)]["content"]
    kind = answer.headers["content-type"].partition(";")[0]
    assert kind in contents
    if schema := contents[kind].get("schema"):
        assert faults(answer.json(), schema, document["components"]["schemas"]) == []


def test_the_routes_that_are_described_are_those_that_there_are(app: Application, document: Any) -> None:
    described = {(path, method.upper()) for path, methods in document["paths"].items() for method in methods}
    files = {path for path in app.routes if path.count(".") and path != "/openapi.json"}
    assert described == {
        (path, method) for path, methods in app.routes.items() if path not in files for method in methods
    }


def test_a_prediction_has_all_that_is_described_but_an_explanation(document: Any) -> None:
    schema = document["components"]["schemas"]["Prediction"]
    assert set(schema["properties"]) - set(schema["required"]) == {"explanation"}


def test_examples_fit_their_schemas(document: Any) -> None:
    schemas = document["components"]["schemas"]
    count = 0
    for methods in document["paths"].values():
        for operation in methods.values():
            contents = [each.get("content", {}) for each in operation["responses"].values()]
            contents.append(operation.get("requestBody", {}).get("content", {}))
            for content in (one for some in contents for one in some.values()):
                examples = [one["value"] for one in content.get("examples", {}).values()]
                for example in [*examples, *([content["example"]] if "example" in content else [])]:
                    assert faults(example, content["schema"], schemas) == []
                    count += 1
    assert count > 20


def test_references_lead_somewhere(document: Any) -> None:
    names = re.findall(r"'#/components/schemas/(\w+)'", str(document))
    assert set(names) <= set(document["components"]["schemas"])
    assert set(document["components"]["schemas"]) <= set(names)


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (True, {"type": "integer"}),
        (1.5, {"type": "integer"}),
        ([], {"type": "array", "items": {}, "minItems": 1}),
        ({"a": 1}, {"type": "object", "properties": {}, "additionalProperties": False}),
        ({}, {"type": "object", "properties": {}, "required": ["a"]}),
        (2, {"type": "number", "maximum": 1}),
        ("a", {"type": "string", "pattern": "^[0-9]$"}),
        (None, {"oneOf": [{"type": "string"}, {"type": "integer"}]}),
        ("c", {"enum": ["a", "b"]}),
    ],
)
def test_what_does_not_fit_is_found(value: Any, schema: dict[str, Any]) -> None:
    assert len(faults(value, schema, {})) == 1
