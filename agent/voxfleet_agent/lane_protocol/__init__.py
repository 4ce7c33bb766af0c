"""What a lane and its worker share: messages, the lock of the lane, and how faults are worded."""
