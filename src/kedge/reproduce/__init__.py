"""Tables and figures by one command each: ``kedge reproduce TARGET``."""

from __future__ import annotations

from kedge.registry import Registry

TARGETS = Registry(
    "target",
    {
        "hacking": "kedge.reproduce.hacking:HACKING",
    },
)
