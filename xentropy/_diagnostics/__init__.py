"""Where a log loss comes from: the report, its findings, and the displays."""
