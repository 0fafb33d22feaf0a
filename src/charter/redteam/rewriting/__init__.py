"""Rewriting attacks: the request in other words, another form or another setting, asked once a variant."""

from charter.redteam.rewriting.parts import Part, Rewriting, composed

__all__ = ["Part", "Rewriting", "composed"]
