"""The contract between export and run time: sidecars, the names of tensors, kinds of files."""
