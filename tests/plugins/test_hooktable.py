"""Every hook is documented, and takes what its kind of hook takes."""

from backtest.plugins.hooktable import hooks, markdown


def test_every_hook_has_its_prefix_and_a_docstring_of_one_line() -> None:
    assert len(hooks()) >= 9
    for hook in hooks():
        assert hook.name.startswith("backtest_")
        assert hook.doc.endswith(".")
        assert "\n" not in hook.doc
        assert "|" not in hook.doc


def test_register_hooks_take_the_callback_and_the_others_the_run() -> None:
    for hook in hooks():
        if hook.name.startswith("backtest_register_"):
            assert hook.arguments == ("register",)
        else:
            assert hook.arguments[0] == "run_id"


def test_the_table_has_a_row_for_every_hook() -> None:
    rows = markdown().splitlines()[2:]
    assert [row.split("`")[1] for row in rows] == [hook.name for hook in hooks()]
