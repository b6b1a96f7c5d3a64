"""What a message becomes for a server that takes only ASCII or no long lines."""

import base64
import email
import email.policy
import hashlib
import json
import quopri
import time
from typing import Any

import pytest
from harness import corpus
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


def test_a_signed_part_keeps_its_content_where_its_signature_cannot_hold() -> None:
    data = b'Content-Type: multipart/signed; boundary="b"\n\n--b\n\n' + b"x" * 2000 + b"\n--b--\n"
    assert leaves(recode(data, eightbit=True, limit=998)) == [b"x" * 2000]


@pytest.mark.parametrize("kind", ["message/partial", "message/delivery-status", "multipart/mixed"])
def test_what_must_not_be_encoded_is_not(kind: str) -> None:
    data = f"Content-Type: {kind}; id=1\n\n{RUSSIAN}".encode()
    assert recode(data, eightbit=False, limit=998) == data


def test_a_report_in_other_letters_is_encoded() -> None:
    out = seven(f"Content-Type: message/global-delivery-status\n\nX: {RUSSIAN}".encode())
    assert b"Content-Transfer-Encoding: quoted-printable" in out


def test_what_is_no_text_becomes_base64_and_stays_as_it_was_given() -> None:
    data = bytes(range(256)) * 20 + b"\n"
    out = seven(b"Content-Type: application/x-thing\nContent-Transfer-Encoding: binary\n\n" + data)
    assert b"Content-Transfer-Encoding: base64" in out
    assert leaves(out) == [data]


def test_base64_in_one_line_is_wrapped() -> None:
    head = b"Content-Type: image/png\nContent-Transfer-Encoding: base64\n\n"
    data = head + base64.b64encode(bytes(3000)) + b"\n"
    out = recode(data, eightbit=True, limit=998)
    assert max(map(len, out.split(b"\n"))) == 76
    assert leaves(out) == [bytes(3000)]


def test_quoted_printable_with_long_lines_and_8_bit_decodes_to_the_same() -> None:
    body = "=D0=BF" * 400 + "привет =\nx \n" + "y" * 2000 + "\n"
    data = f"Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n{body}"
    out = seven(data.encode())
    assert max(map(len, out.split(b"\n"))) <= 76
    assert leaves(out) == leaves(data.encode())


def test_the_parts_of_a_digest_are_messages() -> None:
    inner = f"Subject: s\nContent-Type: text/plain; charset=utf-8\n\n{RUSSIAN}"
    data = f"Content-Type: multipart/digest; boundary=b\n\n--b\n\n{inner}\n--b--\n".encode()
    assert leaves(seven(data)) == [RUSSIAN.encode()]


def test_a_long_header_line_is_folded_at_blanks() -> None:
    names = b", ".join(b"user%d@example.org" % number for number in range(300))
    part = b"--b\nX-Long: " + b"word " * 400 + b"end\n\ntext\n--b--\n"
    data = b"To: " + names + b"\nContent-Type: multipart/mixed; boundary=b\n\n" + part
    out = recode(data, eightbit=True, limit=998)
    assert max(map(len, out.split(b"\n"))) <= 998
    assert out.replace(b"\n ", b" ") == data


def test_a_long_line_in_header_and_body_alike() -> None:
    data = b"Subject: " + b"word " * 400 + b"end\n\n" + b"x" * 2000 + b"\n"
    out = recode(data, eightbit=True, limit=998)
    assert max(map(len, out.split(b"\n"))) <= 998
    assert leaves(out) == [b"x" * 2000 + b"\n"]
    assert b"\nContent-Transfer-Encoding: quoted-printable\n\n" in out


def test_what_follows_the_closing_delimiter_is_no_part() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\n\n\xff\n--b--\n"
    assert recode(data, eightbit=False, limit=998) == data


def test_a_multipart_that_never_ends_keeps_all_of_it() -> None:
    data = f"Content-Type: multipart/mixed; boundary=b\n\n--b\n\n{RUSSIAN}".encode()
    assert leaves(seven(data)) == leaves(data)


BOUNDARIES = [b"b" * (number + 1) for number in range(100)]


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


@pytest.mark.parametrize("filler", [b"--", b"x\n" * 8, b"\n", b"y" * 60 + b"\n"])
def test_a_large_message_nested_as_deep_as_can_be_takes_little_time(filler: bytes) -> None:
    heads = [b"Content-Type: multipart/mixed; boundary=%b\n\n--%b" % (x, x) for x in BOUNDARIES]
    data = b"\n".join([*heads, b"", filler * (10_000_000 // len(filler)), b"\xff\n"])
    began = time.process_time()
    assert recode(data, eightbit=False, limit=998).startswith(heads[0])
    assert time.process_time() - began < 20


def test_many_parts_end() -> None:
    part = "--b\n\nпривет\n".encode()
    data = b"Content-Type: multipart/mixed; boundary=b\n\n" + part * 20_000 + b"--b--\n"
    out = recode(data, eightbit=False, limit=998)
    assert out.endswith(part + b"--b--\n")
    assert b"quoted-printable" in out


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


def test_blanks_stay_and_names_are_decoded_in_every_field_of_addresses() -> None:
    out = ascii_header('Subject: два  слова\nMail-Followup-To: "Ж, З" <a@b.c>\n\n'.encode())
    got = email.message_from_bytes(out, policy=email.policy.default)
    assert out.isascii()
    assert got["Subject"] == "два  слова"
    assert b'"' not in out and b" <a@b.c>" in out


def test_domains_are_written_by_their_labels_in_ascii() -> None:
    field = "To: Боб <bob@bücher.example>, ann@пример.рф, жук@жук.рф"
    out = ascii_header(f"{field}\n\n".encode()).decode()
    assert "<bob@xn--bcher-kva.example>, ann@xn--e1afmkfd.xn--p1ai, жук@жук.рф\n" in out


def test_a_field_in_another_charset_stays_alone() -> None:
    out = ascii_header("Subject: письмо\nX: ".encode() + b"caf\xe9\n\n")
    assert out.startswith(b"Subject: =?utf-8?") and out.endswith(b"\nX: caf\xe9\n\n")


def test_the_name_of_an_attachment_is_written_as_a_parameter() -> None:
    field = 'Content-Type: text/plain; charset=utf-8;\n name="отчёт \\"1\\".txt"; x=y\n\ntext\n'
    got = email.message_from_bytes(ascii_header(field.encode()), policy=email.policy.default)
    assert got.get_filename() == 'отчёт "1".txt'
    assert (got.get_content_charset(), got["Content-Type"].params["x"]) == ("utf-8", "y")


def test_headers_within_a_message_are_ascii_for_a_server_that_takes_no_more() -> None:
    inner = "Subject: внутри\n\nтекст\n"
    part = f"Content-Type: message/rfc822\nContent-Transfer-Encoding: 8bit\n\n{inner}"
    named = 'Content-Disposition: attachment; filename="файл"\n\nтекст\n'
    text = f'Content-Type: multipart/mixed; boundary="b"\n\n--b\n{part}\n--b\n{named}\n--b--\n'
    out = recode(text.encode(), eightbit=False, limit=998)
    assert out.isascii()
    first, second = email.message_from_bytes(out, policy=email.policy.default).iter_parts()
    nested = first.get_content()
    assert (nested["Subject"], nested["MIME-Version"]) == ("внутри", "1.0")
    assert nested.get_content() == "текст\n"
    assert second.get_filename() == "файл"


@given(text=st.text(max_size=200))
def test_no_header_makes_a_line_of_its_own(text: str) -> None:
    flat = "".join(c for c in text if c not in "\r\n" and not "\ud800" <= c <= "\udfff")
    for name in ("Subject", "From"):
        out = ascii_header(f"{name}: {flat}\nX: y\n\nb\n".encode("utf-8", "replace"))
        lines = out.partition(b"\n\n")[0].split(b"\n")
        assert all(line.startswith((name.encode(), b" ", b"X:")) for line in lines)


LINES = st.lists(
    st.one_of(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=("Cs",)), max_size=40),
        st.sampled_from(["", ".", "From x", "trail \t", "--", "=20", "x" * 300, "я" * 200]),
    ),
    max_size=5,
)
ENCODINGS = st.sampled_from(["", "7bit", "8bit", "binary", "quoted-printable", "base64", "x-own"])
TYPES = st.sampled_from(["", "text/plain; charset=utf-8", "text/html", "image/png", "odd"])


def _written(kind: str, encoding: str, body: bytes) -> bytes:
    head = b""
    if kind:
        head += b"Content-Type: " + kind.encode() + b"\n"
    if encoding:
        head += b"Content-Transfer-Encoding: " + encoding.encode() + b"\n"
    return (head or b"X-None: 1\n") + b"\n" + body


def _leaf(lines: list[str], kind: str, encoding: str) -> bytes:
    body = "\n".join(lines).encode()
    if encoding == "base64":
        body = base64.b64encode(body)
    elif encoding == "quoted-printable":
        body = quopri.encodestring(body)
    return _written(kind, encoding, body)


LEAVES = st.builds(_leaf, LINES, TYPES, ENCODINGS)


def _nested(children: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        st.builds(_multipart, st.lists(children, min_size=1, max_size=3), st.booleans()),
        st.builds(lambda inner: _written("message/rfc822", "", inner), children),
    )


def _multipart(parts: list[bytes], closed: bool) -> bytes:  # noqa: FBT001
    boundary = hashlib.sha256(b"".join(parts)).hexdigest()[:12]
    sign = b"--" + boundary.encode()
    body = b"".join(sign + b"\n" + part + b"\n" for part in parts) + (sign + b"--\n") * closed
    kind = "multipart/mixed" if closed else "multipart/signed"
    return _written(f'{kind}; boundary="{boundary}"', "8bit", body)


@given(
    data=st.recursive(LEAVES, _nested, max_leaves=6),
    eightbit=st.booleans(),
    limit=st.sampled_from([100, 998]),
)
def test_the_decoded_content_of_all_parts_stays(data: bytes, eightbit: bool, limit: int) -> None:  # noqa: FBT001
    out = recode(data, eightbit=eightbit, limit=limit)
    got, wanted = leaves(out), leaves(data)
    if b"multipart/signed" in data:  # never closed: Python then takes a last line end for its own
        got, wanted = ([leaf.rstrip(b"\n") for leaf in all_] for all_ in (got, wanted))
    assert got == wanted
    assert recode(out, eightbit=eightbit, limit=limit) == out


CASES = [json.loads(line) for line in (corpus() / "relay.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['server'][:4]}")
def test_a_message_of_the_corpus_says_the_same_as_from_postfix(case: dict[str, Any]) -> None:
    """Where Postfix cuts lines, we encode them: what was cut before is whole here."""
    given = base64.b64decode(case["stdin_b64"])
    full = case["server"].startswith("full")
    out = recode(given, eightbit=full, limit=998)
    assert leaves(out) == leaves(given)
    assert full or out.partition(b"\n\n")[2].isascii()
    for taken in case["smtp"]:
        wire = base64.b64decode(taken["data_b64"]).replace(b"\r\n", b"\n")
        head, _, body = wire.partition(b"\n\n")
        if b"quoted-printable" in head:  # its own conversion, to the byte
            assert body == out.partition(b"\n\n")[2]
            assert head.endswith(b"\nContent-Transfer-Encoding: quoted-printable")
