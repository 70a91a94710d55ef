"""The laws of ``hostile_laws.py``, for a few changes of each kind."""

from __future__ import annotations

import random

import pytest
from hostile_laws import LAWS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from s4_codec import Codec


@pytest.mark.parametrize("law", LAWS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rng=st.randoms(use_true_random=False))
def test_laws(codec: Codec, law: str, rng: random.Random) -> None:
    LAWS[law](codec, rng)
