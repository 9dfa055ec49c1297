"""The enhancement service: throat photos in, enhanced photos with their LaSSIM out. Research software."""
