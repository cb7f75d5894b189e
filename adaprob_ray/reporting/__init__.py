"""From Records to statistics, tables, figures and an HTML report, for any sweep."""
