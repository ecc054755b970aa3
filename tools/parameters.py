"""Parameter values that were given: by option, environment, file, or saved in samconfig.toml."""

import difflib
import json
import os
import shlex
import tempfile
from pathlib import Path

import tomlkit

from terminal import Failure

CAPABILITIES = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]


def read_parameter_file(path):
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read {path}: {getattr(error, 'strerror', None) or 'it is not UTF-8'}", 2) from None
    if text.lstrip().startswith(("{", "[")):
        try:
            data = json.loads(text)
        except ValueError as error:
            raise Failure(f"{path} is not valid JSON (line {error.lineno})", 2) from None
        if isinstance(data, dict):
            data = data.get("Parameters", data)
        try:
            if isinstance(data, list):
                data = {item["ParameterKey"]: item["ParameterValue"] for item in data}
            return {name: ",".join(map(str, value)) if isinstance(value, list) else str(value)
                    for name, value in data.items()}
        except (AttributeError, KeyError, TypeError):
            raise Failure(f"{path} must hold an object of names and values", 2) from None
    values = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            name, equal, value = line.strip().partition("=")
            if not equal:
                raise Failure(f"{path}, line {number}: expected KEY=VALUE", 2)
            if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
                value = value[1:-1]
            values[name.strip()] = value
    return values


def key_values(text, option):
    """Splits 'a=1 b="two words"' as a shell does. A name without "=" gets None."""
    try:
        words = shlex.split(text or "")
    except ValueError as error:
        raise Failure(f"{option} cannot be read: {error}", 2) from None
    pairs = [word.partition("=") for word in words]
    return {name: value if equal else None for name, equal, value in pairs}


def given_values(template, arguments):
    """Returns (values, names to ask again) from --parameters, the environment and --set."""
    problems, ask_again = [], set()
    values = read_parameter_file(arguments.parameters) if arguments.parameters else {}
    for parameter in template.parameters.values():
        if parameter.variable in os.environ:
            values[parameter.name] = os.environ[parameter.variable]
    for name, value in key_values(arguments.set, "SET").items():
        parameter = template.parameters.get(name)
        if value is None:
            if parameter and name not in values:
                ask_again.add(name)
            elif not parameter:
                values[name] = ""
        elif parameter and parameter.secret:
            problems.append(
                f"{name} is secret and other users can read command lines. Use SET={name} to be asked for it, "
                f"or the variable {parameter.variable}.")
        else:
            values[name] = value
    if arguments.arch:
        if values.get("Architecture", arguments.arch) != arguments.arch:
            problems.append(f"ARCH is {arguments.arch}, but Architecture is set to another value")
        values["Architecture"] = arguments.arch
    for name, value in values.items():
        parameter = template.parameters.get(name)
        if parameter is None:
            close = difflib.get_close_matches(name, template.parameters, 1)
            problems.append(f"the template has no parameter {name}" + (f"; did you mean {close[0]}?" if close else ""))
        elif not (value == "" and parameter.default == "") and parameter.problem(value):
            problems.append(f"{name} {parameter.problem(value)}")
    if problems:
        raise Failure("Nothing was changed:\n" + "\n".join(f"  {problem}" for problem in problems), 2)
    return values, ask_again


class Saved:
    """The stack's section of samconfig.toml, as `sam … --config-env <stack>` reads it. Holds no secret."""

    def __init__(self, path, stack):
        self.path, self.stack = path, stack
        try:
            self.document = tomlkit.parse(path.read_text(encoding="utf-8")) if path.exists() else tomlkit.document()
        except (OSError, ValueError) as error:
            raise Failure(f"cannot read {path}: {error}", 2) from None
        section = self.document.get(stack, {}).get("deploy", {}).get("parameters", {})
        self.options = {name: str(section[name]) for name in ("region", "profile", "role_arn", "tags") if name in section}
        overrides = section.get("parameter_overrides", "")
        self.values = {name: value or "" for name, value in key_values(str(overrides), str(path)).items()}

    def write(self, options, values):
        parameters = tomlkit.table()
        parameters["stack_name"] = self.stack
        for name, value in options.items():
            if value:
                parameters[name] = value
        parameters["capabilities"] = " ".join(CAPABILITIES)
        parameters["parameter_overrides"] = " ".join(f"{name}={quote(value)}" for name, value in values.items())
        self.document.setdefault("version", 0.1)
        stack = self.document.setdefault(self.stack, tomlkit.table(is_super_table=True))
        stack.setdefault("deploy", tomlkit.table(is_super_table=True))["parameters"] = parameters
        # A rename is atomic: an interrupted run leaves the old file or the new one.
        handle, temporary = tempfile.mkstemp(dir=self.path.parent, prefix=".samconfig-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(tomlkit.dumps(self.document))
            os.replace(temporary, self.path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def quote(value):
    """Quotes a value as SAM's parser and shlex both read it."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
