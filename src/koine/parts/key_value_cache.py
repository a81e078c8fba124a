"""The name of the key-value cache, which differs between versions of transformers.

A language model of its own that takes part in `generate` gets the cache as an argument of `forward` and hands it on in
what it returns. Both are called `past_key_values` until transformers 5.23 and `cache` after that; under the other name
the cache is silently lost.
"""

from __future__ import annotations

from dataclasses import fields

from transformers.modeling_outputs import CausalLMOutputWithPast

CACHE = "cache" if "cache" in {field.name for field in fields(CausalLMOutputWithPast)} else "past_key_values"
"""Argument of a language model's `forward` and attribute of its output, in the installed version."""
