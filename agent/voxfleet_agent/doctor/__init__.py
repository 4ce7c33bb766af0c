"""Looks over a Mac before it joins the fleet: readings are gathered, findings are decided from them."""
