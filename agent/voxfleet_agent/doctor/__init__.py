"""Checks a Mac before it joins the fleet: gathers readings, and judges them as findings."""
