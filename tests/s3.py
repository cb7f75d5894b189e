"""S3 as moto's server implements it."""

from __future__ import annotations

import pytest


def set_aws(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    words = {"ENDPOINT_URL": endpoint, "ALLOW_HTTP": "true", "REGION": "us-east-1"}
    for name, word in {**words, "ACCESS_KEY_ID": "test", "SECRET_ACCESS_KEY": "test"}.items():
        monkeypatch.setenv(f"AWS_{name}", word)
