"""Answers against the published tables of the API."""

import json

from .server import ROOT

KINDS = {"string": str, "date": str, "datetime": str, "uint64": int, "int64": int, "bool": bool}


def table(product):
    """Actions and types of `kms-2019-01-18` and its like."""
    return json.loads((ROOT / "api" / f"{product}.json").read_text())


def check(value, fields, types, where):
    """Names, types and nullability of the members of an answer, recursively."""
    known = {f["name"]: f for f in fields}
    assert set(value) <= set(known), (where, set(value) - set(known))
    for name, field in known.items():
        path, kind = f"{where}.{name}", field["type"]
        assert name in value or field.get("nullable"), f"{path} is missing"
        got = value.get(name)
        if got is None:
            assert field.get("nullable"), f"{path} is null"
        elif kind.startswith("["):
            assert isinstance(got, list), path
            for item in got:
                if kind[1:-1] in types:
                    check(item, types[kind[1:-1]], types, path)
                else:
                    assert type(item) is KINDS[kind[1:-1]], path
        elif kind in types:
            check(got, types[kind], types, path)
        else:
            assert type(got) is KINDS[kind], (path, got)
