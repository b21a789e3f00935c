"""Who is served: the page and clients that are no browsers, not other sites' pages in the same browser."""

import pytest

from streams.console.guard import Refusal, check_host, check_site


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8090", "127.0.0.1:8090", "[::1]:8090", "10.1.2.3", "shop.example:443", "LOCALHOST"]
)
def test_addresses_localhost_and_our_names_are_answered(host: str) -> None:
    check_host(host, frozenset({"shop.example"}))


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:8090", "", "[::1"])
def test_a_name_that_another_site_points_here_is_refused(host: str) -> None:
    with pytest.raises(Refusal) as refused:
        check_host(host, frozenset({"shop.example"}))
    assert refused.value.status == 421


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "http://127.0.0.1:8090"},
        {"Origin": "http://127.0.0.1:8090", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_the_page_itself_and_other_clients_may_ask(headers: dict[str, str]) -> None:
    check_site(headers, "127.0.0.1:8090")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8091"},
        {"Origin": "http://127.0.0.1:8090.evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:8090", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_another_sites_page_may_not(headers: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        check_site(headers, "127.0.0.1:8090")
    assert refused.value.status == 403
