"""The copy of template.yaml that is deployed here: the same text, but for a listed set of relaxations.

A mutant is made of the same copy, read as data.
"""

import re

import yaml

# (what is relaxed, pattern, replacement). Each must change the text: one that no longer applies fails.
LOOPBACK = r"http://127\\.0\\.0\\.1:[0-9]+"
RELAXATIONS = [
    ("Endpoint and AccessTokenUrl may be http on the loopback interface",
     r'AllowedPattern: "https://\.\+"', r"AllowedPattern: 'https://.+|http://127\\.0\\.0\\.1:[0-9]+\\S*'"),
    ("BotEndpoint and CallbackUrl may be http on the loopback interface",
     r"AllowedPattern: '\(https://\\S\+\)\?'", r"AllowedPattern: '(https://\\S+|http://127\\.0\\.0\\.1:[0-9]+\\S*)?'"),
    ("our own addresses are those of the tests' reverse proxy, over http",
     r'"https://\$\{Host\}/', '"http://${Host}/'),
    ("API Gateway's host name is the proxy's, with the API's id as the first segment of the path",
     r"\$\{Api\}\.execute-api\.\$\{AWS::Region\}\.\$\{AWS::URLSuffix\}", "{bridge}/${{Api}}"),
]


def relaxed(text, bridge_port, zips):
    """Returns (the text, what was changed). `zips` gives the S3 location of each function's code."""
    changes = []
    for what, pattern, replacement in RELAXATIONS:
        if "{bridge}" in replacement:
            replacement = replacement.format(bridge=f"127.0.0.1:{bridge_port}")
        text, count = re.subn(pattern, replacement, text)
        if not count:
            raise AssertionError(f"template.yaml no longer has what this relaxation changes: {what}")
        changes.append(f"{what} ({count} places)")
    text, count = re.subn(
        r"^(\s*CodeUri:\s*)target/lambda/([\w-]+)/bootstrap\.zip\s*$", lambda found: found[1] + zips[found[2]], text,
        flags=re.MULTILINE)
    if count != len(zips):
        raise AssertionError(f"template.yaml has {count} functions and there are {len(zips)} zips")
    changes.append(f"CodeUri is the debug build's zip in MiniStack's S3 ({count} places)")
    return text, changes


# ---- the template as data ------------------------------------------------------------------------------------------


class Loader(yaml.SafeLoader):
    """Reads CloudFormation's short forms as the long ones."""


def _long_form(loader, suffix, node):
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_scalar(node)
    if suffix in ("Ref", "Condition"):
        return {suffix: value}
    if suffix == "GetAtt" and isinstance(value, str):
        value = value.split(".", 1)
    return {f"Fn::{suffix}": value}


Loader.add_multi_constructor("!", _long_form)
# A date in AssumeRolePolicyDocument stays a text.
Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def as_data(text):
    return yaml.load(text, Loader)
