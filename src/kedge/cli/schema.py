"""``kedge schema``: what editors want to know of a recipe."""

from __future__ import annotations

import json


def schema_command() -> None:
    """Print the JSON schema of a recipe. Editors complete and check YAML by it.

    For example: kedge schema > kedge.schema.json, and as the first line of a recipe
    # yaml-language-server: $schema=kedge.schema.json
    """
    from kedge.config.json_schema import json_schema

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
