"""Text: captions and prompts, their tokenizers, a transformer trained along, and text encoders that others trained."""
