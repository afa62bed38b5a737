#!/usr/bin/env python3
"""Writes the schema documents of this folder, and the table that embeds them.

    python3 schemas/generate.py FACTS.json

FACTS.json holds, for every public schema, what is fact about it: identifier,
title, database, indexes, parents, property types, required members. From each
entry one JSON Schema 2020-12 document is written to
`schemas/<first label of the host>/<path of the identifier>`, and
`crates/client/src/schema/documents.rs` lists them all.

The output depends on the input alone, so a second run changes nothing.
Standard library only.
"""

import json
import sys
from pathlib import Path
from urllib.parse import urljoin, urlsplit

DIALECT = "https://json-schema.org/draft/2020-12/schema"
HERE = Path(__file__).resolve().parent
TABLE = HERE.parent / "crates/client/src/schema/documents.rs"


def absolute(uri, value):
    """The value with every `$ref` that is relative to a host made absolute."""
    if isinstance(value, dict):
        return {
            key: urljoin(uri, item)
            if key == "$ref" and isinstance(item, str) and not item.startswith("#")
            else absolute(uri, item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [absolute(uri, item) for item in value]
    return value


def local_definitions(value):
    """The names behind every `#/$defs/<name>` the value points at."""
    found = set()
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref" and isinstance(item, str) and item.startswith("#/$defs/"):
                found.add(item.removeprefix("#/$defs/"))
            else:
                found |= local_definitions(item)
    elif isinstance(value, list):
        for item in value:
            found |= local_definitions(item)
    return found


def document(uri, facts):
    """One schema document, in the member order that the published ones use."""
    out = {"$schema": DIALECT, "$id": uri, "title": facts["title"]}
    if "titlePlural" in facts:
        out["titlePlural"] = facts["titlePlural"]
    out["type"] = "object"

    database = {}
    if "database" in facts:
        database["name"] = facts["database"]
    if "indexes" in facts:
        database["indexes"] = facts["indexes"]
    if database:
        out["database"] = database

    own = {"properties": absolute(uri, facts.get("properties", {}))}
    if "required" in facts:
        own["required"] = facts["required"]

    parents = [{"$ref": urljoin(uri, parent)} for parent in facts.get("extends", [])]
    if parents:
        out["allOf"] = [*parents, own]
    else:
        out.update(own)

    # The facts name these definitions but not their shape. Anything goes,
    # because a shape of our own could refuse a record that others accept.
    definitions = local_definitions(own)
    if definitions:
        out["$defs"] = {
            name: {"$comment": "shape not recorded: any value is accepted"}
            for name in sorted(definitions)
        }
    return out


def path_of(uri):
    """`https://common.schemas…/a/v1/schema.json` -> `common/a/v1/schema.json`."""
    parts = urlsplit(uri)
    return Path(parts.hostname.split(".")[0]) / parts.path.lstrip("/")


def table(uris):
    """The Rust table that embeds the documents."""
    rows = "".join(
        f'    (\n        "{uri}",\n        include_str!("../../../../schemas/{path_of(uri)}"),\n    ),\n'
        for uri in uris
    )
    return (
        "//! The embedded schema documents. Written by `schemas/generate.py`: do not edit.\n\n"
        "/// Identifier and text of every embedded document, ordered by identifier.\n"
        "#[rustfmt::skip]\n"
        f"pub(super) const DOCUMENTS: &[(&str, &str)] = &[\n{rows}];\n"
    )


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    schemas = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))["schemas"]
    for uri, facts in schemas.items():
        target = HERE / path_of(uri)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(document(uri, facts), indent=2, ensure_ascii=False)
        target.write_text(text + "\n", encoding="utf-8")
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(table(sorted(schemas)), encoding="utf-8")
    print(f"{len(schemas)} documents")


if __name__ == "__main__":
    main()
