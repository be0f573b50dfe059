"""What a file is and whether all of it is there, seen from its first and last bytes; nothing is decoded here."""
