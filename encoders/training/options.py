"""How a model is trained: sizes, rates, and when to stop."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How the defaults came about: ``encoders/README.md``."""

    dimension: int = 100
    history: int = 20  # recents that the head reads
    components: int = 4  # means that forget at different rates
    temperature: float = 0.07  # scores are cosines divided by it
    epochs: int = 8
    batch: int = 2048  # events predicted in a step
    candidates: int = 6144  # items that compete in a step, drawn anew for each; 0: all
    learning_rate: float = 3e-3  # the highest of the one-cycle schedule
    weight_decay: float = 1e-4
    spread: float = 0.1  # standard deviation of the first vectors
    history_dropout: float = 0.2  # of the components of the recents' vectors
    user_dropout: float = 0.2  # of the components of the user vector
    item_dropout: float = 0.0  # of the components of item vectors, before they are brought to unit length
    own_dropout: float = 0.0  # of an item's own vector as a whole, so that its features have to stand for it
    older: int = 0  # events older than the recents that the sums' half-lives are learned on, where there are times
    half_lives: int = 2  # sums of older events, each with a half-life
    popularity: bool = False  # learn a bias an item
    repeats: bool = True  # learn scores of items that are among the recents
    repeat_prior: bool = True  # these start at the log of how often the next item was among the recents, not at 0
    repeat_lift: float = 0.75  # share given back of what a recent item is less near to the user than the nearest one
    validation: float = 0.05  # of the sequences, the last ones, held out
    patience: int = 0  # epochs without a better validation figure after which to stop; 0: never
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dimension", "history", "components", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.older < 0 or not 1 <= self.half_lives <= 16:
            raise ValueError(f"older is {self.older} and half_lives {self.half_lives}, expected 0 or more and 1 to 16")
        for name in ("history_dropout", "user_dropout", "item_dropout", "own_dropout", "validation"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share in [0, 1)")
        if not 0.0 <= self.repeat_lift <= 1.0:
            raise ValueError(f"repeat_lift is {self.repeat_lift}, expected a share in [0, 1]")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, expected a number above 0")

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)
