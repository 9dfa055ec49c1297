"""Evaluation: table I of the paper, no-reference quality, classical baselines, reports, calibration."""
