"""The report of a log loss, its findings, and the displays."""
