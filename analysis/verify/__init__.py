"""README, docs and results/ against the Records and Outputs in results/."""
