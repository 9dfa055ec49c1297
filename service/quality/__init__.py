"""What vouches for an image: LaSSIM, the worst place, colour, and the verdict. The only LaSSIM in the project."""
