#!/usr/bin/env python3
"""Makes cases.json: JSON schemas with documents that they allow and that they do not, as judged by PyPI jsonschema.

    make_schema.py                 writes cases.json beside this script (needs: pip install "jsonschema[format]")
    make_schema.py --suite FOLDER  writes to standard output, in the same form, the cases of a folder of the JSON Schema
                                   Test Suite (tests/draft2020-12 in the source archive of jsonschema):
                                   build/tests/unit/schema_vectors --suite FILE reports on them

"valid" documents have to be generated in every spelling that is written here (compact, with blanks, indented);
"invalid" ones never. "narrower" ones are valid, but docs/CONSTRAINED.md says that they are not generated.
"""
import json
import os
import sys
from importlib.metadata import version

from jsonschema import Draft202012Validator

LONG = "x" * 300
ADDRESS = {"type": "object", "properties": {"street": {"type": "string"}, "zip": {"type": "string", "pattern": "^[0-9]{5}$"}},
           "required": ["street", "zip"], "additionalProperties": False}
TREE = {"$ref": "#/$defs/node", "$defs": {"node": {
    "type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
    "required": ["v"], "additionalProperties": False}}}
SHAPES = {"oneOf": [
    {"type": "object", "properties": {"kind": {"const": "circle"}, "r": {"type": "number", "minimum": 0}},
     "required": ["kind", "r"], "additionalProperties": False},
    {"type": "object", "properties": {"kind": {"const": "rect"}, "w": {"type": "number"}, "h": {"type": "number"}},
     "required": ["kind", "w", "h"], "additionalProperties": False},
    {"type": "null"}]}

# schema, valid, invalid, narrower
CASES = [
    ({}, [None, True, 0, -1.5, "a", [], {}, [1, [2, {"a": None}]], {"a": {"b": [True, False]}, "é": "ü€😀"}], [], []),
    (True, [1, {"x": 1}], [], []),
    ({"type": "null"}, [None], [0, False, "null", []], []),
    ({"type": "boolean"}, [True, False], [None, 0, "true"], []),
    ({"type": "string"}, ["", "abc", "\"\\\b\f\n\r\t\x01", "é€😀", LONG], [1, None, ["a"]], []),
    ({"type": "integer"}, [0, 1, -1, 10, 999999999999999999, -123456789], ["1", 1.5, None, True], [1.0, 10**18]),
    ({"type": "number"}, [0, -0.5, 1.25, 3, 1e10, -2.5e-7, 123456789.125], ["1", None, [1]], [1e100]),
    ({"type": ["string", "null"]}, ["x", None], [1, True, []], []),
    ({"type": ["integer", "number"]}, [1, 1.5], ["1"], []),
    ({"type": "array"}, [[], [1], ["a", {"b": []}]], [{}, "[]", None], []),
    ({"type": "object"}, [{}, {"a": 1}, {"a": {"b": [{}]}}], [[], "{}", None], []),
    # strings
    ({"type": "string", "minLength": 2, "maxLength": 4}, ["ab", "abcd", "é€", "😀😀", "\n\""], ["a", "abcde", ""], []),
    ({"type": "string", "minLength": 3}, ["abc", LONG], ["", "ab", "😀😀"], []),
    ({"type": "string", "maxLength": 3}, ["", "abc", "😀😀😀"], ["abcd"], []),
    ({"minLength": 2}, ["ab"], ["a"], [1, None]),
    ({"type": "string", "pattern": "^[a-z]+[0-9]{2,3}$"}, ["a12", "abc123"], ["12", "a1", "a1234", "A12", "a12 "], []),
    ({"type": "string", "pattern": "b+"}, ["b", "abba", "bb"], ["", "aca"], []),
    ({"type": "string", "pattern": "^ab"}, ["ab", "abc"], ["cab", "a"], []),
    ({"type": "string", "pattern": "z$"}, ["z", "abz"], ["za", ""], []),
    ({"type": "string", "pattern": "^(?:foo|bar)?-?\\d{1,}\\.[^x\\s]$"}, ["foo-12.a", "7.\"", "bar1.é", "3.\\"],
     ["foo-.a", "1.x", "1. ", "baz1.a"], []),
    ({"type": "string", "pattern": "^a$|^b"}, ["a", "b", "bc"], ["ab", "c"], []),
    ({"type": "string", "pattern": "^\\w+@\\w+\\.(com|org)$"}, ["me@here.com", "a_1@b.org"], ["me@here", "@b.org", "a@b.net"], []),
    ({"type": "string", "pattern": "^[\\u00e0-\\u00ff\\\\\\]\\-]{1,2}$"}, ["é", "\\]", "-"], ["a", "éée", ""], []),
    ({"type": "string", "pattern": "^.{2}$", "minLength": 2}, ["ab", "😀é"], ["a", "abc", "a\n"], []),
    ({"type": "string", "pattern": "^\\n\\t\\x41$"}, ["\n\tA"], ["nA", "\n\tB"], []),
    ({"type": "string", "pattern": "^(a|b(c|d)*?)+$"}, ["a", "bcd", "abca"], ["c", ""], []),
    ({"type": "string", "format": "date"}, ["2024-02-29", "2023-12-31", "2000-02-29", "0001-01-01"],
     ["2023-02-29", "1900-02-29", "2023-13-01", "2023-04-31", "2023-00-10", "2023-1-1", "x"], []),
    ({"type": "string", "format": "time"}, ["12:00:00Z", "23:59:59.125+05:30", "00:00:00-23:59"],
     ["24:00:00Z", "12:60:00Z", "12:00Z", "12:00:00+24:00"], []),
    ({"type": "string", "format": "date-time"}, ["2024-02-29T12:00:00Z", "1985-04-12T23:20:50.52-08:00"],
     ["2024-02-30T12:00:00Z", "2024-02-29 12:00:00", "2024-02-29T25:00:00Z"], []),
    ({"type": "string", "format": "uuid"}, ["123e4567-e89b-12d3-a456-426614174000", "00000000-0000-0000-0000-000000000000"],
     ["123e4567e89b12d3a456426614174000", "123e4567-e89b-12d3-a456-42661417400", "g23e4567-e89b-12d3-a456-426614174000"], []),
    ({"type": "string", "format": "ipv4"}, ["127.0.0.1", "255.249.199.10"], ["256.0.0.1", "1.2.3", "01.2.3.4"], []),
    ({"type": "string", "format": "color-of-the-sky"}, ["anything"], [1], []),
    # numbers
    ({"type": "integer", "minimum": 0, "maximum": 100}, list(range(0, 101, 7)) + [0, 9, 10, 99, 100], [-1, 101, 1000, 200], []),
    ({"type": "integer", "minimum": -12, "maximum": 345}, [-12, -9, -1, 0, 7, 99, 100, 299, 300, 345], [-13, -20, 346, 350, 400, 1000], []),
    ({"type": "integer", "exclusiveMinimum": 5, "exclusiveMaximum": 8}, [6, 7], [5, 8, 0, 66], []),
    ({"type": "integer", "minimum": 1.5, "maximum": 3.5}, [2, 3], [1, 4], []),
    ({"type": "integer", "exclusiveMinimum": 1.5}, [2, 3, 10**17], [1, 0, -2], []),
    ({"type": "integer", "minimum": 123456789}, [123456789, 123456790, 200000000, 999999999999999999], [123456788, 99999999, 0, -5], []),
    ({"type": "integer", "maximum": -7}, [-7, -8, -10, -99, -100], [-6, 0, 7, -1], []),
    ({"type": "integer", "minimum": 9223372036854775800}, [9223372036854775800, 9223372036854775807], [9223372036854775799, 5], []),
    ({"type": "integer", "multipleOf": 1}, [1, -5], [1.5], []),
    ({"type": "integer", "minimum": 41, "maximum": 41}, [41], [4, 1, 40, 42, 411], []),
    ({"type": "number", "minimum": 0, "maximum": 1}, [0, 1, 0.5, 0.125, 1.0, 0.0], [-0.5, 1.5, 2, -1, 10, 1.01], []),
    ({"type": "number", "minimum": 0}, [0, 0.25, 7, 10.5, 123456], [-1, -0.001], []),
    ({"type": "number", "exclusiveMinimum": 0}, [0.25, 1, 20.5], [0, -1, 0.0], []),
    ({"type": "number", "exclusiveMinimum": -2, "exclusiveMaximum": 12}, [-1.5, -1, 0, 0.5, 11.75, 11, -1.999], [-2, 12, -2.5, 12.5, 100], []),
    ({"type": "number", "minimum": -3, "maximum": -1}, [-3, -2, -1, -1.5, -2.999, -3.0], [-0.5, -3.5, 0, 1, 2, -4], []),
    ({"type": "number", "maximum": 10}, [10, -20, 9.5, -0.5, 0], [10.5, 11, 100], []),
    ({"minimum": 5, "maximum": 6}, [5, 5.5, 6], [4, 7], ["x", None]),
    # arrays
    ({"type": "array", "items": {"type": "integer"}}, [[], [1], [1, 2, 3]], [["a"], [1, "b"], [1.5]], []),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}, [[1, 2], [1, 2, 3]], [[], [1], [1, 2, 3, 4]], []),
    ({"type": "array", "minItems": 1}, [[None], [1, 2]], [[]], []),
    ({"type": "array", "maxItems": 0}, [[]], [[1]], []),
    ({"type": "array", "maxItems": 1}, [[], ["x"]], [[1, 2]], []),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}]}, [[], [1], [1, "a"], [1, "a", None]],
     [["a"], [1, 2]], []),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False}, [[], [1], [1, "a"]],
     [[1, "a", 2], ["a"]], []),
    ({"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
     [[1, "a"], [1, "a", True], [1, "a", True, False]], [[1], [1, "a", 1], [1, "a", True, True, True]], []),
    ({"type": "array", "prefixItems": [{"type": "null"}, False], "minItems": 1}, [[None]], [[], [None, 1]], []),
    ({"type": "array", "items": False}, [[]], [[1]], []),
    ({"items": {"type": "array", "items": {"type": "string"}, "minItems": 1}}, [[], [["a"], ["b", "c"]]], [[[]], [["a"], 1]], [3]),
    # objects
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "null"}}, "required": ["b"]},
     [{"b": "x"}, {"a": 1, "b": "x"}, {"b": "x", "c": None}, {"a": 1, "b": "x", "c": None}],
     [{}, {"a": 1}, {"a": "x", "b": "x"}, {"b": 1}, {"b": "x", "c": 1}],
     [{"b": "x", "a": 1}, {"b": "x", "d": 1}]),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}, "c": {"type": "integer"}}, "additionalProperties": False},
     [{}, {"a": 1}, {"b": 1}, {"c": 1}, {"a": 1, "c": 2}, {"b": 1, "c": 2}, {"a": 1, "b": 2, "c": 3}], [{"d": 1}, {"a": "x"}, {"a": 1, "d": 1}], []),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"], "additionalProperties": False},
     [{"a": 1, "b": 2}], [{"a": 1}, {"b": 2}, {}], [{"b": 2, "a": 1}]),
    ({"type": "object", "properties": {"a": {"type": "integer"}}, "additionalProperties": {"type": "string"}},
     [{}, {"a": 1}, {"x": "y"}, {"a": 1, "x": "y", "z": ""}, {"aa": "x", "": "y", "\n": "n", "\"": "q"}],
     [{"a": "x"}, {"x": 1}, {"a": 1, "x": None}], []),
    ({"type": "object", "properties": {"name": {"type": "integer"}, "nam": {"type": "integer"}, "né\"e": {"type": "integer"}, "other": {"type": "integer"}},
      "required": ["other"], "additionalProperties": True},
     [{"other": 1}, {"name": 1, "nam": 2, "né\"e": 3, "other": 4}, {"other": 1, "names": "x", "na": "x", "n": "x", "né": "x", "x": {}}],
     [{"other": "x"}, {"name": "x", "other": 1}, {"other": 1, "nam": "x"}, {"other": 1, "né\"e": "x"}], []),
    ({"type": "object", "additionalProperties": {"type": "integer"}}, [{}, {"a": 1, "b": 2}], [{"a": "x"}], []),
    ({"type": "object", "additionalProperties": False}, [{}], [{"a": 1}], []),
    ({"type": "object", "required": ["a", "b"]}, [{"a": 1, "b": {}}, {"a": 1, "b": 2, "c": 3}], [{}, {"a": 1}], [{"b": 1, "a": 1}]),
    ({"type": "object", "properties": {"a": True, "b": False}, "required": ["a"]}, [{"a": []}], [{"a": 1, "b": 1}, {}], []),
    ({"type": "object", "properties": {"a": {"type": "null"}, "b": {"type": "null"}}, "minProperties": 1, "additionalProperties": False},
     [{"a": None}, {"b": None}, {"a": None, "b": None}], [{}, {"c": None}], []),
    ({"type": "object", "minProperties": 1, "additionalProperties": {"type": "integer"}}, [{"a": 1}, {"a": 1, "b": 2}], [{}, {"a": "x"}], []),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "maxProperties": 2}, [{}, {"a": 1, "b": 2}], [{"a": 1, "b": 1, "c": 1}], []),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "required": ["a"], "maxProperties": 1}, [{"a": 1}], [{}, {"a": 1, "b": 2}], []),
    ({"type": "object", "properties": {"a": {}, "b": {}}, "minProperties": 2, "additionalProperties": False}, [{"a": 1, "b": 2}], [{}, {"a": 1}], []),
    ({"properties": {"a": {"type": "integer"}}}, [{}, {"a": 1}], [{"a": "x"}], [1, "x"]),
    ({"type": "object", "properties": {"home": ADDRESS, "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3}}, "required": ["home"],
      "additionalProperties": False},
     [{"home": {"street": "Main St. 1", "zip": "12345"}}, {"home": {"street": "", "zip": "00000"}, "tags": ["a", "b"]}],
     [{"home": {"street": "x"}}, {"home": {"street": "x", "zip": "1234"}}, {"tags": []}], []),
    # values
    ({"const": "a"}, ["a"], ["b", 1, None], []),
    ({"const": {"a": [1, None], "b": {}}}, [{"a": [1, None], "b": {}}], [{}, {"a": [1, None]}, {"a": [1], "b": {}}], []),
    ({"enum": ["red", "green", 3, None, 1.5, True, [], {"x": "\n\"é"}]}, ["red", "green", 3, None, 1.5, True, [], {"x": "\n\"é"}],
     ["re", "reds", 4, False, [1], {}], []),
    ({"type": "string", "enum": ["a", "b", 3]}, ["a", "b"], [3, "c"], []),
    ({"type": "integer", "enum": [1, 5, 10], "minimum": 4}, [5, 10], [1, 7], []),
    ({"enum": ["a", "bb", "ccc"], "maxLength": 2}, ["a", "bb"], ["ccc"], []),
    # combinations
    ({"anyOf": [{"type": "string", "maxLength": 2}, {"type": "integer"}]}, ["ab", 7], ["abc", 1.5, None], []),
    ({"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "anyOf": [{"required": ["a"]}, {"required": ["b"]}]},
     [{"a": 1}, {"b": 1}, {"a": 1, "b": 2}], [{}], []),
    ({"anyOf": [{"type": "integer", "minimum": 10}, False, {"type": "integer", "maximum": 0}]}, [10, 11, 0, -5], [5, 1, 9], []),
    ({"oneOf": [{"type": "string"}, {"type": "integer"}, {"type": "array", "items": {"type": "boolean"}}]}, ["x", 1, [True]], [None, [1]], []),
    (SHAPES, [{"kind": "circle", "r": 2.5}, {"kind": "rect", "w": 1, "h": 2}, None],
     [{"kind": "circle"}, {"kind": "rect", "r": 1}, {"kind": "square"}, {"kind": "circle", "r": -1}], []),
    ({"oneOf": [{"enum": [1, 2]}, {"enum": [3]}]}, [1, 2, 3], [4], []),
    ({"type": "object", "properties": {"kind": {"type": "string"}}, "required": ["kind"],
      "oneOf": [{"properties": {"kind": {"const": "a"}, "x": {"type": "integer"}}, "required": ["x"]},
                {"properties": {"kind": {"const": "b"}, "y": {"type": "string"}}}]},
     [{"kind": "a", "x": 1}, {"kind": "b"}, {"kind": "b", "y": "z"}], [{"kind": "a"}, {"kind": "c"}, {"kind": "b", "y": 1}], []),
    ({"allOf": [{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"properties": {"b": {"type": "string"}}, "required": ["b"]}]},
     [{"a": 1, "b": "x"}], [{"a": 1}, {"b": "x"}, {"a": "x", "b": "x"}], []),
    ({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 8}, {"type": ["integer", "string"], "exclusiveMaximum": 8}]}, [3, 7], [2, 8, "x"], []),
    ({"allOf": [{"properties": {"a": {"minimum": 3}}}, {"properties": {"a": {"type": "integer", "maximum": 5}}, "required": ["a"]}], "type": "object"},
     [{"a": 3}, {"a": 5}], [{"a": 2}, {"a": 6}, {}, {"a": 3.5}], []),
    ({"allOf": [{"enum": [1, 2, 3]}, {"enum": [2, 3, 4]}, {"const": 3}]}, [3], [1, 2, 4], []),
    ({"allOf": [{"type": "object", "properties": {"a": {}}, "additionalProperties": False}, {"properties": {"b": {}}}]}, [{}, {"a": 1}],
     [{"b": 1}, {"a": 1, "b": 1}], []),
    ({"allOf": [{"anyOf": [{"minimum": 5}, {"maximum": 0}]}, {"anyOf": [{"multipleOf": 1}, {"maximum": 7}]}], "type": "integer"}, [5, 0, 100], [3], []),
    ({"type": "object", "properties": {"a": {"type": "string"}}, "allOf": [{"required": ["a"]}]}, [{"a": "x"}], [{}, {"a": 1}], []),
    ({"type": "array", "prefixItems": [{"type": "integer"}], "items": False, "allOf": [{"minItems": 1}]}, [[1]], [[], [1, 2], ["a"]], []),
    ({"allOf": [{"enum": [1, 2.0, [3, {"a": 1}]]}, {"enum": [1.0, 2, [3.0, {"a": 1.0}]]}]}, [1, 2.0, [3, {"a": 1}]], [3], []),
    # references
    (TREE, [{"v": 1}, {"v": 1, "kids": [{"v": 2, "kids": [{"v": 3}]}, {"v": 4, "kids": []}]}], [{}, {"v": 1, "kids": [{}]}, {"v": 1, "kids": 1}], []),
    ({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"type": "integer"}}}, [1], ["x"], []),
    ({"type": "object", "properties": {"next": {"$ref": "#"}, "v": {"type": "null"}}, "additionalProperties": False},
     [{}, {"next": {"next": {"v": None}}}, {"next": {}, "v": None}], [{"next": 1}, {"next": {"x": 1}}], []),
    ({"$defs": {"p/q~r %": {"type": "boolean"}}, "type": "array", "items": {"$ref": "#/$defs/p~1q~0r%20%25"}}, [[], [True]], [[1]], []),
    ({"definitions": {"pos": {"type": "integer", "minimum": 1}}, "type": "object", "properties": {"n": {"$ref": "#/definitions/pos", "maximum": 9}},
      "required": ["n"]}, [{"n": 1}, {"n": 9}], [{"n": 0}, {"n": 10}], []),
    ({"$ref": "#/$defs/list", "$defs": {"list": {"anyOf": [{"type": "null"}, {"type": "object", "properties": {"head": {"type": "integer"},
      "tail": {"$ref": "#/$defs/list"}}, "required": ["head", "tail"], "additionalProperties": False}]}}},
     [None, {"head": 1, "tail": None}, {"head": 1, "tail": {"head": 2, "tail": None}}], [{}, {"head": 1}, {"head": 1, "tail": 5}], []),
    ({"$defs": {"base": {"type": "object", "properties": {"id": {"type": "integer"}, "child": {"$ref": "#/$defs/base"}}, "required": ["id"]}},
      "allOf": [{"$ref": "#/$defs/base"}, {"properties": {"child": {"$ref": "#/$defs/base", "description": "d"}, "name": {"type": "string"}}, "required": ["name"]}]},
     [{"id": 1, "name": "x"}, {"id": 1, "child": {"id": 2, "child": {"id": 3}}, "name": "x"}], [{"id": 1}, {"id": 1, "child": {}, "name": "x"}], []),
    # what changes nothing
    ({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "https://example.com/x", "title": "t", "description": "d", "default": 3,
      "examples": [1], "$comment": "c", "type": "integer", "deprecated": True, "x-order": 3}, [1], ["x"], []),
    ({"type": "array", "uniqueItems": False, "items": {"type": "integer", "description": "n"}}, [[1, 1]], [["x"]], []),
    ({"type": "integer", "minLength": 5, "properties": {"a": False}, "pattern": "^x$", "uniqueItems": True}, [1, 2], ["xxxxxx"], []),
]

# schema, status, parts of the message
ERRORS = [
    ({"type": "object", "properties": {"a": {"type": "array", "uniqueItems": True}}}, "UNSUPPORTED", ["#/properties/a", "\"uniqueItems\""]),
    ({"not": {"type": "string"}}, "UNSUPPORTED", ["\"not\""]),
    ({"if": {}, "then": False}, "UNSUPPORTED", ["\"if\""]),
    ({"type": "object", "patternProperties": {"^a": {}}}, "UNSUPPORTED", ["\"patternProperties\""]),
    ({"type": "object", "propertyNames": {"maxLength": 3}}, "UNSUPPORTED", ["\"propertyNames\""]),
    ({"type": "object", "dependentRequired": {"a": ["b"]}}, "UNSUPPORTED", ["\"dependentRequired\""]),
    ({"type": "object", "unevaluatedProperties": False}, "UNSUPPORTED", ["\"unevaluatedProperties\""]),
    ({"type": "array", "contains": {"type": "integer"}}, "UNSUPPORTED", ["\"contains\""]),
    ({"type": "integer", "multipleOf": 5}, "UNSUPPORTED", ["\"multipleOf\""]),
    ({"type": "number", "minimum": 0.5}, "UNSUPPORTED", ["\"minimum\"", "whole"]),
    ({"type": "object", "properties": {"a": {}, "b": {}, "c": {}}, "maxProperties": 2, "additionalProperties": False}, "UNSUPPORTED", ["\"maxProperties\""]),
    ({"type": "object", "minProperties": 2}, "UNSUPPORTED", ["\"minProperties\""]),
    ({"type": "string", "pattern": "^(?=a)b$"}, "UNSUPPORTED", ["\"pattern\"", "lookahead", "byte 1"]),
    ({"type": "string", "pattern": "(a)\\1"}, "UNSUPPORTED", ["\"pattern\"", "escape", "byte 3"]),
    ({"type": "string", "pattern": "\\bword"}, "UNSUPPORTED", ["\"pattern\"", "byte 0"]),
    ({"type": "string", "pattern": "\\p{L}"}, "UNSUPPORTED", ["\"pattern\""]),
    ({"type": "string", "pattern": "(^a)"}, "UNSUPPORTED", ["\"pattern\"", "^ or $"]),
    ({"type": "string", "pattern": "(a"}, "UNSUPPORTED", ["\"pattern\"", "not closed"]),
    ({"type": "string", "pattern": "a)"}, "UNSUPPORTED", ["\"pattern\"", "closes nothing"]),
    ({"type": "string", "pattern": "[a"}, "UNSUPPORTED", ["\"pattern\"", "not closed"]),
    ({"type": "string", "pattern": "a{9999}"}, "UNSUPPORTED", ["\"pattern\"", "8192"]),
    ({"type": "string", "pattern": "^a+$", "maxLength": 5}, "UNSUPPORTED", ["\"maxLength\"", "\"pattern\""]),
    ({"type": "string", "format": "date", "pattern": "1"}, "UNSUPPORTED", ["\"pattern\"", "format"]),
    ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "UNSUPPORTED", ["\"oneOf\"", "0 and 1"]),
    ({"oneOf": [{"enum": [1]}, {"enum": [1.0]}]}, "UNSUPPORTED", ["\"oneOf\""]),
    ({"allOf": [{"prefixItems": [{}]}, {"items": {"type": "null"}}]}, "UNSUPPORTED", ["\"prefixItems\""]),
    ({"oneOf": [{"minimum": 1}, {"type": "string"}]}, "UNSUPPORTED", ["\"oneOf\""]),
    ({"$ref": "other.json"}, "UNSUPPORTED", ["\"$ref\"", "other.json"]),
    ({"$ref": "#name"}, "UNSUPPORTED", ["\"$ref\"", "#name"]),
    ({"$defs": {"a": {"$id": "x", "$ref": "#/$defs/b", "$defs": {"b": {}}}}, "$ref": "#/$defs/a"}, "UNSUPPORTED", ["\"$id\""]),
    ({"propertyNames": False}, "UNSUPPORTED", ["\"propertyNames\""]),
    ({"$dynamicRef": "#x"}, "UNSUPPORTED", ["\"$dynamicRef\""]),
    ({"$ref": "#/$defs/none"}, "FORMAT", ["\"$ref\"", "#/$defs/none", "nowhere"]),
    ({"$ref": "#"}, "FORMAT", ["\"$ref\""]),
    ({"allOf": [{"$ref": "#"}]}, "FORMAT", ["leads to itself"]),
    ({"anyOf": [{"$ref": "#"}, {"type": "null"}]}, "FORMAT", ["left-recursive"]),
    ({"type": "objekt"}, "FORMAT", ["\"type\"", "objekt"]),
    ({"type": 3}, "FORMAT", ["\"type\""]),
    ({"type": "object", "properties": {"x/y": {"type": "array", "items": {"type": "strin"}}}}, "FORMAT", ["#/properties/x~1y/items", "strin"]),
    ({"type": "object", "properties": []}, "FORMAT", ["\"properties\""]),
    ({"type": "object", "required": "a"}, "FORMAT", ["\"required\""]),
    ({"type": "array", "minItems": -1}, "FORMAT", ["\"minItems\""]),
    ({"type": "string", "minLength": 1.5}, "FORMAT", ["\"minLength\""]),
    ({"type": "string", "pattern": 1}, "FORMAT", ["\"pattern\""]),
    ({"type": "integer", "minimum": "1"}, "FORMAT", ["\"minimum\""]),
    ({"enum": 1}, "FORMAT", ["\"enum\""]),
    ({"anyOf": []}, "FORMAT", ["\"anyOf\""]),
    ({"anyOf": [1]}, "FORMAT", ["#/anyOf/0", "object or a boolean"]),
    ({"type": "object", "properties": {"a": 1}}, "FORMAT", ["#/properties/a", "object or a boolean"]),
    ({"allOf": []}, "FORMAT", ["\"allOf\""]),
    ([], "FORMAT", ["object or a boolean"]),
    (False, "ARGUMENT", ["no value satisfies"]),
    ({"type": "string", "const": 1}, "ARGUMENT", ["no value satisfies"]),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "ARGUMENT", ["no value satisfies"]),
    ({"allOf": [{"type": "string"}, {"type": "integer"}]}, "ARGUMENT", ["no value satisfies"]),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "ARGUMENT", ["no value satisfies"]),
    ({"type": "object", "required": ["a"], "additionalProperties": False}, "ARGUMENT", ["no value satisfies"]),
    ({"type": "array", "items": False, "minItems": 1}, "ARGUMENT", ["no value satisfies"]),
    ({"enum": []}, "ARGUMENT", ["no value satisfies"]),
    ({"type": "object", "properties": {"self": {"$ref": "#"}}, "required": ["self"]}, "FORMAT", ["never"]),
    ({"type": "string", "minLength": 100000}, "LIMIT", ["\"minLength\"", "8192"]),
    ({"type": "array", "minItems": 100000}, "LIMIT", ["\"minItems\"", "65535"]),
]


def spellings(document):
    made = [json.dumps(document, ensure_ascii=False, separators=(",", ":")), json.dumps(document, ensure_ascii=False),
            json.dumps(document, ensure_ascii=False, indent=2)]
    return sorted(set(made), key=made.index)


def check(schema):
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def own():
    cases = []
    for schema, valid, invalid, narrower in CASES:
        judge = check(schema)
        if isinstance(schema, dict):
            Draft202012Validator.check_schema(schema)
        for documents, want in ((valid, True), (invalid, False), (narrower, True)):
            for document in documents:
                if judge.is_valid(document) != want:
                    sys.exit("%s is %svalid by %s" % (json.dumps(document), "in" if want else "", json.dumps(schema)))
        case = {"schema": schema}
        for name, documents in (("valid", valid), ("invalid", invalid), ("narrower", narrower)):
            case[name] = [text for document in documents for text in spellings(document)]
        cases.append(case)
    errors = [{"schema": schema, "status": status, "message": parts} for schema, status, parts in ERRORS]
    return {"cases": cases, "errors": errors}


def suite(folder):
    cases = []
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".json"):
            continue
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            for group in json.load(file):
                case = {"schema": group["schema"], "name": "%s: %s" % (name, group["description"]), "valid": [], "invalid": []}
                for test in group["tests"]:
                    case["valid" if test["valid"] else "invalid"] += spellings(test["data"])
                cases.append(case)
    return {"cases": cases, "errors": []}


def main():
    if len(sys.argv) == 3 and sys.argv[1] == "--suite":
        json.dump(suite(sys.argv[2]), sys.stdout, ensure_ascii=False)
        return
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "cases.json")
    made = own()
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"made_with": "jsonschema %s",\n"cases": [\n' % version("jsonschema"))
        file.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in made["cases"]))
        file.write('\n],\n"errors": [\n')
        file.write(",\n".join(json.dumps(case, ensure_ascii=False) for case in made["errors"]))
        file.write("\n]}\n")
    print("%d schemas, %d documents, %d errors" % (len(made["cases"]), sum(
        len(case["valid"]) + len(case["invalid"]) + len(case["narrower"]) for case in made["cases"]), len(made["errors"])))


main()
