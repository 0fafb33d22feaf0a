"""Training methods, one module each: from records to a trained model in a folder."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from charter.training.methods.base import Method, Trained
from charter.training.methods.best_of_n import BestOfNSettings, train_best_of_n
from charter.training.methods.chi_po import ChiPoSettings, train_chi_po
from charter.training.methods.cost import CostSettings, train_cost
from charter.training.methods.distill import DistillSettings, train_distill
from charter.training.methods.dpo import DpoSettings, train_dpo
from charter.training.methods.grpo import GrpoSettings, train_grpo
from charter.training.methods.ipo import IpoSettings, train_ipo
from charter.training.methods.ipo_mean import IpoMeanSettings, train_ipo_mean
from charter.training.methods.kto import KtoSettings, train_kto
from charter.training.methods.online_dpo import OnlineDpoSettings, train_online_dpo
from charter.training.methods.orpo import OrpoSettings, train_orpo
from charter.training.methods.ppo import PpoSettings, train_ppo
from charter.training.methods.reinforce_pp import ReinforcePpSettings, train_reinforce_pp
from charter.training.methods.reward import RewardSettings, train_reward
from charter.training.methods.reward_pointwise import PointwiseSettings, train_reward_pointwise
from charter.training.methods.reward_process import ProcessSettings, train_reward_process
from charter.training.methods.rloo import RlooSettings, train_rloo
from charter.training.methods.robust_dpo import RobustDpoSettings, train_robust_dpo
from charter.training.methods.sft import SftSettings, train_sft
from charter.training.methods.simpo import SimpoSettings, train_simpo
from charter.training.methods.slic import SlicSettings, train_slic

AnySettings = Annotated[
    SftSettings
    | DistillSettings
    | DpoSettings
    | RobustDpoSettings
    | IpoSettings
    | IpoMeanSettings
    | SlicSettings
    | ChiPoSettings
    | SimpoSettings
    | OrpoSettings
    | KtoSettings
    | OnlineDpoSettings
    | GrpoSettings
    | RlooSettings
    | ReinforcePpSettings
    | PpoSettings
    | BestOfNSettings
    | RewardSettings
    | CostSettings
    | PointwiseSettings
    | ProcessSettings,
    Field(discriminator="method"),
]
"""The settings of any method, told apart by `method`; a recipe's training stages."""

__all__ = [
    "AnySettings",
    "BestOfNSettings",
    "ChiPoSettings",
    "CostSettings",
    "DistillSettings",
    "DpoSettings",
    "GrpoSettings",
    "IpoMeanSettings",
    "IpoSettings",
    "KtoSettings",
    "Method",
    "OnlineDpoSettings",
    "OrpoSettings",
    "PointwiseSettings",
    "PpoSettings",
    "ProcessSettings",
    "ReinforcePpSettings",
    "RewardSettings",
    "RlooSettings",
    "RobustDpoSettings",
    "SftSettings",
    "SimpoSettings",
    "SlicSettings",
    "Trained",
    "train_best_of_n",
    "train_chi_po",
    "train_cost",
    "train_distill",
    "train_dpo",
    "train_grpo",
    "train_ipo",
    "train_ipo_mean",
    "train_kto",
    "train_online_dpo",
    "train_orpo",
    "train_ppo",
    "train_reinforce_pp",
    "train_reward",
    "train_reward_pointwise",
    "train_reward_process",
    "train_rloo",
    "train_robust_dpo",
    "train_sft",
    "train_simpo",
    "train_slic",
]
