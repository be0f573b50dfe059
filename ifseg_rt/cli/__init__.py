"""The ``ifseg-rt`` command, and what the commands of every package share."""
