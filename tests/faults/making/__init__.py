"""What the faults are made from: numbered clips, a tiny model, servers."""
