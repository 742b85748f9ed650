"""A report as one page for the browser."""

from converter.report.html.page import as_html

__all__ = ["as_html"]
