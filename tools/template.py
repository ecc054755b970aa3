"""The SAM template: its parameters, and where its functions' code stands."""

import json
import re
from dataclasses import dataclass

import yaml

from terminal import Failure

ENVIRONMENT_PREFIX = "LIVE_AGENT_"


class TemplateLoader(yaml.SafeLoader):
    """Reads CloudFormation's short forms (!Ref, !Sub, …) as plain data: only Parameters and Metadata are used here."""


def _plain(loader, _suffix, node):
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_scalar(node)


TemplateLoader.add_multi_constructor("!", _plain)


@dataclass
class Parameter:
    name: str
    spec: dict
    label: str = ""

    @property
    def secret(self):
        return str(self.spec.get("NoEcho", False)).lower() == "true"

    @property
    def default(self):
        return None if "Default" not in self.spec else str(self.spec["Default"])

    @property
    def allowed(self):
        return [str(value) for value in self.spec.get("AllowedValues", [])]

    @property
    def variable(self):
        snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", self.name)
        return ENVIRONMENT_PREFIX + snake.upper()

    def problem(self, value):
        """Returns why `value` is invalid, without the value itself, or None."""
        spec = self.spec
        constraint = spec.get("ConstraintDescription")
        if self.allowed and value not in self.allowed:
            return constraint or f"must be one of: {', '.join(self.allowed)}"
        if spec.get("Type") == "Number":
            try:
                number = float(value)
            except ValueError:
                return constraint or "must be a number"
            if "MinValue" in spec and number < float(spec["MinValue"]):
                return constraint or f"must be at least {spec['MinValue']}"
            if "MaxValue" in spec and number > float(spec["MaxValue"]):
                return constraint or f"must be at most {spec['MaxValue']}"
        if "MinLength" in spec and len(value) < int(spec["MinLength"]):
            return constraint or f"must have at least {spec['MinLength']} characters"
        if "MaxLength" in spec and len(value) > int(spec["MaxLength"]):
            return constraint or f"must have at most {spec['MaxLength']} characters"
        pattern = spec.get("AllowedPattern")
        # CloudFormation applies the pattern to each item of a list.
        items = value.split(",") if spec.get("Type") == "CommaDelimitedList" else [value]
        if pattern and not all(re.fullmatch(pattern, item) for item in items):
            return constraint or f"must match {pattern}"
        return None


# Where a function's code stands: (what precedes it, the function's name).
CODE = re.compile(r"^(\s*CodeUri:\s*)(?:\./)?(?:functions|target/lambda)/([\w-]+)(?:/bootstrap\.zip)?\s*$", re.MULTILINE)


class Template:
    def __init__(self, path):
        self.text = path.read_text(encoding="utf-8")
        data = yaml.load(self.text, TemplateLoader)
        labels = data.get("Metadata", {}).get("AWS::CloudFormation::Interface", {}).get("ParameterLabels", {})
        self.parameters = {
            name: Parameter(name, spec, labels.get(name, {}).get("default", name))
            for name, spec in data["Parameters"].items()
        }
        self.reserved = sum(
            int(value) for value in re.findall(r"^\s*ReservedConcurrentExecutions:.*?(\d+)", self.text, re.MULTILINE)
        )

    @property
    def functions(self):
        """The functions' names."""
        return [match[2] for match in CODE.finditer(self.text)]

    def with_zips(self, folder):
        """Returns the template's text with every function's code at `folder`/<function>/bootstrap.zip."""

        def code(match):
            path = folder / match[2] / "bootstrap.zip"
            if not path.is_file():
                raise Failure(f"{path} does not exist: the build did not make it")
            return f"{match[1]}{json.dumps(str(path))}"

        text, count = CODE.subn(code, self.text)
        if count != len(re.findall(r"^\s*CodeUri:", self.text, re.MULTILINE)):
            raise Failure("template.yaml has a CodeUri that is neither functions/<name> nor target/lambda/<name>/bootstrap.zip")
        return text
