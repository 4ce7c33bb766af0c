"""Reaches an agent through its Mac's own sshd."""
