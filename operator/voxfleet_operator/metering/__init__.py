"""Machine time from verified ledger rows. Pure: no I/O and no clock."""
