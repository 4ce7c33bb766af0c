"""OpenAI's Whisper tiny.en as a folder that mlx-audio reads, made from a package's CTranslate2 file."""
