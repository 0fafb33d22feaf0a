"""Search attacks: many queries, each chosen by what came before or by chance."""

from charter.redteam.searching.best_of_n import BestOfN
from charter.redteam.searching.decoding import Decoding, Prefilling
from charter.redteam.searching.pair import Pair
from charter.redteam.searching.suffixes import Gcg, GcgUniversal, RandomSearch

ATTACKS = (BestOfN(), Prefilling(), Decoding(), Pair(), Gcg(), GcgUniversal(), RandomSearch())

__all__ = ["ATTACKS", "BestOfN", "Decoding", "Gcg", "GcgUniversal", "Pair", "Prefilling", "RandomSearch"]
