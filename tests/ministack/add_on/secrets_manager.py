"""The gaps of Secrets Manager: the secrets of a stack, and their rotation."""

import contextvars
import json
import string
import threading
import time

from .entries import entry


@entry(
    "secret-ref",
    "Ref of AWS::SecretsManager::Secret is the secret's name instead of its ARN",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-secretsmanager-secret.html"
    "#aws-resource-secretsmanager-secret-return-values",
)
def secret_ref():
    from ministack.services import secretsmanager
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::Secret"]
    create, update, delete = handlers["create"], handlers["update"], handlers["delete"]

    def name_of(arn):
        return secretsmanager._resolve(arn)[0] or arn

    def create_by_arn(logical_id, props, stack_name):
        _, attributes = create(logical_id, props, stack_name)
        return attributes["Arn"], attributes

    def update_by_arn(arn, old, new, stack_name, logical_id=None):
        _, attributes = update(name_of(arn), old, new, stack_name, logical_id)
        return attributes["Arn"], attributes

    def delete_by_arn(arn, props):
        delete(name_of(arn), props)

    handlers.update(create=create_by_arn, update=update_by_arn, delete=delete_by_arn)


@entry(
    "generated-secret",
    "GenerateSecretString ignores ExcludePunctuation",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-properties-secretsmanager-secret-generatesecretstring.html",
)
def generated_secret():
    from ministack.services.cloudformation import provisioners

    generate = provisioners._sm_secret_string

    def without_punctuation(props):
        generation = props.get("GenerateSecretString")
        if generation and provisioners._cfn_bool(generation.get("ExcludePunctuation")):
            excluded = generation.get("ExcludeCharacters", "") + string.punctuation
            props = {**props, "GenerateSecretString": {**generation, "ExcludeCharacters": excluded}}
        return generate(props)

    provisioners._sm_secret_string = without_punctuation


# The four steps, in the order in which Secrets Manager invokes the function.
ROTATION_STEPS = ("createSecret", "setSecret", "testSecret", "finishSecret")


@entry(
    "rotation",
    "RotateSecret copies the current value and never invokes the rotation function",
    "https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html",
)
def rotation():
    from ministack.core.responses import error_response_json, json_response, new_uuid
    from ministack.services import lambda_svc, secretsmanager

    def may_invoke(function, secret):
        """Whether the function's policy allows Secrets Manager to invoke it for this secret."""
        for statement in function.get("policy", {}).get("Statement", []):
            principal = statement.get("Principal", {})
            condition = json.dumps(statement.get("Condition", {}))
            if (principal.get("Service") == "secretsmanager.amazonaws.com"
                    and ("SourceArn" not in condition or secret["ARN"] in condition)):
                return True
        return False

    def run(function, config, secret, version):
        """Invokes the steps one after another. A step that fails ends the rotation; its version stays pending."""
        record = lambda_svc._execution_record_for_config(function, config)
        for step in ROTATION_STEPS:
            event = {"Step": step, "SecretId": secret["ARN"], "ClientRequestToken": version}
            result = lambda_svc._execute_function_with_config_scope(record, event)
            if result.get("error"):
                return
        secret["LastRotatedDate"] = int(time.time())

    def rotate(data):
        _, secret = secretsmanager._resolve(data.get("SecretId"))
        if not secret:
            return error_response_json(
                "ResourceNotFoundException", "Secrets Manager can't find the specified secret.", 400)
        arn = data.get("RotationLambdaARN") or secret.get("RotationLambdaARN")
        function, config, _ = lambda_svc._get_func_record_for_ref(arn or "")
        if function is None or not may_invoke(function, secret):
            return error_response_json(
                "AccessDeniedException",
                "Secrets Manager cannot invoke the specified Lambda function. Ensure that the function policy grants "
                "access to the principal secretsmanager.amazonaws.com.", 400)
        # https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
        if any("AWSPENDING" in each["Stages"] and "AWSCURRENT" not in each["Stages"] for each in secret["Versions"].values()):
            return error_response_json(
                "InvalidRequestException", "A previous rotation isn't complete. That rotation will be reattempted.", 400)
        secret.update(RotationEnabled=True, RotationLambdaARN=arn,
                      RotationRules=data.get("RotationRules") or secret.get("RotationRules"))
        version = data.get("ClientRequestToken") or new_uuid()
        if str(data.get("RotateImmediately", True)).lower() != "false":
            # The version exists, pending and without a value, before the first step: each step finds its label, which no
            # other version has.
            secretsmanager._remove_stage_everywhere(secret, "AWSPENDING")
            secret["Versions"][version] = {
                "SecretString": None, "SecretBinary": None, "CreatedDate": int(time.time()), "Stages": ["AWSPENDING"]}
            context = contextvars.copy_context()
            threading.Thread(target=context.run, args=(run, function, config, secret, version), daemon=True).start()
        return json_response({"ARN": secret["ARN"], "Name": secret["Name"], "VersionId": version})

    get_secret_value, describe_secret = secretsmanager._get_secret_value, secretsmanager._describe_secret

    def get_a_value(data):
        """A pending version has no value before the function has put one."""
        status, headers, body = get_secret_value(data)
        response = json.loads(body)
        if status == 200 and "SecretString" not in response and "SecretBinary" not in response:
            return error_response_json(
                "ResourceNotFoundException",
                "Secrets Manager can't find the specified secret value for VersionId: " + response["VersionId"], 400)
        return status, headers, body

    def describe_with_rotation(data):
        status, headers, body = describe_secret(data)
        _, secret = secretsmanager._resolve(data.get("SecretId"))
        if status == 200 and "LastRotatedDate" in secret:
            return json_response({**json.loads(body), "LastRotatedDate": secret["LastRotatedDate"]})
        return status, headers, body

    secretsmanager._rotate_secret = rotate
    secretsmanager._get_secret_value = get_a_value
    secretsmanager._describe_secret = describe_with_rotation


@entry(
    "rotation-schedule",
    "AWS::SecretsManager::RotationSchedule is unknown",
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/"
    "aws-resource-secretsmanager-rotationschedule.html",
)
def rotation_schedule():
    from ministack.services import secretsmanager
    from ministack.services.cloudformation import provisioners

    def schedule(props, immediately):
        status, _, body = secretsmanager._rotate_secret({
            "SecretId": props["SecretId"], "RotationLambdaARN": props.get("RotationLambdaARN"),
            "RotationRules": props.get("RotationRules"), "RotateImmediately": immediately})
        response = json.loads(body)
        if status >= 400:
            raise ValueError(response.get("message") or response.get("Message"))
        return response["ARN"], {}

    def create(_logical_id, props, _stack_name):
        # The creation of the schedule rotates the secret at once.
        return schedule(props, True)

    def update(_physical_id, _old, new, _stack_name):
        # RotateImmediatelyOnUpdate is true when the template leaves it out.
        return schedule(new, new.get("RotateImmediatelyOnUpdate", True))

    def delete(physical_id, _props):
        _, secret = secretsmanager._resolve(physical_id)
        if secret:
            secret.update(RotationEnabled=False, RotationLambdaARN=None, RotationRules=None)

    provisioners._RESOURCE_HANDLERS["AWS::SecretsManager::RotationSchedule"] = {
        "create": create, "update": update, "delete": delete}
