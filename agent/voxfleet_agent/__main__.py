"""`python -m voxfleet_agent` runs `voxfleet-agent`."""

from __future__ import annotations

from voxfleet_agent.main import main

if __name__ == "__main__":
    main()
