"""python -m voxfleet_gateway"""

from __future__ import annotations

from voxfleet_gateway.command import main

if __name__ == "__main__":
    main()
