"""A hook of MkDocs for links from docs/ to files elsewhere in the repository, such as the source code.

The site consists of docs/ alone, so that such a link has nothing to lead to. It is replaced by the path of the file in the repository, as
code. tests/deploy/test_documentation.py checks that the file exists.
"""

import posixpath
from urllib.parse import unquote, urlsplit

from markdown import Extension
from markdown.treeprocessors import Treeprocessor
from markdown.util import AtomicString

DOCS = "docs"


class RepositoryLinks(Treeprocessor):
    """Works on one page after the other; `page` is the path of the current one in docs/."""

    page = ""

    def run(self, root):
        for link in list(root.iter("a")):
            url = urlsplit(link.get("href", ""))
            path = posixpath.normpath(posixpath.join(DOCS, posixpath.dirname(self.page), unquote(url.path)))
            if url.scheme or url.netloc or not url.path or path.startswith(f"{DOCS}/"):
                continue
            link.tag = "code"
            link.attrib.clear()
            del link[:]
            link.text = AtomicString(path)


LINKS = RepositoryLinks()


class Links(Extension):
    def extendMarkdown(self, md):
        # MkDocs checks relative links with the priority 0, after this.
        md.treeprocessors.register(LINKS, "repository_links", 1)


def on_config(config):
    config["markdown_extensions"].append(Links())
    return config


def on_page_markdown(markdown, page, **_):
    LINKS.page = page.file.src_uri
    return markdown
