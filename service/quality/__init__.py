"""What vouches for an image: LaSSIM, the worst region, colour, and the verdict. The only LaSSIM in the project."""
