"""The report: charts, contact sheets, what figures mean, and the page that shows them all."""
