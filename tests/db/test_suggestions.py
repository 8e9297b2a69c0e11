"""Names that cannot be, or are not there: the error says why, and what was probably meant."""

import pytest
from bodega_db.errors import AliasNotFoundError, InvalidNameError, ModelNotFoundError, VersionNotFoundError
from bodega_db.names import did_you_mean
from bodega_db.reference import check_model_name
from bodega_db.store import ModelStore
from bodega_model.errors import BodegaError
from fitting import fit_tree
from hypothesis import given
from hypothesis import strategies as st

NAMES = {
    "Iris": ("it has capital letters", "iris"),
    "my model": ("it has a space", "my-model"),
    "Größe 2": ("it has a space", "gr-e-2"),
    "prix/€": ("it has characters beyond letters, digits", "prix"),
    "_private": ("it does not begin with a letter or a digit", "private"),
    "../etc": ("it has characters beyond letters, digits", "etc"),
    "": ("it is empty", None),
    "---": ("it does not begin with a letter or a digit", None),
    "Ü": ("it has characters beyond letters, digits", None),
    "a" * 130: ("it has 130 characters", "a" * 128),
}


@pytest.mark.parametrize("name", NAMES)
def test_why_it_is_no_name_is_said_with_one_that_is(name: str) -> None:
    """The advice is a name that the catalog takes, where there is one."""
    why, possible = NAMES[name]

    with pytest.raises(InvalidNameError, match=why) as caught:
        check_model_name(name)

    assert caught.value.advice.startswith(f"Use {possible!r}." if possible else "A name has 1 to 128")
    assert possible is None or check_model_name(possible) == possible


@given(st.text(max_size=200) | st.integers() | st.none())
def test_any_other_name_is_refused_with_advice_that_holds(name: object) -> None:
    """Whatever is given, what is proposed can be a name."""
    try:
        check_model_name(name)  # type: ignore[arg-type]
    except InvalidNameError as exc:
        if exc.advice.startswith("Use '"):
            check_model_name(exc.advice.split("'")[1])


def fill(store: ModelStore) -> None:
    """Register what `tree` stands for."""
    fitted = fit_tree()
    store.register(fitted.model, "penguins", example=fitted.X, metrics={"accuracy": 0.9, "log_loss": 0.3})
    store.set_alias("penguins@1", "champion")


@pytest.fixture
def tree(store: ModelStore) -> ModelStore:
    """One model with metrics and an alias."""
    return store


FURNISHED = {"tree": fill}


@pytest.mark.parametrize(
    ("reference", "error", "advice"),
    [
        ("pengiuns", ModelNotFoundError, "Did you mean 'penguins'? List what there is"),
        ("penguin@3", ModelNotFoundError, "Did you mean 'penguins'?"),
        ("wine", ModelNotFoundError, "List what there is with `bodega models`"),
        ("penguins@chamipon", VersionNotFoundError, "Did you mean 'champion'? List what there is"),
        ("penguins@lastest", VersionNotFoundError, "Did you mean 'latest'?"),
        ("penguins@prod", VersionNotFoundError, "List what there is"),
        ("penguins@best:acuracy", VersionNotFoundError, "Did you mean 'accuracy'? It has: accuracy, log_loss."),
        ("penguins@best:f1", VersionNotFoundError, "It has: accuracy, log_loss."),
    ],
)
def test_a_name_that_is_not_there_brings_the_closest_one(
    tree: ModelStore, reference: str, error: type[BodegaError], advice: str
) -> None:
    """For models, aliases and metrics, to look at and to serve; where nothing is close, nothing is guessed."""
    for ask in (tree.find, tree.resolve):
        with pytest.raises(error) as caught:
            ask(reference)
        assert caught.value.advice.startswith(advice) or advice in caught.value.advice


def test_verbs_suggest_too(tree: ModelStore) -> None:
    """A move of a model, and the removal of an alias, say what was probably meant."""
    with pytest.raises(ModelNotFoundError, match="Did you mean 'penguins'"):
        tree.rollback("penguinss")
    with pytest.raises(AliasNotFoundError, match="Did you mean 'champion'"):
        tree.remove_alias("penguins", "champoin")
    with pytest.raises(ModelNotFoundError, match="it has capital letters") as caught:
        tree.model("Penguins")
    assert "penguins" not in str(caught.value).lower()  # answers over HTTP say the same, and repeat no name


def test_only_what_is_close_is_suggested() -> None:
    """A wild name, a long one or none suggests nothing."""
    assert did_you_mean("Pengins", ["wine", "penguins"]) == "Did you mean 'penguins'? "
    for name in ("x", "a" * 10_000, None, 3):
        assert did_you_mean(name, ["wine", "penguins"]) == ""
