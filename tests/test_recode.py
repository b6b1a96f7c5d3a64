"""What a message becomes for a server that takes only ASCII or no long lines."""

import email
import email.policy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pymail.recode import ascii_header, recode

RUSSIAN = "привет, мир\nвторая строка \n"


def seven(data: bytes) -> bytes:
    out = recode(data, eightbit=False, limit=998)
    assert out.isascii()
    return out


def leaves(data: bytes) -> list[bytes]:
    """Return the decoded contents of all parts."""
    parsed = email.message_from_bytes(data)
    return [part.get_payload(decode=True) for part in parsed.walk() if not part.is_multipart()]


def test_what_is_fit_stays_to_the_byte() -> None:
    data = b"Subject: s\nContent-Transfer-Encoding: 8bit\n\ntext\n"
    assert recode(data, eightbit=False, limit=998) == data
    eight = f"Subject: s\n\n{RUSSIAN}".encode()
    assert recode(eight, eightbit=True, limit=998) == eight


def test_text_without_a_type_gets_one() -> None:
    out = seven(f"Subject: s\n\n{RUSSIAN}".encode())
    parsed = email.message_from_bytes(out, policy=email.policy.default)
    assert (parsed.get_content_type(), parsed["MIME-Version"]) == ("text/plain", "1.0")
    assert parsed.get_content() == RUSSIAN


def test_text_that_is_no_utf_8_is_called_unknown() -> None:
    out = seven(b"Subject: s\n\n\xd0\xe5\n")
    assert b"charset=unknown-8bit" in out
    assert leaves(out) == [b"\xd0\xe5\n"]


def test_a_declared_type_stays_and_only_the_encoding_changes() -> None:
    out = seven(
        b"MIME-Version: 1.0\nContent-Type: text/plain; charset=koi8-r\n"
        b"Content-Transfer-Encoding: 8bit\nSubject: s\n\n\xd0\xd2\xc9\n"
    )
    assert out.startswith(b"MIME-Version: 1.0\nContent-Type: text/plain; charset=koi8-r\n")
    assert out.count(b"Content-Transfer-Encoding") == 1
    assert leaves(out) == [b"\xd0\xd2\xc9\n"]


MIXED = (
    "MIME-Version: 1.0\n"
    'Content-Type: multipart/mixed;\n\tboundary="b 1"\n'
    "Content-Transfer-Encoding: 8bit\n\n"
    "preamble\n--b 1\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
    f"{RUSSIAN}\n--b 1\nContent-Type: message/rfc822\n\n"
    f"Subject: inner\nContent-Type: text/html; charset=utf-8\n\n<p>{RUSSIAN}\n"
    "--b 1\nContent-Type: image/png\nContent-Transfer-Encoding: base64\n\naGVsbG8=\n"
    "--b 1--\nepilogue\n"
).encode()


def test_the_parts_of_a_multipart_are_encoded_each_for_itself() -> None:
    out = seven(MIXED)
    assert leaves(out) == leaves(MIXED)
    assert b"Content-Transfer-Encoding: 7bit" in out.partition(b"\n\n")[0]
    assert b"\n--b 1--\nepilogue\n" in out
    assert b"\npreamble\n--b 1\n" in out
    assert b"\naGVsbG8=\n" in out


def test_a_long_line_is_encoded_where_its_part_allows_it() -> None:
    data = b"Subject: s\n\n" + b"x" * 2000 + b"\nend\n"
    out = recode(data, eightbit=True, limit=998)
    assert max(map(len, out.split(b"\n"))) <= 76
    assert leaves(out) == [b"x" * 2000 + b"\nend\n"]


def test_a_signature_is_not_broken_for_the_length_of_a_line() -> None:
    data = b'Content-Type: multipart/signed; boundary="b"\n\n--b\n\n' + b"x" * 2000 + b"\n--b--\n"
    assert recode(data, eightbit=True, limit=998) == data


def test_a_multipart_that_never_ends_keeps_all_of_it() -> None:
    data = f"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{RUSSIAN}".encode()
    assert leaves(seven(data)) == leaves(data)


def test_deep_nesting_ends() -> None:
    data = "привет\n".encode()
    for number in range(150):
        data = b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n%b\n--b%d--\n" % (
            number,
            number,
            data,
            number,
        )
    assert "привет".encode() in recode(data, eightbit=False, limit=998)


@given(data=st.binary(max_size=400))
def test_any_bytes_are_survived_and_a_body_keeps_its_content(data: bytes) -> None:
    body = data.replace(b"\r", b"").replace(b"\0", b"")
    out = recode(b"Subject: s\n\n" + body, eightbit=False, limit=998)
    assert leaves(out) == [body]
    recode(data, eightbit=False, limit=100)
    recode(MIXED.replace(b"preamble", data), eightbit=False, limit=100)


@pytest.mark.parametrize(
    ("field", "shown"),
    [
        ("Subject: Отчёт за ноябрь", "Отчёт за ноябрь"),
        ('From: "Иван Петров" <a@b.example>', "Иван Петров <a@b.example>"),
        ("From: Пётр Великий <e@f.example>", "Пётр Великий <e@f.example>"),
        ("To: x <a@b.example>, Анна <c@d.example>", "x <a@b.example>, Анна <c@d.example>"),
    ],
)
def test_a_header_in_utf_8_is_written_in_encoded_words(field: str, shown: str) -> None:
    out = ascii_header(f"{field}\nX: y\n\nтекст\n".encode())
    head, _, body = out.partition(b"\n\n")
    assert head.isascii()
    assert head.endswith(b"\nX: y")
    assert body == "текст\n".encode()
    parsed = email.message_from_bytes(out, policy=email.policy.default)
    assert str(parsed[field.partition(":")[0]]) == shown


@given(text=st.text(max_size=200))
def test_no_header_makes_a_line_of_its_own(text: str) -> None:
    flat = "".join(c for c in text if c not in "\r\n" and not "\ud800" <= c <= "\udfff")
    for name in ("Subject", "From"):
        out = ascii_header(f"{name}: {flat}\nX: y\n\nb\n".encode("utf-8", "replace"))
        lines = out.partition(b"\n\n")[0].split(b"\n")
        assert all(line.startswith((name.encode(), b" ", b"X:")) for line in lines)
