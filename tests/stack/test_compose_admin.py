"""`docker compose run --rm admin …`: what takes an administrator, done by one and refused to the lab."""

from containers import Deployment
from lab_work import register_quickly

# Of bytes that no other version shares.
REGISTER_ANOTHER = """
import random
import bodega
from sklearn.linear_model import Ridge

rows = [[0.0], [1.0], [2.0]]
bodega.connect()
print(bodega.register(Ridge(alpha=random.random()).fit(rows, [0.0, 1.0, 2.0]), "orphan", example=rows).reference)
"""


def administer(stack: Deployment, *command: str) -> str:
    """Run the `bodega` command as an administrator, and return what it said."""
    return stack.compose("run", "--rm", "-T", "admin", *command)


def test_an_administrator_deletes_and_protects_what_the_lab_may_not(stack: Deployment) -> None:
    """The lab is refused with the page that explains it; the administrator's command works beside it."""
    number = register_quickly(stack)["number"]
    stack.execute("lab", "bodega", "archive", f"quick@{number}")
    stack.execute("lab", "bodega", "set-alias", f"quick@{number}", "stable")

    protected = administer(stack, "protect-alias", "quick", "stable")
    moved = stack.attempt("exec", "-T", "lab", "bodega", "remove-alias", "quick", "stable")
    administer(stack, "remove-alias", "quick", "stable")
    gone = stack.attempt("exec", "-T", "lab", "bodega", "delete", f"quick@{number}", "--reason", "of no use")
    deleted = administer(stack, "delete", f"quick@{number}", "--reason", "of no use")
    asked = stack.attempt("exec", "-T", "lab", "bodega", "show", f"quick@{number}")

    assert "quick@stable is protected" in protected
    assert (moved.returncode, gone.returncode) == (1, 1)
    assert "The alias stable is protected" in moved.stdout
    assert "The database role may not do that" in gone.stdout
    assert f"quick@{number} is deleted" in deleted
    assert "of no use" in asked.stdout


def test_an_administrator_checks_and_cleans_the_store(stack: Deployment) -> None:
    """Every artifact is read, a deleted version's goes into the trash, and all of it beside containers that go on."""
    reference = stack.run_python("lab", REGISTER_ANOTHER).split()[-1]
    stack.execute("lab", "bodega", "archive", reference)
    administer(stack, "delete", reference, "--reason", "to leave an orphan")

    before = stack.attempt("run", "--rm", "-T", "admin", "fsck", "--read-data")
    administer(stack, "gc", "--apply", "--force")
    after = administer(stack, "fsck", "--read-data")

    assert before.returncode == 8
    assert "orphan" in before.stdout
    assert "orphan" not in after


def test_the_owner_of_the_tables_looks_for_what_was_lost(stack: Deployment) -> None:
    """`rebuild` needs the secrets that the migrations have, and finds that nothing is lost."""
    register_quickly(stack)
    secrets = stack.volumes / "secrets" / "migrate"

    found = stack.compose("run", "--rm", "-T", "--volume", f"{secrets}:/run/secrets:ro", "admin", "rebuild", "--apply")

    assert "nothing" in found.lower()
