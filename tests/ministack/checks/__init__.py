"""What must hold for a deployed stack. The life cycle runs these checks; a mutant of the template must fail one of them.

A check is a function of (world, stack) that raises AssertionError. `@check` names the entries of the add-on that it rests
on beside those that every check rests on: without them no stack is deployed at all.
"""

# Each registers its checks. They run in this order: what passes through a stack first, then what only reads it.
from . import paths, resources
from .expectations import CHECKS, EVERY_CHECK
