"""What a person sees: colours, overlay and legend."""
