"""What a file is, how large and how deep its pictures are; no video is decoded here."""
