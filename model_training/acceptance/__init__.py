"""The criteria that a model must meet to be shipped."""
