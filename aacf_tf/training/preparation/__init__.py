"""What a stage needs before its first step: cached features, standardization, still frames."""
