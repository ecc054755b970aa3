"""The gaps of CloudFormation's own course: what follows on a creation or a deletion that fails."""

from functools import wraps

from .entries import entry


@entry(
    "failed-create-is-deleted",
    "the rollback sends no Delete to a custom resource whose Create failed",
    # "Handling Lifecycle Events: Error Handling"; the reference of custom resources itself does not mention this Delete.
    "https://docs.aws.amazon.com/cdk/api/v2/docs/aws-cdk-lib.custom_resources-readme.html",
)
def failed_create_is_deleted():
    from ministack.services.cloudformation import custom_resource, provisioners

    deliver, create = custom_resource.deliver_response, provisioners._custom_resource_create
    # (stack id, logical id) → the physical id of the last response.
    physical_ids = {}

    @wraps(deliver)
    def deliver_response(token, response):
        key = response.get("StackId"), response.get("LogicalResourceId")
        physical_ids[key] = response.get("PhysicalResourceId")
        return deliver(token, response)

    @wraps(create)
    def create_or_delete(logical_id, props, stack_name, *rest):
        try:
            return create(logical_id, props, stack_name, *rest)
        except (RuntimeError, TimeoutError) as failure:
            # CloudFormation sends it when the rollback reaches the resource: first, since it was the last in creation.
            physical_id = physical_ids.get((provisioners._cr_stack_id(stack_name), logical_id))
            try:
                provisioners._custom_resource_delete(
                    physical_id or f"{stack_name}-{logical_id}", props, stack_name, logical_id, *rest)
            except (RuntimeError, TimeoutError) as deletion:
                raise RuntimeError(f"{failure}; and its deletion failed: {deletion}") from None
            raise

    custom_resource.deliver_response = deliver_response
    provisioners._custom_resource_create = create_or_delete


@entry(
    "what-a-failed-deletion-needs-stays",
    "a resource that could not be deleted loses what it depends on: the function that would delete it next time",
    # It says of a forced deletion that what a failed resource depends on is kept; the first deletion has kept it as well.
    "https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-console-delete-stack.html",
)
def what_a_failed_deletion_needs_stays():
    from ministack.services.cloudformation import _stacks, stacks

    delete = stacks._delete_resource
    # (stack, logical id) → the resource that needs it and could not be deleted.
    needed = {}

    @wraps(delete)
    def delete_or_keep(kind, physical_id, props, stack_name=None, logical_id=None):
        if needed_by := needed.get((stack_name, logical_id)):
            raise ValueError(f"{needed_by}, which depends on it, could not be deleted")
        # It is tried again.
        for key in [key for key, name in needed.items() if (key[0], name) == (stack_name, logical_id)]:
            del needed[key]
        try:
            delete(kind, physical_id, props, stack_name, logical_id)
        except (RuntimeError, TimeoutError):
            stack = _stacks.get(stack_name) or {}
            resources = (stack.get("_template") or {}).get("Resources", {})
            for name in stacks._with_dependencies([logical_id], resources, set(stack.get("_resources", {}))):
                if name != logical_id:
                    needed[stack_name, name] = logical_id
            raise

    stacks._delete_resource = delete_or_keep
