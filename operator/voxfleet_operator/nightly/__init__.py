"""Closes nights: writes the CSV of each into the ledger archive, once."""
