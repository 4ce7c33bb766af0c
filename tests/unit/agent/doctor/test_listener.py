"""What the doctor says of the certificates of an agent that listens by itself."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from voxfleet_agent.config import AgentConfig, load_config
from voxfleet_agent.doctor.finding import Health
from voxfleet_agent.doctor.listener import check_listener, judge_revocations
from voxfleet_dev.certificates import Authority, Issued
from voxfleet_dev.mac import FleetTls, Mac

DAY = timedelta(days=1)
TLS = FleetTls(Authority(days=400), Authority().for_client("operator"))


@pytest.fixture
def mac(tmp_path: Path) -> Mac:
    return Mac("mac", tmp_path / "mac", allow=[], tls=TLS)


def configured(mac: Mac, issued: Issued) -> AgentConfig:
    mac.certificate = issued
    mac.write_files()
    return load_config(mac.config_file)


@pytest.mark.parametrize(
    ("issued", "health", "found"),
    [
        (TLS.authority.for_server("mac-a.example", "10.1.2.3", ends=30 * DAY), Health.OK, "mac-a.example, 10.1.2.3"),
        (TLS.authority.for_server("mac-a.example", ends=3 * DAY), Health.WARN, "valid until"),
        (TLS.authority.for_server("mac-a.example", ends=-DAY / 2), Health.FAIL, "valid until"),
        (TLS.authority.for_server("mac-a.example", begins=DAY, ends=30 * DAY), Health.FAIL, "not valid before"),
        (TLS.authority.for_client("mac-a.example", ends=30 * DAY), Health.FAIL, "names no host"),
    ],
)
def test_the_agents_certificate_is_judged_as_clients_will(mac: Mac, issued: Issued, health: Health, found: str) -> None:
    certificate, authorities = check_listener(configured(mac, issued))
    assert certificate.health is health and found in certificate.found
    assert (authorities.name, authorities.health) == ("client authorities", Health.OK)


def test_a_key_of_another_certificate_is_found(mac: Mac) -> None:
    config = configured(mac, TLS.authority.for_server("mac-a.example"))
    (mac.directory / "tls.key").write_text(TLS.client.key_pem)
    (finding,) = check_listener(config)
    assert finding.health is Health.FAIL and "its own key" in finding.mend


def test_a_key_that_is_missing_is_the_admins_to_put_there(mac: Mac) -> None:
    config = configured(mac, TLS.authority.for_server("mac-a.example"))
    (mac.directory / "tls.key").unlink()
    (finding,) = check_listener(config)
    assert finding.health is Health.FAIL and "No such file" in finding.found
    assert "put the key of certificateFile there" in finding.mend and "init" not in finding.mend


def test_a_listener_without_tls_has_no_certificates(tmp_path: Path) -> None:
    mac = Mac("mac", tmp_path / "mac", allow=[])
    mac.write_files()
    assert check_listener(load_config(mac.config_file)) == []


def test_a_list_of_revocations_that_ends_lets_nobody_in() -> None:
    now = datetime(2026, 11, 20, tzinfo=UTC)
    judged = [judge_revocations(end, now).health for end in (None, now + 7 * DAY, now + DAY, now - DAY)]
    assert judged == [Health.OK, Health.OK, Health.WARN, Health.FAIL]


@pytest.mark.parametrize(
    ("lists", "health", "found"),
    [
        ([TLS.authority.revocations(ends=7 * DAY), Authority().revocations(ends=DAY)], Health.WARN, "is good until"),
        ([TLS.authority.revocations(ends=7 * DAY), Authority().revocations(ends=-DAY)], Health.FAIL, "no client"),
        ([TLS.authority.pem], Health.FAIL, "holds no list"),
    ],
    ids=["of two the one that ends first", "one of two has ended", "a certificate"],
)
def test_every_list_of_revocations_is_judged(
    tmp_path: Path, mac: Mac, lists: list[str], health: Health, found: str
) -> None:
    config = configured(mac, TLS.authority.for_server("mac-a.example", ends=30 * DAY))
    crl = tmp_path / "ca.crl"
    crl.write_text("".join(lists))
    assert config.listen.tls is not None
    tls = config.listen.tls.model_copy(update={"client_crl_file": crl})
    listen = config.listen.model_copy(update={"tls": tls})
    *_, judged = check_listener(config.model_copy(update={"listen": listen}))
    assert (judged.name, judged.health) == ("client revocations", health) and found in judged.found
