"""Reports: what was found, for people and for programs."""

from leakgauge.report.files import json_schema, to_json, write_report
from leakgauge.report.page import fragment, render
from leakgauge.report.view import Audited

__all__ = ["Audited", "fragment", "json_schema", "render", "to_json", "write_report"]
