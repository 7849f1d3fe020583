"""The rankers that an experiment compares, and how they are asked."""
