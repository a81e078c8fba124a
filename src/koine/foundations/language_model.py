"""The nano causal language model: transformers' LLaMA at a size that trains on a laptop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from koine.foundations.reading import read_model
from koine.foundations.tokenizer import VOCABULARY, load_tokenizer

if TYPE_CHECKING:
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase

NANO_WEIGHTS = Path(__file__).parent.parent / "weights" / "language-model"
IN_CONTEXT_WEIGHTS = Path(__file__).parent.parent / "weights" / "in-context-language-model"
"""The same after a training in learning from examples, with the same table of input embeddings."""


def nano_config(vocabulary: int = VOCABULARY) -> LlamaConfig:
    """Width 128, four layers, 512 positions."""
    from transformers import LlamaConfig

    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=512,
        tie_word_embeddings=False,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )


def load_language_model(weights: str | Path = "nano") -> tuple[LlamaForCausalLM, PreTrainedTokenizerBase]:
    """The nano language model of the package, or a LLaMA from a folder, with its tokenizer; float32, eval mode.

    Raises:
        InputError: there is no such folder, it holds another model, or it is damaged.
    """
    from transformers import LlamaForCausalLM

    folder = NANO_WEIGHTS if weights == "nano" else Path(weights)
    return read_model(LlamaForCausalLM, folder, "language model"), load_tokenizer(folder)
