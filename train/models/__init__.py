"""The model families: pure modules, each built from one frozen configuration."""
