"""Fitting, calibrating and testing the service's guardrail."""
