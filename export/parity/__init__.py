"""Does what was exported compute the same as the model?"""
