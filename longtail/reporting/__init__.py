"""From predictions to reports, tables and figures."""
