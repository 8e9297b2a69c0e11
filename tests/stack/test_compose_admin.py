"""`docker compose run --rm admin …`: what takes an administrator, done by one and refused to the lab."""

from containers import Deployment
from lab_work import register_quickly


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
