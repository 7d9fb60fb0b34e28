"""What the site adds to docs/pages: pages that lie elsewhere in the repository, and links between all of them.

A page is linked as it lies in the repository, so that links also work where the repository is read as it is.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, InclusionLevel

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
PAGES = "docs/pages/"
ELSEWHERE = {
    "sentinel_match/README.md": "understand/design",
    "CHANGELOG.md": "project/changelog",
    ".github/CONTRIBUTING.md": "project/contributing",
    **{f"notebooks/{path.name}": f"notebooks/{path.stem}" for path in (ROOT / "notebooks").glob("*.ipynb")},
}
"""Where pages lie in the repository, and on the site."""


@event_priority(100)  # before mkdocs-jupyter, which looks for notebooks among the files there are
def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that lie elsewhere."""
    for source, place in ELSEWHERE.items():
        files.append(
            File(
                source,
                str(ROOT),
                config.site_dir,
                config.use_directory_urls,
                dest_uri=f"{place}/index.html",
                inclusion=InclusionLevel.INCLUDED,
            )
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    source = here if here in ELSEWHERE else PAGES + here

    def link(match: re.Match[str]) -> str:
        if match[1] is None:  # a block of code
            return match[0]
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[1]))
        return f"]({posixpath.relpath(target.removeprefix(PAGES), posixpath.dirname(here) or '.')}"

    return re.sub(r"^```.*?^```|\]\((?!\w+:|#)([^)#\s]+)", link, markdown, flags=re.S | re.M)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Turn the roles of docstrings, as in :func:`sentinel_match.run`, into links."""
    role = r":(?:func|class|meth|mod|attr):<code>~?([\w.]+)</code>"
    return re.sub(role, r'<autoref optional identifier="\1"><code>\1</code></autoref>', html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Refuse a page that fetches anything from elsewhere: the site works without a network."""
    tags = re.findall(r"<(?:script|img|iframe|link(?! rel=\"canonical\"))\b[^>]*>", output)
    fetched = {address for tag in tags for address in re.findall(r"(?:src|href)=\"(https?:[^\"]+)", tag)}
    if fetched:
        raise PluginError(f"{page.file.src_uri} fetches {', '.join(sorted(fetched))}")
    return output
