"""The service described in OpenAPI 3.1, for programs that make clients or pages of such descriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from tinygrad_mnist._version import __version__
from tinygrad_mnist.serve.limits import Limits

Schema = dict[str, Any]

JSON: Final = "application/json"


def document(model: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """Return the description of a service.

    Parameters
    ----------
    model : mapping
        What `GET /model` answers.
    limits : Limits
        What requests may take.

    Returns
    -------
    dict
        Plain data.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Recognition of pictures by {model['name']}",
            "version": __version__,
            "description": "Answers what class of a trained model a picture belongs to.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "paths": {
            "/": {"get": _file("The page to draw on", "text/html")},
            "/model": {"get": _data("The model", "Model", dict(model))},
            "/predict": {"post": _predict(model, limits)},
            "/corrections": {"post": _correct(model, limits)},
            "/healthz": {
                "get": _data("Health", "Health", {"status": "ok", "version": model["version"]}, 503)
            },
            "/metrics": {"get": _file("Counters in the text format of Prometheus", "text/plain")},
            "/openapi.json": {"get": _file("This description", JSON)},
        },
        "components": {"schemas": _schemas(model, limits)},
    }


# ---- operations --------------------------------------------------------------------------------------------


def _predict(model: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    picture = {"type": "string", "contentMediaType": "image/png"}
    seven = [[255, 255, 255, 255, 0], [0, 0, 0, 255, 0], [0, 0, 255, 0, 0], [0, 0, 255, 0, 0]]
    return {
        "summary": "Recognise pictures",
        "description": "Takes one picture or several, in any of the media types. They are scaled and placed "
        "as those were that the model was trained on.",
        "operationId": "predict",
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "description": "1 for an explanation with each prediction, of at most "
                f"{limits.explained} pictures",
                "schema": {"type": "integer", "enum": [0, 1], "default": 0},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/png": {"schema": picture},
                "image/jpeg": {"schema": {"type": "string", "contentMediaType": "image/jpeg"}},
                JSON: {
                    "schema": _reference("Arrays"),
                    "examples": {
                        "one": {"value": seven},
                        "named": {"value": {"image": seven}},
                        "several": {"value": {"images": [seven, seven]}},
                    },
                },
                "multipart/form-data": {
                    "schema": {
                        "type": "object",
                        "description": "One or more files of PNG or JPEG, by any names.",
                        "additionalProperties": picture,
                    }
                },
            },
        },
        "responses": _with_errors(
            {"200": _answer("A prediction for each picture, in their order", "Predictions")},
            *(400, 403, 405, 408, 413, 415, 422, 503),
        ),
    }


def _correct(model: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    return {
        "summary": "Say what a drawing is, and have it kept",
        "description": "Drawings are kept only where the service was started with --keep.",
        "operationId": "correct",
        "parameters": [
            {
                "name": "class",
                "in": "query",
                "required": True,
                "description": "What was drawn",
                "schema": {"type": "string", "enum": list(model["classes"])},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {"image/png": {"schema": {"type": "string", "contentMediaType": "image/png"}}},
        },
        "responses": _with_errors(
            {"201": _answer("It is kept", "Kept")}, *(400, 403, 405, 408, 413, 415, 422, 503, 507)
        ),
    }


def _data(summary: str, schema: str, example: Mapping[str, Any], *statuses: int) -> dict[str, Any]:
    """Return a GET that answers JSON."""
    content = {JSON: {"schema": _reference(schema), "example": dict(example)}}
    return {
        "summary": summary,
        "operationId": f"get{schema}",
        "responses": _with_errors({"200": {"description": summary, "content": content}}, *statuses),
    }


def _file(summary: str, kind: str) -> dict[str, Any]:
    """Return a GET that answers a text."""
    return {
        "summary": summary,
        "responses": _with_errors({"200": {"description": summary, "content": {kind: {}}}}),
    }


def _answer(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, "content": {JSON: {"schema": _reference(schema)}}}


def _with_errors(responses: dict[str, Any], *statuses: int) -> dict[str, Any]:
    """Return responses with those of errors; every operation has 400 and 500."""
    for status in sorted({400, 500, *statuses}):
        description, example = ERRORS[status]
        responses[str(status)] = {
            "description": description,
            "content": {JSON: {"schema": _reference("Error"), "example": {"error": example}}},
        }
        if status == 503:
            responses["503"]["headers"] = {
                "Retry-After": {"description": "Seconds to wait", "schema": {"type": "integer"}}
            }
    return responses


def _reference(schema: str) -> Schema:
    return {"$ref": f"#/components/schemas/{schema}"}


ERRORS: Final[dict[int, tuple[str, str]]] = {
    400: ("The request or its body is no HTTP, JSON or form", "the body is empty"),
    403: ("It may not be done", "drawings are not kept; the service has to be started with --keep DIR"),
    405: ("The path takes other methods, which Allow names", "PUT is no method of /predict"),
    408: ("The request did not arrive in time", "the body did not arrive within 15 seconds; send it again"),
    413: ("There is more than is taken", "the body has more than 8,388,608 bytes; scale the picture down"),
    415: ("The body is of another media type", "the body is text/plain; send image/png or image/jpeg"),
    422: ("The pictures cannot be used", "the picture is blank: it shows no digit"),
    500: ("A fault of the service", "an error inside the service, which its log tells more about"),
    507: ("As many drawings are kept as may be", "10,000 drawings are kept, and at most 10,000 are"),
    503: ("There is no room now", "256 requests are being answered already; try again in a second"),
}
"""What the errors mean, by status, and an example of each."""


# ---- schemas -----------------------------------------------------------------------------------------------


_TEXT: Final[Schema] = {"type": "string"}
_WHOLE: Final[Schema] = {"type": "integer"}
_NUMBER: Final[Schema] = {"type": "number"}
_SHARE: Final[Schema] = {"type": "number", "minimum": 0, "maximum": 1}


def _schemas(model: Mapping[str, Any], limits: Limits) -> dict[str, Schema]:
    height, width = model["image_shape"]
    return {
        "Arrays": _arrays(limits),
        "Error": _object(error=_TEXT),
        "Health": _object(status={"const": "ok"}, version=_TEXT),
        "Kept": _object(kept={"const": True}),
        "Model": _model(),
        "Predictions": _object(
            model=_object(name=_TEXT, version=_TEXT),
            classes=_array(_TEXT, least=2),
            predictions=_array(_reference("Prediction"), least=1),
        ),
        "Prediction": _prediction(list(model["classes"]), height, width),
        "Explanation": _explanation(height, width),
    }


def _arrays(limits: Limits) -> Schema:
    """Return the schema of a body of JSON."""
    pixel = {"type": "number", "minimum": 0, "maximum": 65535}
    picture = _array(_array(pixel, least=1, most=limits.side), least=1, most=limits.side)
    pictures = _array(picture, least=1, most=limits.pictures)
    return {
        "description": "Rows of numbers, 0 for black and 255, or 1, for white; or several such pictures.",
        "oneOf": [picture, pictures, _object(image=picture), _object(images=pictures)],
    }


def _model() -> Schema:
    """Return the schema of what is told of the model."""
    return _object(
        name=_TEXT,
        version={"type": "string", "pattern": "^[0-9a-f]{12}$"},
        classes=_array(_TEXT, least=2),
        image_shape=_array(_WHOLE, least=2, most=2),
        crop=_WHOLE,
        preparation={"enum": ["mnist", "uci", "whole"]},
        page={"enum": ["dark", "light", None]},
        threshold=_SHARE,
        keeps={"type": "boolean"},
        note={"type": ["string", "null"]},
    )


def _prediction(classes: list[str], height: int, width: int) -> Schema:
    """Return the schema of the answer to one picture."""
    return {
        **_object(
            **{"class": {"type": "string", "enum": classes}},
            index=_WHOLE,
            probability=_SHARE,
            sure={"type": "boolean", "description": "Whether the probability reaches the threshold"},
            probabilities=_array(_SHARE, least=len(classes), most=len(classes)),
            image={
                "description": "The picture as the model was shown it",
                **_rows({"type": "integer", "minimum": 0, "maximum": 255}, height, width),
            },
            placement={
                "description": "A matrix [[a, b, c], [d, e, f]]: the point (x, y) of the image lies at "
                "(a x + b y + c, d x + e y + f) of the picture that was given, in pixels",
                **_rows(_NUMBER, 2, 3),
            },
            explanation=_reference("Explanation"),
        ),
        "required": [
            *("class", "index", "probability", "sure", "probabilities", "image", "placement"),
        ],
    }


def _explanation(height: int, width: int) -> Schema:
    """Return the schema of what an answer depends on."""
    return _object(
        saliency={
            "description": "The gradient of the class's score with respect to the standardised picture",
            **_rows(_NUMBER, height, width),
        },
        first_layer={
            "description": "What the first layer sees; null where that is no picture",
            "oneOf": [
                {"type": "null"},
                _object(
                    module=_TEXT,
                    kind=_TEXT,
                    units=_array(
                        _object(unit=_WHOLE, value=_NUMBER, map=_array(_array(_NUMBER, least=1), least=1)),
                        most=24,
                    ),
                ),
            ],
        },
    )


def _object(**properties: Schema) -> Schema:
    """Return the schema of an object that has all of these and nothing else."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Schema, *, least: int = 0, most: int | None = None) -> Schema:
    found: Schema = {"type": "array", "items": items, "minItems": least}
    return found if most is None else {**found, "maxItems": most}


def _rows(items: Schema, height: int, width: int) -> Schema:
    """Return the schema of a matrix."""
    return _array(_array(items, least=width, most=width), least=height, most=height)
