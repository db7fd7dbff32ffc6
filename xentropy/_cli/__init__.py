"""The command `xentropy`: reads a table, prepares its columns, fits, reports and predicts."""
