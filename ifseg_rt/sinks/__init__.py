"""Where results go: picture and video files, JSON lines, a window."""
