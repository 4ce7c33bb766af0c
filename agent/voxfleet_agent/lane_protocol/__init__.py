"""What a lane and its worker share: messages, the lock of the lane, and the wording of GPU and memory faults."""
