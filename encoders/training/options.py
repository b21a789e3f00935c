"""How a model is trained: sizes, rates, and when to stop."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of a training; ``docs/explanation/quality.md`` says how the defaults were chosen."""

    dimension: int = 100
    history: int = 20  # recents that the head reads
    components: int = 4  # means that forget at different rates
    temperature: float = 0.07  # scores are cosines divided by it
    epochs: int = 8
    batch: int = 2048  # events predicted in a step
    candidates: int = 6144  # items that compete in a step, drawn anew for each step; 0: all items
    learning_rate: float = 3e-3  # the highest of the one-cycle schedule
    weight_decay: float = 1e-4
    spread: float = 0.1  # standard deviation of the first vectors
    history_dropout: float = 0.2  # of the components of the recents' vectors
    user_dropout: float = 0.2  # of the components of the user vector
    item_dropout: float = 0.0  # of the components of item vectors, before they are scaled to unit length
    own_dropout: float = 0.0  # of an item's whole own vector, so that its features learn to replace it
    older: int = 0  # events older than the recents to learn the sums' half-lives from, if events have times
    half_lives: int = 2  # sums of older events, each with a half-life
    popularity: bool = False  # learn a bias an item
    repeats: bool = True  # learn scores of items that are among the recents
    repeat_prior: bool = True  # they start at the log of how often the next item was among the recents, not at 0
    repeat_lift: float = 0.75  # part of a recent item's distance behind the nearest recent that its score gets back
    validation: float = 0.05  # fraction of the sequences that is held out, the last ones
    patience: int = 0  # epochs without a better validation figure after which the training stops; 0: never
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("dimension", "history", "components", "epochs", "batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected 1 or more")
        if self.older < 0 or not 1 <= self.half_lives <= 16:
            raise ValueError(f"older is {self.older} and half_lives {self.half_lives}, expected 0 or more and 1 to 16")
        for name in ("history_dropout", "user_dropout", "item_dropout", "own_dropout", "validation"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a number in [0, 1)")
        if not 0.0 <= self.repeat_lift <= 1.0:
            raise ValueError(f"repeat_lift is {self.repeat_lift}, expected a number in [0, 1]")
        if not self.temperature > 0:
            raise ValueError(f"temperature is {self.temperature}, expected a number above 0")

    def as_dict(self) -> dict[str, Any]:
        """The options by name."""
        return asdict(self)
