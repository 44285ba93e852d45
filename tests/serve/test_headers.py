"""The names that a service may be asked for by."""

import pytest

from tinygrad_mnist.serve.headers import bare_host, host_name


@pytest.mark.parametrize(
    ("given", "header"),
    [
        ("Digits.Example", "digits.example:8000"),
        ("digits.example.", "digits.example"),
        ("my_app", "MY_APP"),
        ("192.0.2.7", "192.0.2.7:80"),
        ("fd00::1", "[fd00::1]:80"),
        ("[FD00:0::1]", "[fd00::1]"),
        ("zähler.example", "xn--zhler-gra.example"),
    ],
)
def test_a_name_is_that_of_the_header_that_a_browser_sends(given: str, header: str) -> None:
    assert bare_host(given) == host_name(header)


@pytest.mark.parametrize(
    "given",
    [
        *("http://a.b/", "a.b/", "a.b:80", "[fd00::1]:80", "*", "*.a.b", "a b", "", ".", "a..b", "-a.b"),
        "a.b\n",
        "x" * 64,
    ],
)
def test_what_no_header_can_have_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="is no name of a host; name it alone"):
        bare_host(given)
