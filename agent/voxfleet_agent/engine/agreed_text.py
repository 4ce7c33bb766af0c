class AgreedText:
    def __init__(self) -> None:
        self.text = ""; self.revisions = 0; self._prev: list[str] = []
    def _new(self, words):
        done = self.text.split()
        new = words[len(done):]
        d = (" " if done else "") + " ".join(new) if new else ""
        self.text += d
        return d
    def update(self, hypothesis: str) -> str:
        words = hypothesis.split(); n = 0
        while n < min(len(words), len(self._prev)) and words[n] == self._prev[n]: n += 1
        out = self._new(words[:min(n, len(self._prev) - 1)] if self._prev else [])
        self._prev = words
        return out
    def finish(self, final: str) -> str:
        return self._new(final.split())
