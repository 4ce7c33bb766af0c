"""Machine-hours in money: the ledger archive, the price book, and what is read and exported of them."""
