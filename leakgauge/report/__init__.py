"""Reports: what was found, for people and for programs."""

from leakgauge.report.files import audits_of, json_schema, write_report
from leakgauge.report.markdown import to_markdown
from leakgauge.report.models import render_models
from leakgauge.report.page import fragment, render
from leakgauge.report.view import Audited

__all__ = ["Audited", "audits_of", "fragment", "json_schema", "render", "render_models", "to_markdown", "write_report"]
