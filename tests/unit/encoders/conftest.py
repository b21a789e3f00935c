import numpy as np
import pytest

from encoders.artifact.manifest import Encoder
from encoders.building import hashed_text
from encoders.building.folder_writer import UserSide
from encoders.ranking.user_head import LinearHead
from encoders.runtime import Runtime

DIMENSION = 16
HISTORY = 6


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return Runtime("cpu", threads=1)


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    user = UserSide(history=HISTORY, score_scale=3.0, head=LinearHead(half_life_mix=(0.3, 0.7)))
    return hashed_text.build(tmp_path_factory.mktemp("text") / "encoder", DIMENSION, user=user)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
