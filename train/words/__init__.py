"""From category names to tokens: vocabulary, tokenizer, prompt."""
