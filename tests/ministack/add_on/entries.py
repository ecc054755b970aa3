"""The entries of the add-on: what fills a gap registers itself here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Entry:
    name: str
    gap: str
    page: str
    fill: object


ENTRIES = {}


def entry(name, gap, page):
    """Registers a function that replaces a part of MiniStack."""

    def register(fill):
        ENTRIES[name] = Entry(name, gap, page, fill)
        return fill

    return register


def after_create_and_update(kind, apply):
    """Makes `apply(physical id, properties)` follow on what MiniStack does for a type of resource."""
    from ministack.services.cloudformation import provisioners

    handlers = provisioners._RESOURCE_HANDLERS[kind]
    create, update = handlers["create"], handlers["update"]

    def create_and_apply(logical_id, props, stack_name):
        physical_id, attributes = create(logical_id, props, stack_name)
        apply(physical_id, props)
        return physical_id, attributes

    def update_and_apply(physical_id, old, new, stack_name, logical_id=None):
        physical_id, attributes = update(physical_id, old, new, stack_name, logical_id)
        apply(physical_id, new)
        return physical_id, attributes

    handlers.update(create=create_and_apply, update=update_and_apply)
