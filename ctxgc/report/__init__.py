"""Reports for people to look at: charts as SVG, and the page of a replay."""
