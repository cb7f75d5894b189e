"""The paper's numbers, our verdicts on them, and its tables."""
