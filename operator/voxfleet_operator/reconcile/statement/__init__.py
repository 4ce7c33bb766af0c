"""MachineHourStatement."""
