"""What a screen shows, grabbed by a process of its own."""
