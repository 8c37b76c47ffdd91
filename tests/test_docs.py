"""The generated parts of the docs are the ones that the code would generate now."""

import pytest

from docs.generate import FOLDER, GENERATED, regenerated


@pytest.mark.parametrize("page", sorted({page for page, _ in GENERATED}))
def test_generated_parts_are_current(page: str) -> None:
    text = (FOLDER / page).read_text()
    assert regenerated(page, text) == text, "run `make docs`"


def test_a_page_without_the_marks_is_an_error() -> None:
    with pytest.raises(ValueError, match="<!-- hooks -->"):
        regenerated("plugins.md", "# Plugins\n")
