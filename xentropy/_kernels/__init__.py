"""All that is compiled. It knows arrays and rows, not estimators or penalties."""
