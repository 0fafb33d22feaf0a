"""Loading a local model by its one-string name, with what must be known about it: tokenizer, digest, end of turn."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from charter.errors import UserError
from charter.models.quantize import Quantization, loading_arguments
from charter.models.smollm2 import cache_folder, smollm2_folder
from charter.records import write_text

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DTypeName = Literal["auto", "bfloat16", "float32", "float16"]
ADAPTER_CONFIG = "adapter_config.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LocalModel:
    """A model in this process. `digest` is the sha256 over its weight files (base and adapter)."""

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    digest: str


def load_model(
    name: str, dtype: DTypeName = "auto", *, merge: bool = True, quantize: Quantization | None = None
) -> LocalModel:
    """Load `smollm2`, a folder, an adapter folder, or a hub id.

    An adapter folder (LoRA) is put on the base named in its adapter_config.json; with `merge` the adapter is folded
    into the weights (in fp32, then cast), which is faster to run; without, the adapter stays a layer of its own.
    dtype "auto" is bf16 where the processor multiplies it natively, else fp32.
    quantize: hold the base's linear layers in 4 bits, with the adapter not merged.
    Raises UserError when the name is no model, with what was looked for.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging as hf_logging

    hf_logging.disable_progress_bar()
    base, adapter = places(name)
    how = loading_arguments(quantize)
    torch_dtype = getattr(torch, dtype) if dtype != "auto" else best_dtype()
    load_dtype = torch.float32 if adapter and merge else torch_dtype
    try:
        model: Any = AutoModelForCausalLM.from_pretrained(str(base), dtype=load_dtype, **how)
        tokenizer = AutoTokenizer.from_pretrained(str(adapter if _has_tokenizer(adapter) else base))
    except Exception as error:
        # Loading a stranger's folder fails in a hundred ways (OSError, KeyError, JSON and safetensors errors):
        # to the user they are all "this is not a model I can load", with the library's own reason.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            f'"{name}" could not be loaded as a model: {reason} Give `smollm2`, a folder saved by transformers '
            "(config.json, tokenizer and safetensors), a LoRA adapter folder, or a hub id `org/name`."
        ) from error
    if adapter:
        from peft import PeftModel

        with_adapter = PeftModel.from_pretrained(model, str(adapter), autocast_adapter_dtype=False)
        model = with_adapter.merge_and_unload().to(torch_dtype) if merge else with_adapter
    model.eval()
    if torch.cuda.is_available() and not quantize:
        model.to("cuda")
    return LocalModel(name, model, tokenizer, model_digest(base, adapter))


def resolve(name: str) -> Path | str:
    """The folder a name stands for, or the hub id itself. Raises UserError for what can be neither."""
    if not name:
        raise UserError("The model name is empty. Give `smollm2`, a folder, or a hub id `org/name`.")
    if name == "smollm2":
        return smollm2_folder()
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").exists() and not (path / ADAPTER_CONFIG).exists():
            raise UserError(
                f'"{name}" is a folder but not a model: it has neither config.json nor {ADAPTER_CONFIG}. '
                "Point to the folder that `save_pretrained` or a charter run wrote (…/adapter)."
            )
        return path
    if path.exists():
        raise UserError(f'"{name}" is a file, not a model. Give the folder that holds config.json.')
    parts = name.split("/")
    if name.startswith((".", "/", "~")) or len(parts) != 2 or not all(parts):
        raise UserError(
            f'"{name}" is not a model: no such folder, and not a hub id. '
            "Give `smollm2`, a folder, `org/name`, or `openai:http://host:port/v1#name`."
        )
    return name


def best_dtype() -> torch.dtype:
    """bf16 where matrix products in it are native (AVX-512 BF16 or AMX on CPU, any recent GPU), else fp32."""
    import torch

    if torch.cuda.is_available():
        return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float32
    return torch.bfloat16 if torch.ops.mkldnn._is_mkldnn_bf16_supported() else torch.float32


def named_digest(name: str) -> str:
    """The digest that `load_model(name)` would give, without loading. Raises UserError when the name is no model."""
    return model_digest(*places(name))


def model_digest(base: Path | str, adapter: Path | None = None) -> str:
    """sha256 over the weight files of a folder (and of its adapter). A hub id stands for itself.

    File hashes are cached by path, size and modification time: large checkpoints are read once.
    """
    parts = [f"hub:{base}"] if isinstance(base, str) else _file_hashes(base)
    if adapter:
        parts += _file_hashes(adapter)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def places(name: str) -> tuple[Path | str, Path | None]:
    """(base, adapter folder or None) that a name stands for."""
    folder = resolve(name)
    if isinstance(folder, Path) and (folder / ADAPTER_CONFIG).exists():
        return resolve(str(_adapter_config(folder).get("base_model_name_or_path") or "")), folder
    return folder, None


def _file_hashes(folder: Path) -> list[str]:
    cache = cache_folder() / "digests.json"
    known: dict[str, str] = {}
    if cache.exists():
        try:
            known = json.loads(cache.read_text())
        except (OSError, json.JSONDecodeError):
            known = {}
    hashes = []
    fresh: dict[str, str] = {}
    for path in sorted(p for pattern in ("*.safetensors", "*.bin") for p in folder.glob(pattern)):
        stat = path.stat()
        key = f"{path.resolve()}:{stat.st_size}:{stat.st_mtime_ns}"
        digest = known.get(key)
        if digest is None:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            fresh[key] = digest
        hashes.append(f"{path.name} {digest}")
    if fresh:
        try:
            write_text(cache, json.dumps({**known, **fresh}, indent=1))
        except OSError as error:
            log.info("digest cache not written: %s", error)
    return hashes


def _adapter_config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise UserError(f"{folder / ADAPTER_CONFIG}: not a readable adapter configuration ({error}).") from None
    return config


def _has_tokenizer(folder: Path | None) -> bool:
    return folder is not None and (folder / "tokenizer_config.json").exists()
