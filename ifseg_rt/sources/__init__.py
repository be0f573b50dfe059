"""Where frames come from: picture and video files, cameras."""
