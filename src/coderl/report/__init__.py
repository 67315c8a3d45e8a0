"""One HTML page that shows runs side by side: tables, curves, and the programs themselves. Start at `page.write_report`."""
