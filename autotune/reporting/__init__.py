"""Reports: numbers from a study, then tables, markdown, csv, json, and the live display."""
