"""The paper's tables and figures, baselines and the calibrated frontier."""
