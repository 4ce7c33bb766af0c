"""The machine time of a night as a CSV in the ledger archive, written once."""
