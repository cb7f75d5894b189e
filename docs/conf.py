"""Sphinx builds the site from Markdown that reads well on a code host too: `make docs` writes it to build/docs.

The source folder is the repository, so that a relative link means the same in both places: a link to a page of PAGES leads to
that page, one to any other file (a sweep, Records, a module) to a copy of it in the site. Markdown has no words for two things,
which are added while a page is read:

* Contents pages get a hidden table of contents of the pages that they link to, section by section. A page that none of them
  links to is a warning, and so an error.
* A link to a folder leads to the README.md in it; without one, only its words stay.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from adaprob_ray import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    "docs/*.md",
    "docs/api/*.md",
    "results/*.md",
    "cluster/README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "SECURITY.md",
)
FOLDERS = {PurePosixPath(pattern).parts[0] for pattern in PAGES if "/" in pattern}
CONTENTS_PAGES = ("docs/index", "docs/api/index", "results/README")

# -- settings of Sphinx and its extensions ---------------------------------------------------------------------------------

project = "adaprob_ray"
author = "The adaprob_ray authors"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/index"
include_patterns = list(PAGES)
exclude_patterns = sorted(path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in FOLDERS)
highlight_language = "text"
default_role = "code"  # `name` in docstrings
# Types in signatures: those of other packages cannot be looked up offline, some of ours are on no page.
nitpick_ignore_regex = [("py:.*", ".*")]

myst_heading_anchors = 4  # the anchors of a code host
myst_enable_extensions = ["html_image"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
python_maximum_signature_line_length = 120

html_theme = "furo"
html_title = project
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
pygments_style = "friendly"
pygments_dark_style = "github-dark"

# -- what is added to pages ------------------------------------------------------------------------------------------------

_LINK = re.compile(r"\[(?P<words>[^\[\]]+)\]\((?P<target>[^)\s#:]+)(?P<anchor>#[^)\s]*)?\)")
_FIRST_PAGE = """\
<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=docs/index.html">
<title>adaprob_ray</title>
<a href="docs/index.html">adaprob_ray</a>
"""


def setup(app: Sphinx) -> None:
    app.connect("source-read", complete_page)
    app.connect("build-finished", write_first_page)


def complete_page(app: Sphinx, page: str, source: list[str]) -> None:
    """Redirect links to folders, and add the tables of contents of a contents page."""
    folder = ROOT / PurePosixPath(page).parent
    source[0] = _LINK.sub(lambda link: _to_page(link, folder), source[0])
    if page in CONTENTS_PAGES:
        source[0] += "".join(tables_of_contents(page, source[0], folder))


def _to_page(link: re.Match[str], folder: Path) -> str:
    target = folder / link["target"]
    if not target.is_dir():
        return link[0]
    page = f"{link['target'].rstrip('/')}/README.md{link['anchor'] or ''}"
    return f"[{link['words']}]({page})" if (target / "README.md").is_file() else link["words"]


def tables_of_contents(page: str, text: str, folder: Path) -> Iterator[str]:
    """One hidden toctree for each section of a contents page, with the section's title as its caption."""
    pages = {path.resolve() for pattern in PAGES for path in ROOT.glob(pattern)}
    listed = {ROOT / f"{page}.md", ROOT / f"{root_doc}.md"}
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[page == root_doc :]:
        entries = []
        for link in _LINK.finditer(section):
            path = (folder / link["target"]).resolve()
            if path in pages - listed and (page == root_doc or path.parent == folder):
                listed.add(path)
                name = path.relative_to(ROOT).with_suffix("").as_posix()
                entries.append(f"{link['words'].strip('`')} </{name}>")
        caption = [f":caption: {section.partition(chr(10))[0]}"] if page == root_doc else []
        if entries:
            yield "\n".join(["\n\n```{toctree}", ":hidden:", *caption, "", *entries, "```\n"])
    if page == "results/README":
        yield "\n\n```{toctree}\n:hidden:\n:glob:\n\n*\n```\n"


def write_first_page(app: Sphinx, failure: Exception | None) -> None:
    """index.html leads to the first page, which is in docs/ as its source is."""
    if failure is None and app.builder.format == "html":
        (Path(app.outdir) / "index.html").write_text(_FIRST_PAGE, encoding="utf-8")
