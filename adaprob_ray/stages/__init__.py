"""The stages: pretrain, train, unlearn, relearn, probe, evaluate. Each is one file with one `Stage`, listed in the catalogue.

A stage reads its parents' artefacts and returns its own. It knows nothing of Ray, leases or commits.
"""
