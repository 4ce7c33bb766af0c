"""Reports as one HTML file each. Pure: data in, text out; no script, and nothing fetched from elsewhere."""
