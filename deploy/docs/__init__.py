"""The generated pages of the documentation site's reference, a file for each page.

`python -m deploy.docs` writes docs/reference/*.md from the code; a test compares both. A page's introduction and the
meanings that the code does not hold stand in the page's file. It may import the product; nothing imports it.
"""
