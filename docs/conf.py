"""The documentation site: ``make site`` builds it with Sphinx from the pages of this folder."""

from __future__ import annotations

from backtest.core.version import __version__

project = "ticktoll"
author = "The ticktoll authors"
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
exclude_patterns = ["results", "_build"]

nb_execution_mode = "off"  # `python -m docs.run_notebooks` stores the outputs

myst_heading_anchors = 3
myst_links_external_new_tab = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "ticktoll"
html_copy_source = False
html_show_sphinx = False
