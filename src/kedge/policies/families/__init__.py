"""The families of few-step models: a light record for each in the catalogue, and a file of mathematics each."""

from kedge.policies.families.backbones import Backbone
from kedge.policies.families.catalogue import AUTO, FAMILIES, default_guidance, find, network_calls, register
from kedge.policies.families.detect import detect_kind
from kedge.policies.families.spec import Conversion, Family, Layout, ModelFiles

__all__ = [
    "AUTO",
    "FAMILIES",
    "Backbone",
    "Conversion",
    "Family",
    "Layout",
    "ModelFiles",
    "default_guidance",
    "detect_kind",
    "find",
    "network_calls",
    "register",
]
