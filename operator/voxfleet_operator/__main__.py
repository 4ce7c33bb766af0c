"""python -m voxfleet_operator"""

from __future__ import annotations

from voxfleet_operator.command import main

if __name__ == "__main__":
    main()
