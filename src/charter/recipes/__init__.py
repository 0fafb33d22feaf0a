"""The stage runner: recipe.yaml → stages → artifacts. The place where the parts are wired together."""
