"""Deploys mutants of the template and wants each of them noticed by a check.

A check that passes on the template and on every mutant of what it looks at would prove nothing.
"""

import sys
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

import checks
import deploy
import world as surroundings
from checks.inventory import inventory
from deployment import mutated
from mutants import CREATION, DELETION, MUTANTS, Mutant
from world import World

CREDENTIALS = {"ApiKey": "key", "ApiSecret": "secret", "AppToken": "app-token", "BotUsername": "bot",
               "BotPassword": "bot-password"}
# Stacks at a time. MiniStack is one process; the functions, 8x8 and the bot platform fill the second core.
AT_A_TIME = 3
# What a check waits for comes within two seconds on the template, and later on a busy machine; a mutant is noticed when it has
# not come.
STEP_LIMIT = 15


def left_by(world, stack):
    """Physical ids of the stack's resources that its deletion leaves."""
    mine = {physical_id for physical_id, _ in stack.resources().values()}
    if (status := stack.delete()) != "DELETE_COMPLETE":
        return f"the stack is {status}"
    return sorted(name for _, name in inventory(world) if name in mine)


class Mutants(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = World(CREDENTIALS, "client-credentials", "sandboxtenant")
        cls.limit, surroundings.STEP_LIMIT = surroundings.STEP_LIMIT, STEP_LIMIT

    @classmethod
    def tearDownClass(cls):
        surroundings.STEP_LIMIT = cls.limit
        cls.world.close()

    def judge(self, number, mutant, judges):
        """Deploys the mutant; returns (what notices it, how) or None."""
        stack = self.world.new_stack(f"mutant-{number}", mutated(self.world.template, mutant.change))
        try:
            stack.create(self.world.parameters(f"mutant-{number}"))
        except deploy.Failure as failure:
            return CREATION, str(failure).splitlines()[1].strip()
        noticed = None
        for check in judges:
            try:
                check(self.world, stack)
            except Exception as error:
                noticed = check.sentence, f"{type(error).__name__}: {error}"
                break
        left = left_by(self.world, stack)
        if left and not noticed:
            noticed = DELETION, str(left)
        return noticed

    def test_every_mutant_is_noticed(self):
        def of_interest(mutant):
            first = [mutant.noticed_by] if callable(mutant.noticed_by) else []
            return first if mutant.noticed_by in (DELETION, CREATION) else first + [
                check for check in checks.CHECKS if check is not mutant.noticed_by]

        judges = list(dict.fromkeys(mutant.noticed_by for mutant in MUTANTS if callable(mutant.noticed_by)))
        # A check that fails on the template itself would notice every mutant.
        control = Mutant("the template itself", lambda template: None, None)
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            unchanged = pool.submit(self.judge, 0, control, judges)
            results = [(mutant, pool.submit(self.judge, number, mutant, of_interest(mutant)))
                       for number, mutant in enumerate(MUTANTS, 1)]
            lines, unnoticed = [], []
            for mutant, result in results:
                noticed = result.result()
                expected = mutant.noticed_by if isinstance(mutant.noticed_by, str) else mutant.noticed_by.sentence
                if noticed is None:
                    unnoticed.append(mutant.name)
                    continue
                by, how = noticed
                lines.append(f"  - {mutant.name}\n      noticed by: {by}" + (
                    "" if by == expected else f" (instead of: {expected})\n      {how}"))
        print("\nMutants of the template:\n" + "\n".join(lines), flush=True)
        self.assertIsNone(unchanged.result(), "the template itself is not accepted")
        self.assertEqual(unnoticed, [], "no check notices these mutants")


if __name__ == "__main__":
    unittest.main()
