"""Where a command's price book comes from: a file, or a ConfigMap of the cluster."""

from __future__ import annotations

from pathlib import Path

from voxfleet_billing.price_book import PriceBook, PriceBookError, load_price_book
from voxfleet_cli.command_line import Exit, with_kube
from voxfleet_cli.names import NoSuchObject
from voxfleet_operator.kube import Kube

CONFIG_MAP = "configmap/"
KEY = "price-book.yaml"
"""Of the ConfigMap's data."""
HELP = f"The price book: a YAML file, or configmap/NAME, whose key {KEY} has it."


class NotRead(Exception):
    """The cluster gave no price book; why is printed."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def read_price_book(source: str, namespace: str | None, kubeconfig: Path | None, context: str | None) -> PriceBook:
    """Raises PriceBookError, which names the source, and NotRead."""
    try:
        return load_price_book(_text(source, namespace, kubeconfig, context))
    except PriceBookError as error:
        raise PriceBookError(f"{source}: {error}") from error


def _text(source: str, namespace: str | None, kubeconfig: Path | None, context: str | None) -> str:
    if not source.startswith(CONFIG_MAP):
        try:
            return Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise PriceBookError(f"it cannot be read: {error}") from error
    found: list[str] = []

    async def read(kube: Kube) -> Exit:
        name, place = source.removeprefix(CONFIG_MAP), namespace or kube.namespace
        data = await kube.config_map(place, name)
        if data is None or KEY not in data:
            raise NoSuchObject(
                f"namespace {place} has no ConfigMap {name} with the key {KEY}; -n names another namespace"
            )
        found.append(data[KEY])
        return Exit.OK

    code = with_kube(kubeconfig, context, read)
    if code != Exit.OK:
        raise NotRead(code)
    return found[0]
